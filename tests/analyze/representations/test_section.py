"""The look inside models: the right layer is looked at, figures come from the right cells, missing stays missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lxml import etree

from hexapla.analyze.charts import standalone
from hexapla.analyze.charts.data import data_table
from hexapla.analyze.exports import write_analysis
from hexapla.analyze.present import MatricesChart, PanelChart, ProjectionChart, Section, Table
from hexapla.analyze.representations.profile import RepresentationProfile
from hexapla.analyze.representations.section import representations_section
from hexapla.analyze.store import read_sections, write_sections
from hexapla.languages import named_set
from tests.analyze.representations.profiles import profile

CODES = ("de", "fr", "en")
BASE = profile("base", CODES, height=0.4)
ALIGNED = profile("aligned", CODES, height=0.8, seed=2)


def item(section: Section, name: str) -> Any:
    return next(item for item in section.items if item.name == name)


def cells(table: Table, *key: object) -> dict[str, Any]:
    found = next(row for row in table.rows if row[: len(key)] == key)
    return dict(zip((column.title for column in table.columns), found, strict=True))


def changed(given: RepresentationProfile, name: str, place: tuple[int, ...], value: float) -> RepresentationProfile:
    values = getattr(given, name).copy()
    values[place] = value
    return replace(given, **{name: values})


def test_the_best_layer_of_the_first_model_is_looked_at_where_none_was_aligned() -> None:
    best = changed(changed(BASE, "retrieval", (6,), 0.95), "retrieval", (0,), 0.97)  # the embeddings are no block
    section = representations_section([best, ALIGNED])
    assert "layer 6 of 8 (where base retrieves best)" in item(section, "representations-retrieval-6").title
    names = [one.name for one in section.items if isinstance(one, MatricesChart)]
    assert names == [f"representations-{name}-{layer}" for name in ("retrieval", "cka") for layer in (6, 8)]
    section = representations_section([best, ALIGNED], aligned_layer=3)
    assert "layer 3 of 8 (aligned)" in item(section, "representations-retrieval-3").title
    last = representations_section([BASE], aligned_layer=8)
    assert [one.name for one in last.items if isinstance(one, MatricesChart)] == [
        "representations-retrieval-8",
        "representations-cka-8",
    ]


def test_curves_hold_every_layer_of_every_system_and_what_chance_gives() -> None:
    chart = item(representations_section([BASE, ALIGNED], aligned_layer=4), "representations-depth")
    assert isinstance(chart, PanelChart)
    panels = {panel.y_label: panel for panel in chart.panels}
    assert len(panels) == 8
    retrieval = panels["sentence retrieval (%)"]
    assert [series.name for series in retrieval.series] == ["base", "aligned"]
    off = ~np.eye(3, dtype=bool)
    expected = [100 * ALIGNED.retrieval[layer][off].mean() for layer in range(9)]
    assert [point.y for point in retrieval.series[1].points] == pytest.approx(expected)
    assert [point.x for point in retrieval.series[1].points] == list(range(9))
    apart = panels["separation: cosine of translations − of others"].series[0].points[4].y
    assert apart == pytest.approx((BASE.cosine_translations - BASE.cosine_others)[4][off].mean())
    guides = {guide.name: (guide.x, guide.y) for guide in retrieval.guides}
    assert guides == {"aligned": (4, None), "chance": (None, pytest.approx(100 / 40))}
    probe = panels["language told by a linear probe (%)"]
    assert [guide.y for guide in probe.guides] == [None, pytest.approx(100 / 3)]
    assert retrieval.x_label == "layer"


def test_models_of_different_depth_are_compared_at_shares_of_it() -> None:
    deep = profile("deep", CODES, depth=12, seed=3)
    section = representations_section([BASE, deep], aligned_layer=4)
    chart = item(section, "representations-depth")
    assert chart.panels[0].x_label == "share of depth (%)"
    assert [point.x for point in chart.panels[0].series[1].points][6] == 50
    assert chart.panels[0].guides[0].x == 50
    table = item(section, "representations-summary")
    assert {row[1] for row in table.rows if row[0] == "deep"} == {0, 3, 6, 9, 12}
    assert cells(table, "deep", 6)["at"] == "half, aligned"
    matrix = item(section, "representations-cka-4").matrices[1]
    assert matrix.values[0][1] == deep.cka[6, 0, 1]
    assert any("differ in depth (base 8, deep 12)" in note for note in section.notes)


def test_matrices_of_the_systems_and_their_difference() -> None:
    chart = item(representations_section([BASE, ALIGNED], aligned_layer=4), "representations-retrieval-4")
    base, aligned, difference = chart.matrices
    assert [matrix.title for matrix in chart.matrices] == ["base", "aligned", "aligned − base"]
    assert base.values[0][2] == 100 * BASE.retrieval[4, 0, 2]
    assert difference.values[2][1] == pytest.approx(100 * (ALIGNED.retrieval - BASE.retrieval)[4, 2, 1])
    assert base.values[1][1] is None
    assert (base.low, base.high) == (aligned.low, aligned.high)
    last = item(representations_section([BASE, ALIGNED], aligned_layer=4), "representations-retrieval-8")
    assert (last.matrices[0].low, last.matrices[0].high) == (base.low, base.high)
    assert difference.low == -difference.high < 0
    same = item(representations_section([BASE, replace(BASE, name="again")]), "representations-retrieval-4")
    assert same.matrices[2].high == pytest.approx(same.matrices[0].high / 10)  # noise is not shown as strong
    first = data_table(chart).rows[0]
    assert first == ("de", "fr", base.values[0][1], aligned.values[0][1], difference.values[0][1])


def test_what_is_missing_stays_missing() -> None:
    poor = BASE
    for name in ("retrieval", "retrieval_centred", "cosine_translations", "cosine_others", "auc", "cka"):
        poor = changed(poor, name, (slice(None), 0, slice(None)), np.nan)
        poor = changed(poor, name, (slice(None), slice(None), 0), np.nan)
    poor = changed(poor, "num_shared", (0, slice(None)), 1)
    poor = changed(poor, "num_shared", (slice(None), 0), 1)
    poor = changed(changed(poor, "probe", (4,), np.nan), "probe_by_language", (4, 0), np.nan)
    section = representations_section([poor, ALIGNED], aligned_layer=4)
    row = cells(item(section, "representations-languages"), "German", "de", "aligned")
    assert [row[f"{name}, base"] for name in ("retrieved from", "retrieved to", "told")] == [None] * 3
    assert row["retrieved from, system"] is not None
    assert row["difference"] is None
    assert cells(item(section, "representations-summary"), "base", 4)["language told (%)"] is None
    assert cells(item(section, "representations-pairs"), "de", "fr", "base")["CKA"] is None
    probe = item(section, "representations-depth").panels[6]
    assert [point.x for point in probe.series[0].points] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert "base: 2 of 3 pairs share fewer than two rows: de–fr, de–en." in section.notes
    nothing = replace(poor, **{name: np.full_like(BASE.cka, np.nan) for name in ("retrieval", "cka")})
    for one in representations_section([nothing]).items:
        if not isinstance(one, Table):
            assert "nan" not in standalone(one)


def test_tables_of_languages_and_pairs() -> None:
    section = representations_section([BASE, ALIGNED], aligned_layer=4)
    table = item(section, "representations-languages")
    row = cells(table, "French", "fr", "aligned")
    assert row["retrieved from, base"] == pytest.approx(100 * np.nanmean(BASE.retrieval[4, 1]))
    assert row["retrieved to, system"] == pytest.approx(100 * np.nanmean(ALIGNED.retrieval[4, :, 1]))
    told = [100 * one.probe_by_language[4, 1] for one in (BASE, ALIGNED)]
    assert table.rows[1][9:] == (*map(pytest.approx, told), pytest.approx(told[1] - told[0]))
    alone = item(representations_section([BASE]), "representations-languages")
    assert len(alone.columns) == 5
    pair = cells(item(section, "representations-pairs"), "en", "de", "aligned")
    assert pair["AUC"] == ALIGNED.auc[4, 2, 0]
    assert pair["retrieval, centred (%)"] == 100 * ALIGNED.retrieval_centred[4, 2, 0]
    assert (pair["rows"], pair["layer"]) == (40, 4)
    summary = cells(item(section, "representations-summary"), "base", 4)
    assert summary["at"] == "half, aligned"
    assert summary["anisotropy"] == BASE.anisotropy[4]


def test_languages_that_one_model_lacks() -> None:
    section = representations_section([BASE, profile("more", ("fr", "en", "cs"), height=0.8)], aligned_layer=4)
    base, more, difference = item(section, "representations-retrieval-4").matrices
    assert base.rows == ("de", "fr", "en", "cs")
    assert base.values[3] == (None,) * 4
    assert more.values[1][2] is not None
    assert difference.values[0] == (None,) * 4
    assert difference.values[1][2] == pytest.approx(more.values[1][2] - base.values[1][2])
    fewer = representations_section([BASE, profile("pair", ("de", "fr"), num_rows=12)])
    assert "base 40 rows in 3 languages; pair 12 rows in 2 languages." in fewer.notes[0]


def test_pictures_of_few_languages_are_coloured_by_language() -> None:
    chart = item(representations_section([BASE, ALIGNED], aligned_layer=4), "representations-picture")
    assert isinstance(chart, ProjectionChart)
    assert [cloud.title for cloud in chart.clouds] == [
        f"{name}, {layer}" for layer in ("embeddings", "layer 4", "layer 8") for name in ("base", "aligned")
    ]
    assert chart.kinds == {"de": "de", "fr": "fr", "en": "en"}
    x, y, code, row = chart.clouds[2].points[41]
    assert (row, code) == BASE.projected[41]
    assert (x, y) == pytest.approx(tuple(BASE.projection[4][41]), rel=1e-3)
    assert chart.clouds[0].subtitle == "PCA, 31 % and 12 % of the variance"
    few = replace(BASE, projection={layer: BASE.projection[layer] for layer in (0, 5, 8)})
    found = item(representations_section([few], aligned_layer=4), "representations-picture").clouds
    assert chart.num_columns == 2
    assert [cloud.title for cloud in found] == ["base, embeddings", "base, layer 5", "base, layer 8"]
    bare = replace(BASE, projection={}, explained={})
    assert not any(isinstance(one, ProjectionChart) for one in representations_section([bare]).items)


def test_pictures_of_many_languages_are_coloured_by_branch_and_thinned_by_row() -> None:
    codes = named_set("dat")
    big = profile("base", codes, depth=2, num_rows=40)
    section = representations_section([big])
    chart = item(section, "representations-picture")
    assert len(set(chart.kinds.values())) == 8
    assert list(chart.kinds.values())[-1] == "others"
    assert chart.kinds["de"] == chart.kinds["nl"] == "Germanic"
    rows = {row for *_, row in chart.clouds[0].points}
    assert len(chart.clouds[0].points) == len(rows) * 50 <= 1000
    assert "20 rows" in chart.note
    order = item(section, "representations-retrieval-1").matrices[0].rows
    assert abs(order.index("de") - order.index("nl")) < 8
    assert item(section, "representations-pairs").is_long
    assert len(standalone(chart)) < 500_000


def test_of_many_systems_matrices_are_differences_and_pictures_stand_in_a_line_each() -> None:
    others = [profile(f"system-{number}", CODES, height=0.5, seed=number) for number in (3, 4)]
    section = representations_section([BASE, ALIGNED, *others], aligned_layer=4)
    maps = item(section, "representations-retrieval-4")
    assert [one.title for one in maps.matrices] == [
        "base",
        *(f"{name} − base" for name in ("aligned", "system-3", "system-4")),
    ]
    assert "base is shown as it is" in maps.note
    chart = item(section, "representations-picture")
    assert chart.num_columns == len(chart.clouds) / 4
    assert [cloud.title.partition(",")[0] for cloud in chart.clouds[: chart.num_columns]] == [
        "base"
    ] * chart.num_columns
    few = item(representations_section([BASE, ALIGNED, others[0]], aligned_layer=4), "representations-retrieval-4")
    assert len(few.matrices) == 5


def test_notes_say_with_which_adapters_and_what_takes_care() -> None:
    several = replace(ALIGNED, adapters={"de": "germanic", "fr": None, "en": "germanic"}, projection_method="tsne")
    section = representations_section([BASE, several])
    text = " ".join(section.notes)
    assert "the hub with the bare base (de, en with germanic; fr with the bare base)." in text
    assert "base has several" not in text
    assert "40 rows in 3 languages" in text
    assert "t-SNE" in text
    assert "arXiv 2509.24338" in text
    assert "1 min 15 s" in text
    assert "Differences are to the first one, base." in section.intro
    assert "1905.00414" in item(section, "representations-depth").note
    assert "Differences" not in representations_section([BASE]).intro


def test_it_is_stored_and_written(tmp_path: Path) -> None:
    section = representations_section([BASE, ALIGNED], aligned_layer=4)
    assert section.anchor == "representations"
    write_sections(tmp_path, [section])
    assert read_sections(tmp_path) == [section]
    write_analysis(tmp_path, "base and aligned", [section])
    figures = sorted(path.stem for path in (tmp_path / "figures").iterdir())
    assert figures == sorted(one.name for one in section.items if not isinstance(one, Table))
    for path in (tmp_path / "figures").iterdir():
        assert etree.parse(path).getroot().tag.endswith("svg")
    assert {one.name for one in section.items} == {path.stem for path in (tmp_path / "tables").iterdir()}
    assert "NaN" not in (tmp_path / "sections.json").read_text(encoding="utf-8")


def test_no_profile_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        representations_section([])
