"""The ablation: every system against the one before it, by side, hub and resource tier; worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from hexapla.analyze.ablation import AblationStep, ablation_section
from hexapla.analyze.joint_means import tiers_of
from hexapla.analyze.present import DotChart, Section, Table
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import holm
from hexapla.languages import Direction
from hexapla.plan import Layout
from tests.analyze.hubs import BETWEEN, FROM_HUBS, LAYOUT, scores

FROM = [str(direction) for direction in FROM_HUBS]
DE_EN = Direction.parse("de-en")
# German is a high-resource language, Urdu a low-resource one.
GOOD = {"SFT": FROM, "+SD": [*FROM, "de-en", "de-nl"], "+PMP": ["de-en", "ur-en", *map(str, BETWEEN)]}
CHANGES: dict[str, dict[str, Any]] = {"SFT": {}, "+SD": {"data.downsample.to_hub": 0.05}, "+PMP": {"data.pmp": {}}}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[ScoreTable]:
    folder = tmp_path_factory.mktemp("ablation")
    return [scores(folder / name, good) for name, good in GOOD.items()]


@pytest.fixture(scope="module")
def section(tables: list[ScoreTable]) -> Section:
    training = [None, [(DE_EN, "a"), (DE_EN, "a")], []]
    return ablation_section(
        [
            AblationStep(name, table, CHANGES[name], examples)
            for name, table, examples in zip(GOOD, tables, training, strict=True)
        ]
    )


def rows_of(section: Section, name: str) -> list[dict[str, Any]]:
    table = next(item for item in section.items if item.name == name)
    assert isinstance(table, Table)
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def test_the_overview_keeps_the_order_and_says_what_changed(section: Section) -> None:
    rows = rows_of(section, "ablation")
    assert [row["system"] for row in rows] == ["SFT", "+SD", "+PMP"]
    assert [row["to-hub chrF++"] for row in rows] == [0, 50, 50]
    assert [row["from-hub chrF++"] for row in rows] == [100, 100, 0]
    assert [row["between-hubs chrF++"] for row in rows] == [0, 0, 100]
    assert [row["examples to-hub"] for row in rows] == [None, 2, 0]  # not trained, trained, trained on nothing
    assert [row["mean occurrences of a target"] for row in rows] == [None, 2, None]
    overview = section.items[0]
    assert isinstance(overview, Table)
    assert overview.note.startswith("+SD: data.downsample.to_hub=0.05. +PMP: data.pmp=.")


def test_hubs_and_tiers(section: Section) -> None:
    hubs = rows_of(section, "ablation-hubs-chrf++")
    assert [(row["to-hub en"], row["to-hub nl"]) for row in hubs] == [(0, 0), (50, 50), (100, 0)]
    tiers = rows_of(section, "ablation-tiers-chrf++")
    assert [(row["to-hub high"], row["to-hub low"]) for row in tiers] == [(0, 0), (100, 0), (50, 50)]
    assert "to-hub mid" not in tiers[0]


def test_each_system_is_tested_against_the_one_before(section: Section) -> None:
    rows = rows_of(section, "ablation-means")
    found = {(row["directions of"], row["system"]): row for row in rows}
    assert found["to-hub", "SFT"]["difference"] is None
    assert found["to-hub", "+SD"]["system before"] == "SFT"
    assert found["to-hub", "+PMP"]["system before"] == "+SD"
    assert (found["to-hub", "+SD"]["difference"], found["to-hub", "+SD"]["verdict"]) == (50, "better")
    # +PMP wins ur-en, and loses de-nl: the mean is the same, and so are the rows' sums
    assert (found["to-hub", "+PMP"]["difference"], found["to-hub", "+PMP"]["verdict"]) == (0, "equal")
    assert found["from-hub", "+PMP"]["verdict"] == "worse"
    assert found["to-hub en", "+PMP"]["difference"] == 50
    assert found["to-hub low", "+PMP"]["difference"] == 50
    tested = [row for row in rows if row["p"] is not None]
    assert len(tested) == 2 * (3 + 4 + 4)  # sides, hubs, tiers
    assert [row["p (Holm)"] for row in tested] == holm([row["p"] for row in tested])


def test_the_chart_has_a_line_a_group(section: Section) -> None:
    chart = next(item for item in section.items if isinstance(item, DotChart))
    assert chart.name == "ablation-chrf++-chart"
    dots = dict(zip(chart.categories, chart.values["+SD"], strict=True))
    assert dots["to-hub"] == (50, 50, 50)
    assert dots["to-hub high"] == (100, 100, 100)


def test_languages_of_one_tier_are_not_told_apart() -> None:
    layout = Layout(("en", "de", "fr"), ("en",), {"others": ("de", "fr")})
    assert tiers_of(layout, layout.directions) == []
    names = [group.name for group in tiers_of(LAYOUT, LAYOUT.directions)]
    assert names == ["to-hub high", "to-hub low", "from-hub high", "from-hub low"]


def test_a_single_system_is_shown_without_tests(tables: list[ScoreTable]) -> None:
    found = ablation_section([AblationStep("SFT", tables[0])])
    assert [item.name for item in found.items if isinstance(item, DotChart)] == []
    assert "ablation-means" not in [item.name for item in found.items]
