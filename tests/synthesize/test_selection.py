"""What is kept of scored translations: the threshold and the best share, exactly, in whatever order they come."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.synthesize.judgement import Drop
from hexapla.synthesize.selection import Selection
from hexapla.synthesize.spec import KeepSpec


def decided(scores: dict[str, float], **keep: float | None) -> dict[str, Drop | None]:
    selection = Selection(KeepSpec.model_validate(keep))
    for row_id, score in scores.items():
        selection.add("de", row_id, score)
    return dict(zip(scores, selection.decide().get("de", []), strict=True))


def kept(scores: dict[str, float], **keep: float | None) -> set[str]:
    return {row_id for row_id, drop in decided(scores, **keep).items() if drop is None}


def test_threshold_and_share() -> None:
    scores = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.7}
    assert kept(scores) == set(scores)
    assert kept(scores, threshold=0.5) == {"a", "c", "d"}  # the threshold itself is kept
    assert kept(scores, best=0.5) == {"a", "d"}
    assert kept(scores, best=0.51) == {"a", "c", "d"}
    assert len(kept({str(number): number / 100 for number in range(100)}, best=0.07)) == 7  # 0.07 * 100 > 7 in floats
    assert decided(scores, best=0.5, threshold=0.8) == {
        "a": None,
        "b": Drop.LOW_SCORE,
        "c": Drop.LOW_SCORE,
        "d": Drop.LOW_SCORE,
    }
    assert decided(scores, best=0.25, threshold=0.6)["d"] == Drop.NOT_BEST


@given(
    scores=st.dictionaries(
        st.text(min_size=1, max_size=4), st.sampled_from([0.1, 0.25, 0.5, 0.50001, 0.8]), min_size=1
    ),
    percent=st.integers(1, 100),
    seed=st.integers(0, 9),
)
def test_the_best_share_is_exact_and_independent_of_order(scores: dict[str, float], percent: int, seed: int) -> None:
    best = kept(scores, best=percent / 100)
    assert len(best) == math.ceil(Fraction(percent, 100) * len(scores))
    assert min(scores[row_id] for row_id in best) >= max((scores[i] for i in scores.keys() - best), default=0)
    ids = list(scores)
    random.Random(seed).shuffle(ids)
    assert kept({row_id: scores[row_id] for row_id in ids}, best=percent / 100) == best


def test_languages_are_apart_and_have_quantiles() -> None:
    selection = Selection(KeepSpec(best=0.5))
    for number in range(4):
        selection.add("de", f"r{number}", number / 10)
        selection.add("fr", f"r{number}", 1 - number / 10)
    decisions = selection.decide()
    assert [drop is None for drop in decisions["de"]] == [False, False, True, True]
    assert [drop is None for drop in decisions["fr"]] == [True, True, False, False]
    assert selection.quantiles("de")["0.5"] == pytest.approx(0.15)
    assert (selection.quantiles("fr")["0"], selection.quantiles("fr")["1"]) == (0.7, 1.0)
    assert selection.quantiles("zh") == {}
