"""The sweep: means, tests against the best value, target repetition, and one figure; worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from hexapla.analyze.charts import standalone
from hexapla.analyze.charts.data import data_table
from hexapla.analyze.joint_means import JointMeans, hubs_of, sides_of
from hexapla.analyze.present import PanelChart, Section, Table
from hexapla.analyze.store import read_sections, write_sections
from hexapla.analyze.sweep import SweepPoint, sweep_section, value_text
from hexapla.data.rows import Row
from hexapla.evaluate.compare import compare
from hexapla.evaluate.compare_material import material_of_tables
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import holm
from hexapla.languages import Direction
from hexapla.plan import Layout, Side
from tests.analyze.hubs import FROM_HUBS, LAYOUT, scores

KEY = "data.downsample.to_hub"
STEM = f"sweep-{KEY}"
FROM = [str(direction) for direction in FROM_HUBS]
DE_EN, UR_EN, DE_NL, EN_DE, NL_EN = (Direction.parse(text) for text in ("de-en", "ur-en", "de-nl", "en-de", "nl-en"))
# Into the hubs of 4 directions: none right at 0; three (both English ones) at 0.05; one at 1.
GOOD = {1: [*FROM, "de-en"], 0: FROM, 0.05: [*FROM, "de-en", "ur-en", "de-nl"]}
TRAINING = {
    1: [(DE_EN, "a"), (UR_EN, "a"), (DE_EN, "b"), (DE_NL, "a"), (EN_DE, "a"), (NL_EN, "a")],
    0: [(EN_DE, "a")],
    0.05: [(DE_EN, "b"), (EN_DE, "a")],
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[float, ScoreTable]:
    folder = tmp_path_factory.mktemp("sweep")
    return {value: scores(folder / str(value), good) for value, good in GOOD.items()}


@pytest.fixture(scope="module")
def section(tables: dict[float, ScoreTable]) -> Section:
    return sweep_section([SweepPoint(value, table, iter(TRAINING[value])) for value, table in tables.items()], key=KEY)


def rows_of(section: Section, name: str) -> list[dict[str, Any]]:
    table = next(item for item in section.items if item.name == name)
    assert isinstance(table, Table)
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def figure(section: Section, name: str = f"{STEM}-chart") -> PanelChart:
    found = next(item for item in section.items if item.name == name)
    assert isinstance(found, PanelChart)
    return found


def test_the_overview_has_a_row_a_value_in_ascending_order(section: Section) -> None:
    rows = rows_of(section, STEM)
    assert [row["to_hub"] for row in rows] == [0, 0.05, 1]
    assert [row["to-hub chrF++"] for row in rows] == [0, 75, 25]
    assert [row["from-hub chrF++"] for row in rows] == [100, 100, 100]
    assert [row["between-hubs chrF++"] for row in rows] == [0, 0, 0]
    # Targets: none; "b" in English; "a" twice and "b" in English, "a" in Dutch. What comes from a hub does not count.
    assert [row["examples to-hub"] for row in rows] == [0, 1, 4]
    assert [row["mean occurrences of a target"] for row in rows] == [None, 1, pytest.approx(4 / 3)]
    assert [row["most occurrences"] for row in rows] == [None, 1, 2]
    assert [row["to-hub off-target"] for row in rows] == [None, 0, 0]  # of what is in no language nothing is known


def test_hubs_have_a_table_of_their_own(section: Section) -> None:
    rows = rows_of(section, f"{STEM}-hubs-chrf++")
    assert [row["to-hub en"] for row in rows] == [0, 100, 50]
    assert [row["to-hub nl"] for row in rows] == [0, 50, 0]
    assert [row["from-hub nl"] for row in rows] == [100, 100, 100]
    assert f"{STEM}-hubs-off-target" in [item.name for item in section.items]


def test_every_value_is_tested_against_the_best_one(section: Section) -> None:
    rows = rows_of(section, f"{STEM}-means")
    to_hub = [row for row in rows if row["directions of"] == "to-hub"]
    assert [(row["to_hub"], row["directions"], row["mean"]) for row in to_hub] == [(0, 4, 0), (0.05, 4, 75), (1, 4, 25)]
    assert [(row["best"], row["difference"]) for row in to_hub] == [(0.05, -75), (None, None), (0.05, -50)]
    assert [row["verdict"] for row in to_hub] == ["worse", None, "worse"]
    # 12 rows, all of which differ: a swap of all of them or of none is as far apart, 2 of 4096
    assert all(row["p"] == pytest.approx(2 / 4096, rel=0.8) for row in to_hub if row["p"] is not None)
    between = [row for row in rows if row["directions of"] == "between-hubs"]
    assert [(row["best"], row["verdict"]) for row in between] == [(None, None), (0, "equal"), (0, "equal")]
    tested = [row for row in rows if row["p"] is not None]
    assert len(tested) == 2 * 7  # sides, and two hubs on two of them
    assert [row["p (Holm)"] for row in tested] == holm([row["p"] for row in tested])


def test_joint_means_agree_with_the_comparison(tables: dict[float, ScoreTable]) -> None:
    chosen = [tables[1], tables[0.05]]
    groups = sides_of(LAYOUT, LAYOUT.directions)
    joint = JointMeans(["one", "other"], chosen, ["chrf++"], groups)
    tested = joint.tested(lambda metric, group: [(0, 1)], groups)
    compared = next(
        m for m in compare(material_of_tables(chosen), num_segments_shown=0).metrics if m.metric == "chrf++"
    )
    for mean in compared.means:
        if mean.side is None:
            continue
        group = next(group for group in groups if group.side is mean.side)
        found = tested["chrf++", group.name][0].difference
        expected = mean.contrasts[0].difference
        assert expected is not None
        assert (found.value, found.p_value) == (pytest.approx(expected.value), expected.p_value)
        assert found.interval == pytest.approx(expected.interval)
        assert joint.estimate("chrf++", group, 1).interval == pytest.approx(mean.figures[1].interval)


def test_directions_count_alike_and_so_do_the_tests_of_each(tmp_path: Path) -> None:
    more = {"extra": [Row("extra:1", {"en": "Nobody knows this.", "de": "Das kennt niemand."}, "extra")]}
    chosen = [scores(tmp_path / name, [*FROM, "de-en", "ur-en"], more=more) for name in "ab"]
    groups = sides_of(LAYOUT, LAYOUT.directions)
    joint = JointMeans(["a", "b"], chosen, ["chrf++"], groups)
    # German to English is right in one test of two, Urdu to English in all of its one; into Dutch nothing is.
    assert joint.estimate("chrf++", groups[0], 0).value == pytest.approx((50 + 100 + 0 + 0) / 4)
    assert joint.num_directions("chrf++", groups[0]) == 4
    for group in groups:
        assert joint.estimate("chrf++", group, 1).value == pytest.approx(chosen[1].mean("chrf++", group.side))


def test_one_figure_shows_the_inverted_v(section: Section) -> None:
    chart = figure(section)
    assert [panel.y_label for panel in chart.panels] == ["chrF++", "mean occurrences of a target", "off-target (%)"]
    quality, repetition, _ = ({s.name: [(p.x, p.y) for p in s.points] for s in panel.series} for panel in chart.panels)
    assert quality["to-hub"] == [(0, 0), (1, 75), (2, 25)]
    assert list(quality) == ["to-hub", "from-hub", "between-hubs"]
    assert quality["from-hub"] == [(0, 100), (1, 100), (2, 100)]
    assert repetition == {"to-hub": [(1, 1), (2, pytest.approx(4 / 3))]}
    assert data_table(chart).rows[1] == ("chrF++", "to-hub", "0.05", 75, 75, 75)


def test_several_hubs_have_a_figure_of_their_own(section: Section) -> None:
    chart = figure(section, f"{STEM}-hubs-chart")
    quality, repetition, _ = ({s.name: [(p.x, p.y) for p in s.points] for s in panel.series} for panel in chart.panels)
    assert quality["to-hub nl"] == [(0, 0), (1, 50), (2, 0)]
    assert repetition == {"to-hub en": [(1, 1), (2, 1.5)], "to-hub nl": [(2, 1)]}


def test_the_picture_names_the_values_once_and_draws_a_series_alike_in_every_panel(section: Section) -> None:
    picture = etree.fromstring(standalone(figure(section)).encode("utf-8"))
    texts = picture.xpath("//*[local-name()='text']/text()")
    assert [text for text in texts if text in ("0.05", "to-hub", KEY)] == ["to-hub", "0.05", KEY]
    hints = picture.xpath("//*[local-name()='circle']/*[local-name()='title']/text()")
    assert "to-hub: 0.05, 75.00 [75.00, 75.00]" in hints
    assert "to-hub: 0.05, 1.00" in hints
    by_hub = etree.fromstring(standalone(figure(section, f"{STEM}-hubs-chart")).encode("utf-8"))
    of_dutch = by_hub.xpath("//*[local-name()='path'][*[starts-with(text(), 'to-hub nl: ')]]")
    assert {mark.get("class") for mark in of_dutch} == {"mark s1"}
    assert len(of_dutch) == 3 + 1 + 1  # quality; at one value repetition; and off-target, where something was said
    heights = [float(y) for y in picture.xpath("//*[local-name()='circle'][*[starts-with(text(), 'to-hub')]]/@cy")]
    assert heights[1] < heights[2] < heights[0] < heights[3]  # 75, 25, 0; then the panel below
    assert float(picture.get("height")) > max(heights)


def test_it_comes_back_from_the_disk(section: Section, tmp_path: Path) -> None:
    write_sections(tmp_path, [section])
    assert read_sections(tmp_path) == [section]


def test_values_that_are_no_numbers_stay_in_their_order(tables: dict[float, ScoreTable]) -> None:
    values = ["lmt", None, True]
    points = [SweepPoint(value, table, []) for value, table in zip(values, tables.values(), strict=True)]
    found = sweep_section(points, key="data.pmp.auxiliary")
    rows = rows_of(found, "sweep-data.pmp.auxiliary")
    assert [row["auxiliary"] for row in rows] == ["lmt", "null", "true"]
    assert found.anchor == "sweep-data-pmp-auxiliary"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.005, "0.005"), (5e-05, "5e-05"), (1, "1"), (True, "true"), (["en", "zh"], "en, zh"), ({"a": 0.5}, "a: 0.5")],
)
def test_values_are_written_as_in_a_recipe(value: object, text: str) -> None:
    assert value_text(value) == text


def test_a_single_value_is_shown_without_tests(tables: dict[float, ScoreTable]) -> None:
    names = [item.name for item in sweep_section([SweepPoint(1, tables[1], TRAINING[1])], key=KEY).items]
    assert STEM in names
    assert f"{STEM}-means" not in names


def test_what_cannot_be_compared_is_shown_with_the_reason(tables: dict[float, ScoreTable], tmp_path: Path) -> None:
    other = scores(tmp_path / "other", ["de-ur"], Layout(("de", "ur"), ("de",), {"others": ("ur",)}))
    found = sweep_section([SweepPoint("a", tables[1], []), SweepPoint("b", other, [])], key="hubs")
    assert "cannot be compared" in found.notes[0]
    assert next(item.name for item in found.items if isinstance(item, Table)) == "sweep-hubs"
    assert "sweep-hubs-means" not in [item.name for item in found.items]


def test_a_metric_that_not_all_have_is_left_out(tables: dict[float, ScoreTable]) -> None:
    joint = JointMeans(["a", "b"], [tables[0], tables[1]], ["comet22", "chrf++"], groups := sides_of(LAYOUT, [DE_EN]))
    assert [joint.has(metric, groups[0]) for metric in ("comet22", "chrf++")] == [False, True]
    assert list(joint.tested(lambda metric, group: [(0, 1)], groups)) == [("chrf++", "to-hub")]


def test_one_hub_has_no_groups_of_its_own() -> None:
    layout = Layout(("en", "de", "ur"), ("en",), {"others": ("de", "ur")})
    assert hubs_of(layout, layout.directions) == []
    assert [group.side for group in sides_of(layout, layout.directions)] == [Side.TO_HUB, Side.FROM_HUB]
