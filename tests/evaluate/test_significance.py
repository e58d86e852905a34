"""Intervals and paired tests: sacreBLEU's own figures, hand-computed cases, and what must hold for any data."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest, _bootstrap_resample

from hexapla.evaluate import significance
from hexapla.evaluate.metrics import METRICS, Segments, make_metric
from hexapla.evaluate.significance import (
    SEED,
    Draw,
    Test,
    combine,
    holm,
    interval,
    joint_draws,
    paired_test,
    resample,
)

WORDS = ["the", "a", "red", "big", "old", "train", "house", "river", "goes", "stands", "burns", "under", "near", "far"]
THEIRS = {
    "bleu": lambda: BLEU(tokenize="13a"),
    "chrf++": lambda: CHRF(word_order=2),
    "ter": TER,
}
RATE = METRICS["empty"]


@cache
def texts(num_segments: int = 90) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """References, and two systems that get some words wrong, the second fewer."""
    chance = random.Random(3)
    references = [" ".join(chance.choices(WORDS, k=chance.randint(4, 14))) for _ in range(num_segments)]

    def system(errors: float) -> tuple[str, ...]:
        return tuple(
            " ".join(chance.choice(WORDS) if chance.random() < errors else word for word in reference.split())
            for reference in references
        )

    return tuple(references), system(0.33), system(0.29)


@cache
def statistics(name: str) -> tuple[list[list[float]], list[list[float]]]:
    references, first, second = texts()
    metric = make_metric(name, "en")
    return metric.statistics(Segments(first, references)), metric.statistics(Segments(second, references))


def theirs(name: str, kind: str):
    references, first, second = texts()
    systems = [("first", list(first)), ("second", list(second))]
    _, results = PairedTest(systems, {name: THEIRS[name]()}, [list(references)], test_type=kind)()
    (key,) = [key for key in results if key != "System"]
    return results[key]


@pytest.mark.parametrize("name", THEIRS)
def test_the_interval_is_sacrebleus(name: str) -> None:
    first, _ = statistics(name)
    _, resampled = _bootstrap_resample(first, THEIRS[name](), 1000)
    ordered = sorted(score.score for score in resampled)
    low, high = interval(METRICS[name], first)
    # sacreBLEU computes in single precision
    assert low == pytest.approx(ordered[25], abs=1e-4)
    assert high == pytest.approx(ordered[974], abs=1e-4)


@pytest.mark.parametrize("kind", ["ar", "bs"])
@pytest.mark.parametrize("name", THEIRS)
def test_the_paired_tests_are_sacrebleus(name: str, kind: str) -> None:
    baseline, system = theirs(name, kind)
    test: Test = "randomisation" if kind == "ar" else "bootstrap"
    found = paired_test(METRICS[name], *statistics(name), test)
    assert found.value == pytest.approx(system.score - baseline.score, abs=1e-9)
    assert found.num_resamples == (10_000 if kind == "ar" else 1000)
    assert found.num_undefined == 0
    strictly = (found.num_beyond + 1) / (found.num_resamples + 1)
    with_ties = (found.num_beyond + found.num_tied + 1) / (found.num_resamples + 1)
    assert found.p_value == with_ties
    if name == "ter":  # differences of whole edits: many ties, which rounding puts on either side in sacreBLEU
        assert strictly <= system.p_value <= with_ties
    else:
        assert found.num_tied == 0
        assert found.p_value == system.p_value
    assert 0.001 < found.p_value < 0.6, "a case that says something"
    if kind == "bs":
        own = resample(METRICS[name], statistics(name), Draw(90), test).estimate(1)
        assert own.interval[1] - own.interval[0] == pytest.approx(2 * system.ci, abs=1e-4)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list:
        significance._counts.cache_clear()
        significance._coins.cache_clear()
        return [paired_test(METRICS["bleu"], *statistics("bleu"), test) for test in ("bootstrap", "randomisation")]

    whole = found()
    monkeypatch.setattr(significance, "_BLOCK_CELLS", 90 * 70)
    assert found() == whole
    significance._counts.cache_clear()
    significance._coins.cache_clear()


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
@given(data=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_swapped_systems_mirror_and_equal_ones_do_not_differ(test: Test, data: list[tuple[float, float]]) -> None:
    first, second = ([[pair[side], 1.0] for pair in data] for side in (0, 1))
    there, back = paired_test(RATE, first, second, test), paired_test(RATE, second, first, test)
    assert there.value == -back.value
    assert there.p_value == back.p_value
    assert 0 < there.p_value <= 1
    same = paired_test(RATE, first, first, test)
    assert (same.value, same.p_value, same.interval) == (0.0, 1.0, (0.0, 0.0))


def test_randomisation_of_few_segments_is_the_exact_test() -> None:
    first, second = [0.2, 0.9, 0.4, 0.0, 0.3, 0.1], [0.5, 1.0, 0.3, 0.2, 0.6, 0.7]
    gains = [b - a for a, b in zip(first, second, strict=True)]
    flips = list(itertools.product((1, -1), repeat=len(gains)))
    extreme = sum(abs(sum(s * g for s, g in zip(signs, gains, strict=True))) >= sum(gains) - 1e-12 for signs in flips)
    found = paired_test(RATE, [[x, 1] for x in first], [[x, 1] for x in second], "randomisation")
    assert found.p_value == pytest.approx(extreme / len(flips), abs=0.01)


def test_a_rate_that_differs_in_one_segment_is_not_significant() -> None:
    first = [[0.0, 1.0]] * 100
    second = [[1.0, 1.0], *first[1:]]
    found = paired_test(RATE, first, second, "randomisation")
    assert (found.value, found.p_value, found.num_beyond, found.num_tied) == (1.0, 1.0, 0, 10_000)
    # sacreBLEU's rule would say (0 + 1) / 10 001
    assert (found.num_beyond + 1) / 10_001 < 0.001


@pytest.mark.parametrize("rare", [False, True], ids=["scores", "rates"])
def test_randomisation_calls_no_more_equal_systems_different_than_it_should(rare: bool) -> None:
    rng = np.random.default_rng(2)
    num_called = 0
    for _ in range(200):
        figures = rng.random((2, 25)) < 0.05 if rare else rng.normal(0.5, 0.2, size=(2, 25))
        first, second = (np.stack([figures[side], np.ones(25)], axis=1) for side in (0, 1))
        num_called += paired_test(RATE, first, second, "randomisation").p_value < 0.05
    assert num_called / 200 < 0.08  # 0.05 and two standard errors
    assert num_called > 0 or rare


def test_what_cannot_be_judged_does_not_make_a_difference_significant() -> None:
    """Two failures against none; that one system has 40 segments more that cannot be judged says nothing of these."""
    # the third column, which the figure does not depend on, counts what could not be judged
    first = [[1.0, 1.0, 0.0]] * 2 + [[0.0, 0.0, 1.0]] * 40 + [[0.0, 1.0, 0.0]] * 58
    second = [[0.0, 1.0, 0.0]] * 100
    found = paired_test(RATE, first, second, "randomisation")
    assert found.value == pytest.approx(-100 * 2 / 60)
    assert found.num_segments == 60
    assert found.p_value == pytest.approx(0.5, abs=0.02)


def test_undefined_resamples_are_counted_and_never_significant() -> None:
    """One judged segment in four: a resample without it has no figure."""
    first = [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    second = [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    resampled = resample(RATE, (first, second), Draw(4), "bootstrap")
    estimate = resampled.estimate(1)
    assert (estimate.value, estimate.interval) == (100.0, (100.0, 100.0))
    assert estimate.num_undefined == pytest.approx(1000 * 0.75**4, abs=60)
    found = resampled.difference(1)
    assert found.num_undefined == estimate.num_undefined
    assert found.p_value >= (found.num_undefined + 1) / 1001
    nothing = [[0.0, 0.0]] * 4
    assert paired_test(RATE, first, nothing) is None
    assert resample(RATE, (nothing,), Draw(4), "bootstrap").estimate(0) == significance.Estimate(None, None, 1000)
    assert interval(RATE, nothing) is None


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04: 4·0.01 = 0.04, 3·0.02 = 0.06, then 2·0.03 and 1·0.04 are raised to 0.06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.001, 0.04]) == pytest.approx([0.002, 0.04])
    assert holm([]) == []


def test_rows_shared_by_directions_are_drawn_together() -> None:
    shared, other = tuple(range(10)), tuple(range(100, 107))
    alone, twin, apart, partial = joint_draws([shared, shared, other, (3, 2, 9)])
    assert alone.is_plain
    assert twin.is_plain
    assert (apart.num_rows, apart.positions) == (7, None)
    assert apart.seed != SEED
    assert (partial.num_rows, partial.seed, partial.positions.tolist()) == (10, SEED, [3, 2, 9])
    chained = joint_draws([(1, 2), (5, 6), (2, 5)])
    assert [draw.num_rows for draw in chained] == [4, 4, 4]
    assert chained[2].positions.tolist() == [1, 2]


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
def test_rows_keep_their_place_in_the_common_draw(test: Test) -> None:
    """Statistics of zeros add nothing: a sample of some rows is one of all rows with zeros elsewhere."""
    rng = np.random.default_rng(5)
    some = [np.stack([rng.random(4), np.ones(4)], axis=1) for _ in range(2)]
    positions = np.array([7, 1, 4, 2])
    padded = [np.zeros((9, 2)) for _ in some]
    for whole, part in zip(padded, some, strict=True):
        whole[positions] = part
    found = resample(RATE, some, Draw(9, SEED, positions), test)
    expected = resample(RATE, padded, Draw(9), test)
    assert found.bootstrapped == pytest.approx(expected.bootstrapped, nan_ok=True)
    assert found.difference(1) == expected.difference(1)


def difference_of_mean(samples: list, rows: list, test: Test) -> significance.Difference:
    draws = joint_draws(rows)
    parts = [resample(RATE, sample, draw, test) for sample, draw in zip(samples, draws, strict=True)]
    return combine(parts, [1 / len(parts)] * len(parts)).difference(1)


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
def test_the_mean_of_one_direction_and_of_copies_is_that_direction(test: Test) -> None:
    sample, rows = statistics("bleu"), tuple(range(90))
    alone = resample(METRICS["bleu"], sample, Draw(90), test)
    assert combine([alone], [1.0]).difference(1) == alone.difference(1)
    twice = combine([resample(METRICS["bleu"], sample, draw, test) for draw in joint_draws([rows, rows])], [0.5, 0.5])
    assert replace(twice.difference(1), num_segments=90) == alone.difference(1)


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
def test_the_mean_of_independent_directions_is_surer_than_that_of_the_same_rows(test: Test) -> None:
    """Variance of a mean of k independent figures is 1/k of one; the same sentences again bring nothing new."""
    rng = np.random.default_rng(0)
    gains = rng.normal(0.01, 0.1, size=200)
    sample = ([[0.5, 1.0]] * 200, [[0.5 + gain, 1.0] for gain in gains])
    same = difference_of_mean([sample] * 4, [tuple(range(200))] * 4, test)
    apart = difference_of_mean([sample] * 4, [tuple(range(200 * k, 200 * k + 200)) for k in range(4)], test)
    assert same.value == pytest.approx(apart.value)
    width = [found.interval[1] - found.interval[0] for found in (same, apart)]
    assert width[0] / width[1] == pytest.approx(2, rel=0.12)
    assert apart.p_value < same.p_value / 2


def test_calls_leave_the_statistics_alone() -> None:
    first, second = (np.array(system, dtype=float) for system in statistics("bleu"))
    before = first.copy(), second.copy()
    resample(METRICS["bleu"], (first, second), Draw(90), "randomisation")
    assert (first == before[0]).all()
    assert (second == before[1]).all()
