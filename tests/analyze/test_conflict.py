"""Conflict and synergy from tables of scores: Δ by hand, means, sets, what cannot be compared, the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu import corpus_chrf

from hexapla.analyze import conflict_deltas, paper
from hexapla.analyze.conflict import conflict_sections, measure_conflict, side_mean
from hexapla.analyze.conflict_deltas import Delta, mean_delta, measure_deltas
from hexapla.analyze.present import DotChart, LineChart, Section, Table
from hexapla.common.errors import UserError
from hexapla.data.rows import Row
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import Draw, resample
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Layout, Side
from tests.evaluate.world import Evaluation, Said

LAYOUT = Layout(("en", "de", "nl", "fr", "ru"), ("en",), {"germanic": ("de", "nl"), "others": ("fr", "ru")})
NUM_ROWS = 4
# No row has French: its directions are missing.
ROWS = [
    Row(f"book:{i}", {code: f"{word} {i} {code} is here." for code in ("en", "de", "nl", "ru")}, "book")
    for i, word in enumerate(("Station", "Ticket", "Platform", "Delay"))
]
PERFECT: dict[str, int] = {}


@dataclass
class Silent:
    """Gives the reference, but says nothing for the first `empty[direction]` rows."""

    empty: Mapping[str, int] = field(default_factory=dict)
    rows: Sequence[Row] = field(default_factory=lambda: ROWS)

    def __call__(self, requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
        for position, (source, direction) in enumerate(requests):
            row = next(row for row in self.rows if row.texts[direction.source] == source)
            silent = self.rows.index(row) < self.empty.get(str(direction), 0)
            yield position, Said("" if silent else row.texts[direction.target])


def scores(folder: Path, pool: str, empty: Mapping[str, int], **changes: Any) -> ScoreTable:
    arguments: dict[str, Any] = {
        "pool_name": pool,
        "tests": {"book": ROWS},
        "layout": LAYOUT,
        "spec": EvaluateSpec(metrics=("chrf", "ter")),
    }
    return Evaluation(folder / pool).run(Silent(empty), **{**arguments, **changes})


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ScoreTable]:
    """Shared training loses towards English and gains from it, the more the more languages share."""
    folder = tmp_path_factory.mktemp("tables")
    return {
        "base": scores(folder, "base", {str(direction): 4 for direction in LAYOUT.directions}),
        "multilingual": scores(folder, "multilingual", {"de-en": 2, "nl-en": 4, "ru-en": 1, "en-nl": 1}),
        "separate": scores(folder, "separate", {"en-de": 1, "en-nl": 2, "ru-en": 1}),
        "multilingual@3": scores(folder, "multilingual@3", {"de-en": 1}, layout=LAYOUT.restricted(["en", "de", "nl"])),
        "multilingual@2": scores(folder, "multilingual@2", {}, layout=LAYOUT.restricted(["en", "de"])),
    }


@pytest.fixture(scope="module")
def found(tables: dict[str, ScoreTable]) -> dict[str, Any]:
    """The tables and charts of all sections by name."""
    return items(analysed(tables, {"multilingual": 10, "separate": 80}))


def analysed(tables: Mapping[str, ScoreTable], num_parameters: Mapping[str, int] | None = None) -> tuple[Section, ...]:
    return conflict_sections(measure_conflict(tables), tables, num_parameters or {})


def items(sections: tuple[Section, ...]) -> dict[str, Any]:
    found = [item for section in sections for item in section.items]
    assert len({item.name for item in found}) == len(found), "a name is the stem of a file"
    return {item.name: item for item in found}


def rows(table: Table, **where: object) -> list[dict[str, Any]]:
    titles = [column.title for column in table.columns]
    records = [dict(zip(titles, row, strict=True)) for row in table.rows]
    return [record for record in records if all(record[key.replace("_", " ")] == value for key, value in where.items())]


def test_delta_is_shared_minus_separate(tables: dict[str, ScoreTable]) -> None:
    measured = measure_deltas(tables, ["chrf", "empty"], leave_out=("base",))
    references = [row.texts["en"] for row in ROWS]
    chrf = corpus_chrf(["", "", *references[2:]], [references]).score
    delta = measured.views["book", "chrf"]["multilingual"][Direction("de", "en")]
    assert delta.separate == pytest.approx(100)
    assert delta.value == pytest.approx(chrf - 100)
    assert delta.interval is not None
    low, high = delta.interval
    assert low <= delta.value <= high <= 0
    # two of four rows are empty, none with separate training: lower is better, so the sign is turned round
    rate = measured.views["book", "empty"]["multilingual"][Direction("de", "en")]
    assert (rate.shared, rate.separate, rate.value) == (50, 0, -50)
    assert rate.interval is not None
    assert rate.interval[0] < -50 < rate.interval[1] <= 0


def test_deltas_agree_with_the_stored_figures(tables: dict[str, ScoreTable]) -> None:
    measured = measure_deltas(tables, ["chrf", "ter"], leave_out=("base",))
    for (test, metric), pools in measured.views.items():
        for pool, deltas in pools.items():
            for direction, delta in deltas.items():
                for table, value in ((tables[pool], delta.shared), (tables["separate"], delta.separate)):
                    entry = table.entry(test, direction)
                    assert entry is not None
                    assert entry.figures[metric].value == pytest.approx(value)


def test_what_was_not_measured_has_no_delta(tables: dict[str, ScoreTable]) -> None:
    measured = measure_deltas(tables, ["chrf"], leave_out=("base",))
    view = measured.views["book", "chrf"]
    assert set(view) == {"multilingual", "multilingual@3", "multilingual@2"}
    assert {str(direction) for direction in view["multilingual"]} == {
        "de-en",
        "nl-en",
        "ru-en",
        "en-de",
        "en-nl",
        "en-ru",
    }
    assert {str(direction) for direction in view["multilingual@2"]} == {"de-en", "en-de"}
    assert measured.notes == ()


def test_means_by_side(tables: dict[str, ScoreTable]) -> None:
    measured = measure_deltas(tables, ["empty"], leave_out=("base",))
    means = {side: side_mean(measured, ("book", "empty"), "multilingual", side) for side in Side}
    to_hub, from_hub = means[Side.TO_HUB], means[Side.FROM_HUB]
    assert to_hub is not None
    assert from_hub is not None
    assert means[Side.BETWEEN_HUBS] is None
    assert to_hub.value == pytest.approx((-50 - 100 + 0) / 3)
    assert from_hub.value == pytest.approx((25 + 25 + 0) / 3)
    assert to_hub.intensity == pytest.approx(50)
    assert (to_hub.num_conflicts, to_hub.num_synergies) == (1, 0), "nl-en is always empty"
    assert to_hub.interval is not None
    low, high = to_hub.interval
    assert low < to_hub.value < high < 0
    assert mean_delta([]) is None


def test_directions_are_resampled_together(tmp_path: Path) -> None:
    """Dutch lacks a row. In both directions the first row is empty, so the same resamples must be without a loss."""
    without_dutch = replace(ROWS[3], texts={code: text for code, text in ROWS[3].texts.items() if code != "nl"})
    changes = {"tests": {"book": [*ROWS[:3], without_dutch]}}
    both = {
        pool: scores(tmp_path, pool, empty, **changes)
        for pool, empty in (("separate", PERFECT), ("multilingual", {"de-en": 1, "nl-en": 1}))
    }
    view = measure_deltas(both, ["empty"]).views["book", "empty"]["multilingual"]
    losses = [view[Direction(code, "en")].pair.bootstrapped[1] for code in ("de", "nl")]
    assert 200 < (losses[0] == 0).sum() < 450, "a row is in no resample of four with probability 0.32"
    defined = ~np.isnan(losses[1])
    assert ((losses[0] == 0) == (losses[1] == 0))[defined].all()


def test_an_interval_needs_resamples_with_a_figure() -> None:
    """A rate judged on one of ten segments: where a resample lacks it (0.9^10 = 35 %) there is none."""
    rare, often = (np.array([[1.0, 1.0]] * number + [[0.0, 0.0]] * (10 - number)) for number in (1, 4))
    for statistics, is_sure in ((rare, False), (often, True)):
        pair = resample(METRICS["empty"], (statistics, statistics * [0, 1]), Draw(10), "bootstrap")
        delta = Delta(Direction("de", "en"), pair, -1, p_value=0.01, p_holm=0.01)
        assert delta.value == 100
        assert (delta.interval is not None) is is_sure
        mean = mean_delta([delta])
        assert mean is not None
        assert mean.num_synergies == is_sure


def test_holm_over_the_directions_of_a_pool(tmp_path: Path) -> None:
    """Of 12 rows k are empty with one pool and none with the other: p = 2 · 2^-k, that all k coins fall alike.

    k = 9, 6 and 6 in three of six directions, the others equal, p = 1. Holm by hand: 6 · 2^-8 = 0.023 is significant,
    5 · 2^-5 = 0.156 is not, though 2^-5 = 0.031 and the intervals of all three lie beside 0.
    """
    rows_of = [
        replace(ROWS[0], id=f"b:{i}", texts={code: f"{i} {code}" for code in ("en", "de", "nl", "ru")})
        for i in range(12)
    ]
    pools = {
        pool: Evaluation(tmp_path / pool).run(
            Silent(empty, rows_of),
            pool_name=pool,
            tests={"book": rows_of},
            layout=LAYOUT,
            spec=EvaluateSpec(metrics=("empty",)),
        )
        for pool, empty in (("separate", {"en-de": 6}), ("multilingual", {"de-en": 9, "nl-en": 6}))
    }
    measured = measure_deltas(pools, ["empty"])
    deltas = {str(direction): each for direction, each in measured.views["book", "empty"]["multilingual"].items()}
    exact = {"de-en": 2**-8, "nl-en": 2**-5, "en-de": 2**-5, "ru-en": 1.0, "en-nl": 1.0, "en-ru": 1.0}
    for direction, p_value in exact.items():
        assert deltas[direction].p_value == pytest.approx(p_value, abs=0.006), direction
    assert deltas["de-en"].p_holm == pytest.approx(6 * deltas["de-en"].p_value)
    doubtful = 5 * min(deltas["nl-en"].p_value, deltas["en-de"].p_value)
    assert deltas["nl-en"].p_holm == pytest.approx(doubtful, abs=0.03)
    assert deltas["ru-en"].p_holm == 1
    means = {
        side: side_mean(measured, ("book", "empty"), "multilingual", side) for side in (Side.TO_HUB, Side.FROM_HUB)
    }
    to_hub, from_hub = means[Side.TO_HUB], means[Side.FROM_HUB]
    assert to_hub is not None
    assert from_hub is not None
    assert (to_hub.num_conflicts, to_hub.num_sure_conflicts) == (2, 1)
    assert (from_hub.num_synergies, from_hub.num_sure_synergies) == (1, 0)
    assert (to_hub.num_sure_synergies, from_hub.num_sure_conflicts) == (0, 0)
    sections = items(analysed(pools))
    (record,) = rows(sections["conflict-by-side"], side="to-hub")
    assert (record["conflicts"], record["conflicts (Holm)"], record["synergies (Holm)"]) == (2, 1, 0)
    assert "of all sides, by the same metric on the same test set" in sections["conflict-by-side"].note
    (told,) = rows(sections["conflict-intervals-empty-book"], direction="nl-en")
    assert told["p (Holm)"] == deltas["nl-en"].p_holm > told["p"]


def test_the_trials_of_the_test_are_not_held(tables: dict[str, ScoreTable]) -> None:
    """10,000 differences a direction, metric and pool: of a hundred directions hundreds of megabytes."""
    measured = measure_deltas(tables, ["chrf", "empty"], leave_out=("base",))
    held = [delta for pools in measured.views.values() for deltas in pools.values() for delta in deltas.values()]
    assert held
    assert all(delta.pair.swapped is None for delta in held)


def test_more_directions_than_the_test_can_tell(tables: dict[str, ScoreTable], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the smallest p is not significant after the correction, a count of 0 would mislead."""
    assert not any("says nothing" in note for note in measure_conflict(tables).notes)
    monkeypatch.setattr(conflict_deltas, "NUM_TRIALS", 100)
    (note,) = [note for note in measure_conflict(tables).notes if "says nothing" in note]
    assert note.startswith("Of 6 directions the test, with its 100 trials, can call none significant")


def test_growing_sets_and_anchors(found: dict[str, Any]) -> None:
    chart = found["conflict-languages-chrf-book"]
    assert isinstance(chart, LineChart)
    by_name = {series.name: series for series in chart.series}
    assert list(by_name) == [
        "to-hub, all trained",
        "to-hub, those of the 2 languages",
        "from-hub, all trained",
        "from-hub, those of the 2 languages",
    ]
    assert [point.x for point in by_name["to-hub, all trained"].points] == [2, 3, 5]
    anchors = found["conflict-anchors"]
    to_hub = rows(anchors, metric="chrF", anchor_set=2, side="to-hub")
    assert [record["languages"] for record in to_hub] == [2, 3, 5]
    assert [record["directions"] for record in to_hub] == [1, 1, 1]
    values = [record["Δ"] for record in to_hub]
    assert values == sorted(values, reverse=True), "one, then two of four rows of de-en are lost"
    assert values[0] == 0
    assert values == [point.y for point in by_name["to-hub, those of the 2 languages"].points]
    assert [r["languages"] for r in rows(anchors, metric="chrF", anchor_set=3, side="to-hub")] == [3, 5]
    assert [r["directions"] for r in rows(anchors, metric="chrF", anchor_set=3, side="to-hub")] == [2, 2]


def test_an_anchor_is_what_every_larger_set_was_measured_on(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    spec = EvaluateSpec(metrics=("chrf",), directions=(Direction("de", "en"), Direction("en", "ru")))
    partly = {**tables, "multilingual": scores(tmp_path, "multilingual", PERFECT, spec=spec)}
    anchors = items(analysed(partly))["conflict-anchors"]
    assert [(record["side"], record["languages"]) for record in rows(anchors, metric="chrF", anchor_set=3)] == [
        ("to-hub", 3),
        ("to-hub", 5),
    ]
    assert {record["directions"] for record in rows(anchors, metric="chrF", anchor_set=3)} == {1}


def test_kinds_of_languages(found: dict[str, Any]) -> None:
    groups = rows(found["conflict-by-group-ter-book"], side="from-hub", pool="multilingual")
    assert [(record["group"], record["directions"]) for record in groups] == [("germanic", 2), ("others", 1)]
    assert groups[0]["Δ"] > 0, "fewer errors than separate training: synergy"
    scripts = rows(found["conflict-by-script-chrf-book"], side="to-hub", pool="multilingual")
    assert [(record["script"], record["directions"]) for record in scripts] == [("Cyrillic", 1), ("Latin", 2)]
    assert scripts[0]["Δ"] == 0
    levels = rows(found["conflict-by-resource-chrf-book"], side="to-hub", pool="multilingual@3")
    assert sum(record["directions"] for record in levels) == 2
    dots = found["conflict-groups-to-hub-chrf-book"]
    assert isinstance(dots, DotChart)
    assert dots.categories == ("germanic", "others")
    assert list(dots.values) == ["multilingual"], "pools on fewer languages are not comparable here"


def test_every_direction_has_a_row_and_a_dot(found: dict[str, Any]) -> None:
    table = found["conflict-directions-chrf-book"]
    assert [record["direction"] for record in rows(table)] == ["en-de", "en-nl", "en-ru", "de-en", "nl-en", "ru-en"]
    (russian,) = rows(table, direction="ru-en")
    assert (russian["group"], russian["script"], russian["Δ multilingual"]) == ("others", "Cyrillic", 0)
    assert russian["Δ multilingual@3"] is None
    assert found["conflict-directions-to-hub-chrf-book"].categories == ("de-en", "nl-en", "ru-en")
    assert len(rows(found["conflict-intervals-chrf-book"])) == 6 + 4 + 2


def test_failure_rates_stand_in_a_table_of_their_own(found: dict[str, Any]) -> None:
    empty = rows(found["conflict-failure-rates"], metric=METRICS["empty"].title, pool="multilingual", side="to-hub")
    assert [record["Δ"] for record in empty] == [pytest.approx(-50)]
    assert "sign of Δ is turned round" not in found["conflict-failure-rates"].note
    assert "Δ = separate − shared" in found["conflict-failure-rates"].note
    assert "For TER, where lower is better, the sign of Δ is turned round" in found["conflict-by-side"].note


def test_different_signatures_are_refused(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    other = scores(tmp_path, "multilingual", PERFECT, identity={"pool": "abc", "translate": {"beams": 5}})
    sections = analysed({"separate": tables["separate"], "multilingual": other})
    assert not [name for name in items(sections) if name.startswith("conflict-directions")]
    note = next(note for note in sections[0].notes if note.startswith("chrF on book"))
    assert "no Δ for multilingual, whose signatures differ from those of separate in 6 directions" in note
    assert "beams:5 against beams:1" in note
    told = "multilingual was decoded with other settings than separate (beams 5 instead of 1)."
    assert f"Not comparable: {told}" in sections[-1].notes, "nor are the paper's tables comparable"
    asked = paper.paper_section(
        {"separate": tables["separate"], "multilingual": other},
        {},
        measure_deltas({"separate": tables["separate"], "multilingual": other}, []),
        {"multilingual": {"beams"}},
    )
    assert asked.notes == ("Decoded differently on purpose: multilingual (beams 5 instead of 1).",)


def test_other_rows_are_refused_direction_by_direction(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    fewer = [replace(ROWS[0], texts={**ROWS[0].texts, "de": "Bahnhof"}), *ROWS[1:]]
    says = {row.texts[code]: row for row in fewer for code in row.texts}

    def translate(requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
        for position, (source, direction) in enumerate(requests):
            yield position, Said(says[source].texts[direction.target])

    other = Evaluation(tmp_path).run(
        translate,
        pool_name="multilingual",
        tests={"book": fewer},
        layout=LAYOUT,
        spec=EvaluateSpec(metrics=("chrf",)),
    )
    measured = measure_deltas({"separate": tables["separate"], "multilingual": other}, ["chrf", "ter"])
    found = {str(direction) for direction in measured.views["book", "chrf"]["multilingual"]}
    assert found == {"nl-en", "ru-en", "en-nl", "en-ru"}
    assert measured.notes[0] == "multilingual was not measured with TER."
    assert "in 2 directions (en-de, de-en)" in measured.notes[1]


def test_without_separate_training_there_is_nothing_to_compare(tables: dict[str, ScoreTable]) -> None:
    with pytest.raises(UserError, match="'separate' was not measured"):
        measure_conflict({"multilingual": tables["multilingual"]})


def test_values_are_for_other_analyses(tables: dict[str, ScoreTable]) -> None:
    measured = measure_deltas(tables, ["empty"], leave_out=("base",))
    values = measured.values("book", "empty", "multilingual@2")
    assert values == {Direction("en", "de"): 25, Direction("de", "en"): 0}
    assert measured.values("book", "empty", "group") == {}


def test_only_one_size_makes_no_curve(tables: dict[str, ScoreTable]) -> None:
    found = items(analysed({name: tables[name] for name in ("separate", "multilingual")}))
    assert "conflict-by-side" in found
    assert not [name for name in found if "languages" in name or "anchors" in name or name == "paper-table-5"]


def test_table_1_and_5(tables: dict[str, ScoreTable], found: dict[str, Any]) -> None:
    first = rows(found["paper-table-1"])
    assert [(record["strategy"], record["parameters"]) for record in first] == [
        ("base", None),
        ("multilingual", 10),
        ("separate", 80),
    ]
    assert first[2]["book chrF to-hub"] == pytest.approx(tables["separate"].mean("chrf", Side.TO_HUB))
    fifth = rows(found["paper-table-5"])
    assert [(record["training"], record["languages"]) for record in fifth] == [
        ("separate", None),
        ("multilingual@2", 2),
        ("multilingual@3", 3),
        ("multilingual", 5),
    ]
    assert fifth[3]["book chrF to-hub"] == pytest.approx(
        tables["multilingual"].by_direction("chrf")[Direction("de", "en")]
    )


@pytest.mark.parametrize("across", [20, 2])
def test_per_language_tables(tables: dict[str, ScoreTable], monkeypatch: pytest.MonkeyPatch, across: int) -> None:
    monkeypatch.setattr(paper, "_MAX_LANGUAGES_ACROSS", across)
    measured = measure_deltas(tables, [], leave_out=("base",))
    section = paper.paper_section(tables, {}, measured)
    table = items((section,))["paper-book-chrf-to-hub"]
    chrf = {pool: tables[pool].by_direction("chrf") for pool in tables}
    if across == 20:
        assert [column.title for column in table.columns] == ["strategy", "mean", "de", "nl", "ru"]
        cells = {record["strategy"]: record for record in rows(table)}
        assert cells["multilingual@2"]["nl"] is None
        assert cells["multilingual@2"]["mean"] is None, "a mean over other languages would be another one"
        assert cells["multilingual"]["nl"] == chrf["multilingual"][Direction("nl", "en")]
        assert cells["separate"]["mean"] == pytest.approx(tables["separate"].mean("chrf", Side.TO_HUB))
    else:
        assert [column.title for column in table.columns] == ["language", *tables]
        cells = {record["language"]: record for record in rows(table)}
        assert list(cells) == ["mean", "de", "nl", "ru"]
        assert cells["nl"]["multilingual"] == chrf["multilingual"][Direction("nl", "en")]
        assert cells["mean"]["multilingual@2"] is None


def test_two_hubs_have_tables_of_their_own(tmp_path: Path) -> None:
    layout = Layout(("en", "de", "nl", "ru"), ("en", "de"), {"all_others": ("nl", "ru")})
    both = {
        pool: scores(tmp_path, pool, empty, layout=layout)
        for pool, empty in (("separate", PERFECT), ("multilingual", {"nl-de": 4, "en-de": 2}))
    }
    found = items(analysed(both))
    assert {"paper-book-chrf-to-hub-en", "paper-book-chrf-to-hub-de", "paper-book-chrf-between-hubs"} <= set(found)
    assert [column.title for column in found["paper-book-chrf-between-hubs"].columns][2:] == ["en-de", "de-en"]
    into_german = found["paper-book-chrf-to-hub-de"]
    assert [column.title for column in into_german.columns] == ["strategy", "mean", "nl", "ru"]
    assert rows(into_german, strategy="multilingual")[0]["nl"] == 0
    between = rows(found["conflict-directions-chrf-book"], direction="en-de")[0]
    assert between["group"] is None
    assert between["Δ multilingual"] < 0
