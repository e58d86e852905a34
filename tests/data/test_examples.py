"""Examples of training: downsampled, with auxiliary sentences, counted."""

from __future__ import annotations

import math

import pytest

from hexapla.common.errors import UserError
from hexapla.data.auxiliaries import Auxiliaries, Choice, choose_auxiliaries
from hexapla.data.downsample import DownsampleSpec
from hexapla.data.examples import ExampleMaker, Tally, add_up, make_examples
from hexapla.data.pmp import PmpSpec
from hexapla.data.rows import Row
from hexapla.languages import Direction
from hexapla.plan import Layout, Side
from hexapla.prompts import Auxiliary

CODES = ("en", "zh", "de", "nl")
LAYOUT = Layout(CODES, ("en", "zh"), {"germanic": ("de", "nl")})
NUM = 1000
ROWS = [Row(f"c:{n:04d}", {code: f"{code} {n}" for code in CODES}, "c") for n in range(NUM)]
EN_DE, DE_EN = Direction("en", "de"), Direction("de", "en")


def maker(downsample: DownsampleSpec | None = None, pmp: PmpSpec | None = None, seed: int = 0) -> ExampleMaker:
    auxiliaries = Auxiliaries() if pmp is None else choose_auxiliaries(pmp, CODES, LAYOUT.hubs, seed=seed)
    return ExampleMaker(LAYOUT.hubs, seed, downsample, pmp, auxiliaries)


def test_without_settings_it_makes_every_example() -> None:
    assert maker().training(ROWS, LAYOUT.directions) == make_examples(ROWS, LAYOUT.directions)


def test_what_an_example_becomes_does_not_depend_on_its_job_or_on_other_rows() -> None:
    both = maker(DownsampleSpec(to_hub=0.3), PmpSpec())
    together = both.training(ROWS, LAYOUT.directions)
    alone = [example for direction in LAYOUT.directions for example in both.training(ROWS[::-1], [direction])]
    assert sorted(together, key=lambda example: example.id) == sorted(alone, key=lambda example: example.id)


def test_a_smaller_share_leaves_the_prompts_of_what_stays() -> None:
    few = set(maker(DownsampleSpec(to_hub=0.05), PmpSpec()).training(ROWS, LAYOUT.directions))
    many = set(maker(DownsampleSpec(to_hub=0.5), PmpSpec()).training(ROWS, LAYOUT.directions))
    assert few < many


def test_half_of_the_examples_show_the_rows_auxiliary_sentence() -> None:
    examples = maker(pmp=PmpSpec()).training(ROWS, LAYOUT.directions)
    expected = {EN_DE: "nl", DE_EN: "nl", Direction("zh", "de"): "en", Direction("nl", "zh"): "en"}
    bound = 5 * math.sqrt(NUM / 4)
    for direction, code in expected.items():
        shown = [e for e in examples if e.direction == direction and e.auxiliary is not None]
        assert abs(len(shown) - NUM / 2) < bound
        for example in shown:
            number = int(example.id[2:6])
            assert example.auxiliary == Auxiliary(code, f"{code} {number}")
            assert example.target == f"{direction.target} {number}"
    assert not any(e.auxiliary for e in examples if set(e.direction) == {"en", "zh"})


def test_of_the_few_examples_that_are_kept_half_show_it_too() -> None:
    kept = maker(DownsampleSpec(to_hub=0.2), PmpSpec()).training(ROWS, [DE_EN])
    shown = sum(example.auxiliary is not None for example in kept)
    assert abs(shown - len(kept) / 2) < 5 * math.sqrt(len(kept) / 4)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, NUM)])
def test_all_or_none_are_shown(share: float, expected: int) -> None:
    examples = maker(pmp=PmpSpec(share=share)).training(ROWS, [EN_DE])
    assert sum(example.auxiliary is not None for example in examples) == expected


def test_rows_without_the_auxiliary_language_are_plain_and_counted() -> None:
    pairs = [Row(f"p:{n}", {"en": f"en {n}", "de": f"de {n}"}, "p") for n in range(NUM)]
    made = maker(DownsampleSpec(to_hub=0.1), PmpSpec())
    tally = made.tally([*ROWS, *pairs], [EN_DE, DE_EN])
    examples = made.training([*ROWS, *pairs], [EN_DE, DE_EN])
    assert not any(example.auxiliary for example in examples if example.id.startswith("p:"))
    for direction in (EN_DE, DE_EN):
        own = [example for example in examples if example.direction == direction]
        assert tally[direction].available == 2 * NUM
        assert tally[direction].kept == len(own)
        assert tally[direction].shown == sum(example.auxiliary is not None for example in own)
        assert tally[direction].wanted > 1.5 * tally[direction].shown
    assert tally[EN_DE].kept == 2 * NUM
    assert NUM < tally[DE_EN].kept < 1.2 * NUM
    sides = add_up(tally, LAYOUT.side)
    assert sides[Side.TO_HUB] == tally[DE_EN]
    assert add_up(tally, lambda _: "all")["all"] == Tally(*map(sum, zip(tally[EN_DE], tally[DE_EN], strict=True)))


def test_a_language_that_no_row_has_is_refused() -> None:
    rows = [Row(row.id, {code: row.texts[code] for code in ("en", "zh", "de")}, "c") for row in ROWS]
    with pytest.raises(UserError, match=r"No row has the auxiliary language of en-de, nl\."):
        maker(pmp=PmpSpec()).training(rows, LAYOUT.directions)
    maker(pmp=PmpSpec()).training(rows, [Direction("zh", "de")])  # shows English, which is there


def test_choices_are_used_both_ways() -> None:
    auxiliaries = Auxiliaries({("en", "de"): Choice("nl", "table"), ("en", "nl"): Choice(None, "none")})
    assert auxiliaries.of(EN_DE) == auxiliaries.of(DE_EN) == "nl"
    assert auxiliaries.by_direction([EN_DE, Direction("nl", "en"), Direction("zh", "de")]) == {EN_DE: "nl"}
