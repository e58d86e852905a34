"""The mix: exact at every prefix, resumed anywhere, and no source's order depends on the others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.data.mixer import Mixer, MixSource
from hexapla.data.mixing import MixSpec, mix_shares
from hexapla.data.permutation import Permutation


def _source(name: str, lengths: list[int]) -> MixSource:
    return MixSource(name, np.array(lengths, dtype=np.int32), sum(lengths))


@st.composite
def _mixes(draw: st.DrawFn) -> tuple[list[MixSource], dict[str, float]]:
    num_sources = draw(st.integers(1, 7))
    lengths = st.lists(st.integers(1, 60), min_size=1, max_size=40)
    weights = st.one_of(st.integers(1, 9).map(float), st.floats(0.01, 100, allow_nan=False))
    sources = [_source(f"s{index}", draw(lengths)) for index in range(num_sources)]
    return sources, {source.name: draw(weights) for source in sources}


def _running(mixer: Mixer, unit: str, num: int) -> np.ndarray:
    """Units drawn up to every document, [documents, sources]."""
    drawn = mixer.draw(num)
    costs = drawn.num_tokens if unit == "tokens" else np.ones(len(drawn), dtype=np.int64)
    by_source = np.zeros((len(drawn), len(mixer.sources)), dtype=np.int64)
    by_source[np.arange(len(drawn)), drawn.sources] = costs
    return by_source.cumsum(axis=0)


@settings(deadline=None, max_examples=40)
@given(_mixes(), st.sampled_from(["tokens", "rows"]), st.integers(0, 2**32))
def test_at_every_prefix_every_source_is_within_one_document_of_its_share(
    mix: tuple[list[MixSource], dict[str, float]], unit: str, seed: int
) -> None:
    sources, weights = mix
    mixer = Mixer(sources, MixSpec(weights=weights, unit=unit), seed=seed)
    running = _running(mixer, unit, 200)
    shares = np.array([mixer.shares[source.name] for source in sources])
    longest = np.array([source.num_tokens_of.max() if unit == "tokens" else 1 for source in sources])
    ahead = running - shares * running.sum(axis=1, keepdims=True)
    assert (ahead <= (1 - shares) * longest + 1e-6).all()
    assert (ahead >= -longest.max() - 1e-6).all()


def test_the_source_furthest_behind_is_not_the_one_to_take() -> None:
    """Why the mixer does not follow the obvious rule: beside one heavy source it leaves others more than one behind."""
    weights = np.array([1.0] * 9 + [19.0])
    shares = weights / weights.sum()
    obvious = np.zeros(10)
    worst = 0.0
    for total in range(200):
        obvious[np.argmax(shares * total - obvious)] += 1
        worst = max(worst, float((shares * (total + 1) - obvious).max()))
    assert worst > 1.2
    sources = [_source(f"s{index}", [1] * 50) for index in range(10)]
    spec = MixSpec(weights={source.name: weight for source, weight in zip(sources, weights, strict=True)}, unit="rows")
    running = _running(Mixer(sources, spec, seed=0), "rows", 200)
    assert np.abs(running - shares * running.sum(axis=1, keepdims=True)).max() <= 1


@settings(deadline=None, max_examples=25)
@given(
    _mixes(),
    st.sampled_from(["stop", "repeat", "drop"]),
    st.sampled_from(["tokens", "rows"]),
    st.lists(st.integers(0, 90), max_size=6),
)
def test_a_mix_resumed_from_its_state_goes_on_as_if_nothing_had_happened(
    mix: tuple[list[MixSource], dict[str, float]], exhaustion: str, unit: str, cuts: list[int]
) -> None:
    sources, weights = mix
    spec = MixSpec(weights=weights, exhaustion=exhaustion, unit=unit)
    whole = Mixer(sources, spec, seed=7, until_seen=True).draw(400)
    parts, state = [], None
    for cut in [*cuts, 400]:
        mixer = Mixer(sources, spec, seed=7, until_seen=True, state=state)
        parts.append(mixer.draw(cut))
        state = json.loads(json.dumps(mixer.state))
    for field in ("sources", "rows", "num_tokens"):
        assert np.array_equal(np.concatenate([getattr(part, field) for part in parts])[:400], getattr(whole, field))


def _rows_of(mixer: Mixer, name: str, num: int) -> list[int]:
    drawn = mixer.draw(num)
    index = [source.name for source in mixer.sources].index(name)
    rows: list[int] = drawn.rows[drawn.sources == index].tolist()
    return rows


def test_another_source_changes_nothing_of_the_order_inside_a_source() -> None:
    first, second, third = _source("a", [5] * 90), _source("b", [7] * 80), _source("c", [3] * 70)
    alone = _rows_of(Mixer([first], MixSpec(), seed=1), "a", 200)
    beside = _rows_of(Mixer([third, second, first], MixSpec(), seed=1), "a", 300)
    assert len(beside) > 100
    assert beside == alone[: len(beside)]
    assert _rows_of(Mixer([first], MixSpec(), seed=2), "a", 200) != alone
    assert _rows_of(Mixer([_source("z", [5] * 90)], MixSpec(), seed=1), "z", 200) != alone


def test_every_pass_holds_every_row_once_in_a_new_order() -> None:
    rows = _rows_of(Mixer([_source("a", [2] * 100)], MixSpec(), seed=1), "a", 300)
    passes = [rows[:100], rows[100:200], rows[200:]]
    assert all(sorted(each) == list(range(100)) for each in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_the_end_of_a_source_stops_the_mix_before_it_would_be_drawn_again() -> None:
    mixer = Mixer([_source("a", [1] * 10), _source("b", [1] * 50)], _even("rows", "stop"), seed=0)
    drawn = mixer.draw(1000)
    assert np.bincount(drawn.sources).tolist() == [10, 10]
    assert mixer.ended
    assert len(mixer.draw(10)) == 0


def test_a_source_that_ends_is_dropped_and_the_others_keep_their_proportions() -> None:
    sources = [_source("a", [1] * 10), _source("b", [1] * 40), _source("c", [1] * 200)]
    spec = MixSpec(weights={"a": 1, "b": 1, "c": 2}, unit="rows", exhaustion="drop")
    mixer = Mixer(sources, spec, seed=0)
    drawn = mixer.draw(1000)
    assert np.bincount(drawn.sources).tolist() == [10, 40, 200]
    assert mixer.ended
    last_a, last_b = np.flatnonzero(drawn.sources == 0)[-1], np.flatnonzero(drawn.sources == 1)[-1]
    between = np.bincount(drawn.sources[last_a + 1 : last_b + 1], minlength=3)
    assert abs(between[2] - 2 * between[1]) <= 2


@settings(deadline=None, max_examples=40)
@given(_mixes(), st.sampled_from(["tokens", "rows"]))
def test_between_two_drops_the_others_are_within_one_document_of_their_new_shares(
    mix: tuple[list[MixSource], dict[str, float]], unit: str
) -> None:
    sources, weights = mix
    mixer = Mixer(sources, MixSpec(weights=weights, unit=unit, exhaustion="drop"), seed=1)
    drawn = mixer.draw(1000)
    costs = drawn.num_tokens if unit == "tokens" else np.ones(len(drawn), dtype=np.int64)
    ends = {int(np.flatnonzero(drawn.sources == index)[-1]) + 1: index for index in range(len(sources))}
    active, start = np.array([weights[source.name] for source in sources]), 0
    for end, dropped in sorted(ends.items()):
        shares = active / active.sum()
        units = np.zeros((end - start, len(sources)))
        units[np.arange(end - start), drawn.sources[start:end]] = costs[start:end]
        running = units.cumsum(axis=0)
        ahead = running - shares * running.sum(axis=1, keepdims=True)
        assert np.abs(ahead).max(initial=0.0) <= costs.max() + 1e-6
        active[dropped], start = 0, end
    assert len(drawn) == sum(source.num_rows for source in sources)


def test_a_repeated_mix_until_everything_was_seen_ends_with_the_last_first_pass() -> None:
    mixer = Mixer([_source("a", [1] * 10), _source("b", [1] * 35)], _even("rows", "repeat"), seed=0, until_seen=True)
    drawn = mixer.draw(1000)
    assert np.bincount(drawn.sources).tolist() in ([34, 35], [35, 35])
    assert drawn.sources[-1] == 1
    report = {record["source"]: record for record in mixer.report()}
    assert report["a"]["passes"] == pytest.approx(3.5, abs=0.1)
    assert report["b"]["passes"] == 1
    assert report["b"]["rows"] == report["b"]["tokens"] == 35
    assert report["a"]["taken_share"] == pytest.approx(0.5, abs=0.01)


def _even(unit: str, exhaustion: str) -> MixSpec:
    return MixSpec(weights={"a": 1, "b": 1}, unit=unit, exhaustion=exhaustion)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(None, [0.1, 0.9]), (1.0, [0.1, 0.9]), (2.0, [0.25, 0.75]), (1e9, [0.5, 0.5])]
)
def test_shares_follow_the_sizes_by_temperature(temperature: float | None, expected: list[float]) -> None:
    shares = mix_shares(MixSpec(temperature=temperature), {"a": 100, "b": 900, "empty": 0})
    assert [shares["a"], shares["b"]] == pytest.approx(expected)
    assert shares["empty"] == 0


@pytest.mark.parametrize(
    ("spec", "sizes", "message"),
    [
        (MixSpec(weights={"monolingal": 1, "en": 1}), {"monolingual": 9, "en": 9}, "Did you mean 'monolingual'"),
        (MixSpec(weights={"en": 1}), {"monolingual": 9, "en": 9}, "No weight is given for monolingual"),
        (MixSpec(weights={"monolingual": 1, "en": 2}), {"monolingual": 9, "en": 0}, "'en' is to be mixed in"),
        (MixSpec(), {"monolingual": 0, "en": 0}, "No source holds anything"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(spec: MixSpec, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mix_shares(spec, sizes)


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        ({"weights": {"en": -1}}, "at least 0: en"),
        ({"weights": {"en": float("nan"), "zh": 1}}, "at least 0: en"),
        ({"weights": {"en": 0}}, "at least one must be above 0"),
        ({"weights": {"en": 1}, "temperature": 2}, "weights or a temperature, not both"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_impossible_settings_are_refused(settings_given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixSpec(**settings_given)


def test_a_source_of_weight_zero_may_be_empty_and_is_never_drawn() -> None:
    sources = [_source("a", [3] * 10), _source("b", []), _source("c", [2] * 10)]
    mixer = Mixer(sources, MixSpec(weights={"a": 1, "b": 0, "c": 0}), seed=0, until_seen=True)
    assert set(mixer.draw(100).sources.tolist()) == {0}


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**62))
def test_a_permutation_holds_every_row_once(num_rows: int, seed: int) -> None:
    rows = Permutation(num_rows, seed, "x").rows(np.arange(num_rows))
    assert sorted(rows.tolist()) == list(range(num_rows))


def test_all_orders_of_few_rows_are_alike_probable_over_passes() -> None:
    orders = Permutation(4, 5).rows(np.arange(4 * 12_000)).reshape(-1, 4)
    found, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(found) == 24
    assert ((counts - 500) ** 2 / 500).sum() < 60  # chi-squared with 23 degrees of freedom: p < 1e-4


def test_a_permutation_of_billions_is_entered_anywhere_and_looks_random() -> None:
    num_rows = 40_000_000_007
    positions = np.arange(num_rows - 100_000, num_rows)
    rows = Permutation(num_rows, 3, "x").rows(positions)
    assert len(np.unique(rows)) == len(rows)
    assert rows.min() >= 0
    assert rows.max() < num_rows
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.02
    counts = np.histogram(rows, bins=50, range=(0, num_rows))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 100
