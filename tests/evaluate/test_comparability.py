"""What forbids to compare pools, said in one line a reason; and what differs in decoding because it was asked for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hexapla.data.rows import Row
from hexapla.evaluate.comparability import decoded_on_purpose, incomparable, signature_difference
from hexapla.evaluate.scores import DirectionScores, Figure, ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Layout
from tests.evaluate.world import LAYOUT, ROWS, Evaluation, Reverser

GREEDY = {"beams": 1, "pmp": "none", "length_penalty": 1.0}
ALL = "en-de, en-nl, de-en, …"  # of the four directions with rows


def decoded(pool: str, **settings: Any) -> ScoreTable:
    """A pool of which nothing but the decoder matters."""
    return ScoreTable(Path(pool), pool, (), (), LAYOUT, {"translate": {**GREEDY, **settings}}, ())


@pytest.fixture
def first(tmp_path: Path) -> ScoreTable:
    return measured(tmp_path, "first")


def measured(folder: Path, pool: str, **changes: Any) -> ScoreTable:
    changes = {"spec": EvaluateSpec(metrics=("bleu", "chrf")), "identity": {"translate": GREEDY}, **changes}
    return Evaluation(folder / pool).run(Reverser(), pool_name=pool, **changes)


def with_figures(table: ScoreTable, changed: dict[str, DirectionScores]) -> ScoreTable:
    return replace(table, entries=tuple(changed.get(str(entry.direction), entry) for entry in table.entries))


def test_equal_measurements_can_be_compared(first: ScoreTable, tmp_path: Path) -> None:
    assert incomparable([first]) == ()
    assert incomparable([first, measured(tmp_path, "second"), measured(tmp_path, "third")]) == ()


def test_other_rows_are_one_line(first: ScoreTable, tmp_path: Path) -> None:
    fewer = [measured(tmp_path, pool, tests={"book": ROWS[:1]}) for pool in ("b", "c")]
    assert incomparable([first, *fewer]) == (
        f"b, c were measured on other rows of book than first, in 4 directions ({ALL}).",
    )


def test_directions_that_one_pool_lacks(first: ScoreTable, tmp_path: Path) -> None:
    only = EvaluateSpec(metrics=("bleu", "chrf"), directions=(Direction("de", "en"),))
    part = measured(tmp_path, "part", spec=only)
    assert incomparable([first, part]) == (
        "part was not measured on book, as first was, in 3 directions (en-de, en-nl, nl-en).",
    )
    assert incomparable([part, first]) == (
        "first was measured on book, as part was not, in 3 directions (en-de, en-nl, nl-en).",
    )


def test_metrics_that_one_pool_lacks(first: ScoreTable, tmp_path: Path) -> None:
    fewer = measured(tmp_path, "fewer", spec=EvaluateSpec(metrics=("bleu",)))
    assert incomparable([first, fewer]) == (
        f"fewer was not measured with chrF on book, as first was, in 4 directions ({ALL}).",
    )
    assert incomparable([fewer, first]) == (
        f"first was measured with chrF on book, as fewer was not, in 4 directions ({ALL}).",
    )


def test_another_signature_is_shown(first: ScoreTable) -> None:
    entry = first.entry("book", Direction("de", "en"))
    assert entry is not None
    figure = entry.figures["bleu"]
    newer = replace(figure, signature=str(figure.signature).replace("case:mixed", "case:lc"))
    other = with_figures(
        replace(first, pool="other"), {"de-en": replace(entry, figures={**entry.figures, "bleu": newer})}
    )
    assert incomparable([first, other]) == (
        "other was measured with another signature of BLEU on book than first, in 1 direction (de-en): "
        "case:lc against case:mixed in de-en.",
    )
    assert signature_difference("a:1|b:2", "a:1") == "b:2 against nothing"


def test_98_directions_are_a_line_of_which_three_are_named() -> None:
    codes = ("en", *_codes(49))
    layout = Layout(codes, ("en",), {"others": codes[1:]})
    entries = tuple(
        DirectionScores("flores", direction, 1, {"bleu": Figure(1.0, "BLEU")}, checksum="a")
        for direction in layout.directions
    )
    one = ScoreTable(Path("one"), "one", ("bleu",), (), layout, {}, entries)
    others = [
        replace(one, pool=f"pool-{number}", entries=tuple(replace(entry, checksum="b") for entry in entries))
        for number in range(12)
    ]
    assert len(entries) == 98
    (line,) = incomparable([one, *others])
    named = ", ".join(str(entry.direction) for entry in entries[:3])
    assert line == (
        f"pool-0, pool-1, pool-2, … (12 pools) were measured on other rows of flores than one, "
        f"in 98 directions ({named}, …)."
    )


def _codes(number: int) -> list[str]:
    letters = "bcdfghklmnprstvz"
    return ["".join(pair) for pair in itertools.product(letters, repeat=2)][:number]


def test_another_decoder_forbids_unless_it_was_asked_for() -> None:
    tables = [decoded("base"), decoded("greedy"), decoded("wide", beams=4), decoded("wide+ties", beams=4)]
    assert incomparable(tables) == (
        "wide, wide+ties were decoded with other settings than base (beams 4 instead of 1).",
    )
    on_purpose = {"wide": {"beams"}, "wide+ties": {"beams"}}
    assert incomparable(tables, on_purpose) == ()
    assert decoded_on_purpose(tables, on_purpose) == "wide, wide+ties (beams 4 instead of 1)"
    assert decoded_on_purpose(tables, {}) is None


def test_what_else_differs_stays_a_warning() -> None:
    tables = [decoded("base"), decoded("wide", beams=4, length_penalty=0.6)]
    on_purpose = {"wide": {"beams"}}
    assert incomparable(tables, on_purpose) == (
        "wide was decoded with other settings than base (length_penalty 0.6 instead of 1.0).",
    )
    assert decoded_on_purpose(tables, on_purpose) == "wide (beams 4 instead of 1)"


def test_variants_are_held_against_a_pool_that_nothing_changes() -> None:
    """The first variant, and with it the bare base, is decoded otherwise; the recipe's own decoding comes later."""
    tables = [decoded("base", beams=4), decoded("wide", beams=4), decoded("plain"), decoded("self", pmp="self")]
    on_purpose = {"base": {"beams"}, "wide": {"beams"}, "self": {"pmp"}}
    assert incomparable(tables, on_purpose) == ()
    assert decoded_on_purpose(tables, on_purpose) == (
        "base, wide (beams 4 instead of 1); self (pmp self instead of none)"
    )


def test_where_everything_is_changed_the_first_is_the_measure() -> None:
    tables = [decoded(f"beams={beams}", beams=beams) for beams in (2, 4, 8)]
    on_purpose = {table.pool: {"beams"} for table in tables}
    assert incomparable(tables, on_purpose) == ()
    assert decoded_on_purpose(tables, on_purpose) == "beams=4, beams=8 (beams 4, 8 instead of 2)"
    assert incomparable(tables) == (
        "beams=4, beams=8 were decoded with other settings than beams=2 (beams 4, 8 instead of 2).",
    )


def test_a_long_sweep_is_a_line_and_settings_are_told_apart() -> None:
    tables = [decoded("base"), *(decoded(f"beams={beams}", beams=beams) for beams in range(2, 9))]
    both = decoded("both", beams=2, pmp="self")
    on_purpose = {table.pool: {"beams"} for table in tables[1:]} | {"both": {"beams", "pmp"}}
    assert decoded_on_purpose([*tables, both], on_purpose) == (
        "beams=2, beams=3, beams=4, … (7 pools) (beams 2, 3, 4, … instead of 1); "
        "both (beams 2 instead of 1 and pmp self instead of none)"
    )


def test_rows_are_compared_whatever_was_asked_for(first: ScoreTable, tmp_path: Path) -> None:
    rows = [*ROWS[:2], Row("book:3", {"en": "Two, please.", "de": "Zwei, bitte."}, "book")]
    other = measured(tmp_path, "wide", tests={"book": rows}, identity={"translate": {**GREEDY, "beams": 4}})
    (line,) = incomparable([first, other], {"wide": {"beams"}})
    assert line.startswith("wide was measured on other rows of book than first, in 4 directions")
