"""Strategic downsampling: what it may touch, how much it keeps, and that larger shares keep a superset."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.data.downsample import DownsampleSpec, is_kept
from hexapla.data.rows import Row
from hexapla.languages import Direction
from hexapla.plan import Layout

HUBS = ("en", "zh")
LAYOUT = Layout(("en", "zh", "de", "nl", "fr"), HUBS, {"others": ("de", "nl", "fr")})
TO_HUB = [d for d in LAYOUT.directions if d.target in HUBS and d.source not in HUBS]
REST = [d for d in LAYOUT.directions if d not in TO_HUB]
WIDE = Row("r", {code: code for code in LAYOUT.languages}, "c")
PAIR = Row("r", {"en": "a", "de": "b"}, "c")


def kept(spec: DownsampleSpec, row: Row, direction: Direction, number: int = 0, seed: int = 0) -> bool:
    return is_kept(spec, row, direction, f"c:{number} {direction}", hubs=HUBS, seed=seed)


@given(
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    direction=st.sampled_from(LAYOUT.directions),
    seed=st.integers(0, 9),
    scope=st.sampled_from(["multi-way", "all"]),
)
def test_a_larger_share_keeps_whatever_a_smaller_one_keeps(
    shares: tuple[float, float], direction: Direction, seed: int, scope: str
) -> None:
    few, many = (
        {n for n in range(200) if kept(DownsampleSpec(to_hub=share, scope=scope), WIDE, direction, n, seed)}  # type: ignore[arg-type]
        for share in sorted(shares)
    )
    assert few <= many


@pytest.mark.parametrize("share", [0.005, 0.05, 0.5])
def test_rates_of_every_direction_are_within_binomial_bounds(share: float) -> None:
    spec, num = DownsampleSpec(to_hub=share), 4000
    bound = 5 * math.sqrt(num * share * (1 - share))  # five standard deviations: once in two million
    chosen = {d: {n for n in range(num) if kept(spec, WIDE, d, n)} for d in TO_HUB}
    assert all(abs(len(rows) - share * num) < bound for rows in chosen.values())
    assert len({frozenset(rows) for rows in chosen.values()}) == len(TO_HUB)  # each direction keeps rows of its own


@pytest.mark.parametrize("scope", ["multi-way", "all"])
def test_what_comes_from_a_hub_or_goes_between_hubs_always_stays(scope: str) -> None:
    spec = DownsampleSpec(to_hub=0, scope=scope)  # type: ignore[arg-type]
    assert len(REST) == 8
    assert all(kept(spec, WIDE, direction, number) for direction in REST for number in range(50))
    assert not any(kept(spec, WIDE, direction, number) for direction in TO_HUB for number in range(50))


def test_share_one_keeps_everything() -> None:
    spec = DownsampleSpec(to_hub=1, scope="all")
    assert all(kept(spec, WIDE, direction, number) for direction in LAYOUT.directions for number in range(200))


def test_rows_of_two_languages_are_out_of_the_multi_way_scope() -> None:
    direction = Direction("de", "en")
    assert kept(DownsampleSpec(to_hub=0), PAIR, direction)
    assert not kept(DownsampleSpec(to_hub=0, scope="all"), PAIR, direction)
    three = Row("r", {"en": "a", "zh": "b", "de": "c"}, "c")
    assert not kept(DownsampleSpec(to_hub=0), three, direction)


def test_another_seed_keeps_others() -> None:
    spec, direction = DownsampleSpec(to_hub=0.5), TO_HUB[0]
    by_seed = [[kept(spec, WIDE, direction, n, seed) for n in range(100)] for seed in (0, 1)]
    assert by_seed[0] != by_seed[1]


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="to_hub"):
        DownsampleSpec(to_hub=share)
