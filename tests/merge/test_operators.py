"""Operators on small tensors: by hand, against slow loops, and their invariants."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.merge import selection
from hexapla.merge.operators.dare import random_mask
from hexapla.merge.operators.linear import weighted_sum
from hexapla.merge.operators.ties import disjoint_mean, largest, num_kept, trim_
from hexapla.merge.selection import kth_largest
from hexapla.merge.spec import MergeSpec, TiesChoices

REFERENCE = MergeSpec(dialect="reference").choices
PEFT = MergeSpec(dialect="peft").choices
MERGEKIT = MergeSpec(dialect="mergekit").choices


def ties(
    values: torch.Tensor, density: float, choices: TiesChoices, weights: list[float] | None = None
) -> torch.Tensor:
    """The whole of TIES on one tensor of each adapter, which is the whole vector."""
    weights_K = torch.tensor(weights if weights is not None else [1.0] * len(values))
    assert choices.kept is not None
    count = num_kept(values[0].numel(), density, choices.kept)
    if choices.kept == "floor":
        trimmed = values * largest(values, count)
    else:
        trimmed = trim_(values.clone(), kth_largest(lambda: [values], len(values), values[0].numel(), count))
    sums = (trimmed if choices.weighting != "before-election" else trimmed * weights_K.view(-1, 1, 1)).sum(dim=0)
    majority = int(sums.sign().sum().sign())
    return disjoint_mean(trimmed, weights_K, choices, majority)


# Three task vectors of 2 × 3 entries. At density 1/2 a vector keeps 3 entries (floor) or 4 (floor + 1).
# The column (1, 2) is pruned everywhere at floor; (0, 2) is zero everywhere.
THREE = torch.tensor(
    [
        [[4.0, -3.0, 0.0], [2.0, 0.5, 0.25]],
        [[-1.0, -4.0, 0.0], [2.0, 0.5, 0.25]],
        [[-3.0, 1.0, 0.0], [0.5, 4.0, 0.25]],
    ]
)


def test_peft_by_hand() -> None:
    # kept: 4 -3 . 2 . . / -1 -4 . 2 . . / -3 1 . . 4 .
    expected = torch.tensor([[(-1 - 3) / 2, (-3 - 4) / 2, 0], [2, 4, 0]])
    expected[0, 0] = 4 - 1 - 3  # a draw: plus wins, and only the first expert is positive
    expected[0, 0] = 4
    torch.testing.assert_close(ties(THREE, 0.5, PEFT), expected, rtol=0, atol=0)


def test_reference_by_hand() -> None:
    # kept: 4 -3 . 2 .5 . / -1 -4 . 2 . . with .5 as well / -3 1 . .5 4 .
    # sums: 0, -6, 0, 4.5, 5, 0: most elected signs are plus (2 against 1), so the draw goes to plus
    expected = torch.tensor([[4, -3.5, 0], [4.5 / 3, 5 / 3, 0]])
    torch.testing.assert_close(ties(THREE, 0.5, REFERENCE), expected)


def test_reference_draw_goes_to_the_global_majority() -> None:
    values = -THREE  # now most elected signs are minus: the draw goes to -4, where peft takes plus
    assert ties(values, 0.5, REFERENCE)[0, 0] == -4
    assert ties(values, 0.5, PEFT)[0, 0] == 2  # the mean of 1 and 3


def test_reference_global_draw_goes_to_minus_as_in_the_authors_code() -> None:
    values = torch.tensor([[[1.0, 2.0]], [[-1.0, -2.0]]])
    torch.testing.assert_close(ties(values, 1.0, REFERENCE), torch.tensor([[-1.0, -2.0]]))


def test_mergekit_by_hand_with_a_negative_weight() -> None:
    # weighted: 8 -6 . 4 . . / 1 4 . -2 . . / -3 1 . . 4 .   (weights 2, -1, 1; kept as for peft)
    expected = torch.tensor([[(8 + 1) / (2 - 1), -6 / 2, 0], [4 / 2, 4 / 1, 0]])
    torch.testing.assert_close(ties(THREE, 0.5, MERGEKIT, [2.0, -1.0, 1.0]), expected)


def test_peft_by_hand_with_a_negative_weight() -> None:
    # the sign is elected from unweighted values, the mean divides by the count
    expected = torch.tensor([[8 / 1, (-6 + 4) / 2, 0], [(4 - 2) / 2, 4 / 1, 0]])
    torch.testing.assert_close(ties(THREE, 0.5, PEFT, [2.0, -1.0, 1.0]), expected)


def test_frequency_elects_by_head_count() -> None:
    values = torch.tensor([[[5.0]], [[-1.0]], [[-2.0]]])
    by_count = PEFT.model_copy(update={"majority_sign": "frequency"})
    assert ties(values, 1.0, PEFT).item() == 5
    assert ties(values, 1.0, by_count).item() == -1.5


def test_density_zero_and_one() -> None:
    one = torch.tensor([[[1.0, -3.0, 2.0], [0.5, 0.0, -0.25]]])
    assert torch.equal(ties(one, 0.0, PEFT), torch.zeros(2, 3))
    assert torch.equal(ties(one, 0.0, MERGEKIT), torch.zeros(2, 3))
    only_largest = torch.tensor([[0.0, -3.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(ties(one, 0.0, REFERENCE), only_largest)  # floor(0) + 1
    for choices in (REFERENCE, PEFT, MERGEKIT):
        assert torch.equal(ties(one, 1.0, choices), one[0])


def test_num_kept() -> None:
    assert [num_kept(6, p, "floor") for p in (0, 0.2, 0.5, 1)] == [0, 1, 3, 6]
    assert [num_kept(6, p, "floor-plus-one") for p in (0, 0.2, 0.5, 1)] == [1, 2, 4, 6]


def slow_ties(values: list[list[float]], weights: list[float], density: float, choices: TiesChoices) -> list[float]:
    """TIES written out with loops over Python floats; the entries of each vector are a flat list."""
    n = len(values[0])
    trimmed = []
    for vector in values:
        count = min(n, math.floor(density * n) + (choices.kept == "floor-plus-one"))
        threshold = sorted((abs(v) for v in vector), reverse=True)[count - 1] if count else math.inf
        trimmed.append([v if abs(v) >= threshold else 0.0 for v in vector])
    elected = []
    for i in range(n):
        column = [
            v[i] * (w if choices.weighting == "before-election" else 1) for v, w in zip(trimmed, weights, strict=True)
        ]
        if choices.majority_sign == "frequency":
            column = [(v > 0) - (v < 0) for v in column]
        total = math.fsum(column)
        elected.append((total > 0) - (total < 0))
    majority = (sum(elected) > 0) - (sum(elected) < 0)
    merged = []
    for i in range(n):
        sign = elected[i] or (majority if choices.zero_sum == "majority" else 1)
        total = divisor = 0.0
        for vector, weight in zip(trimmed, weights, strict=True):
            ballot = vector[i] * (weight if choices.weighting == "before-election" else 1)
            if (ballot > 0 and sign > 0) or (ballot < 0 and sign <= 0):
                total += vector[i] * (1 if choices.weighting == "none" else weight)
                divisor += weight if choices.divisor == "weight-sum" else 1
        merged.append(total / (divisor or 1))
    return merged


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    num_adapters=st.integers(1, 5),
    choices=st.sampled_from([REFERENCE, PEFT, MERGEKIT, PEFT.model_copy(update={"majority_sign": "frequency"})]),
    density=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.77, 1.0]),
)
def test_equals_the_slow_loops(data: st.DataObject, num_adapters: int, choices: TiesChoices, density: float) -> None:
    n = 12
    # distinct magnitudes within a vector, so that "the largest" is well defined; small integers, so that sums are exact
    # and draws occur
    vectors = [
        [sign * magnitude for sign, magnitude in zip(signs, magnitudes, strict=True)]
        for signs, magnitudes in data.draw(
            st.lists(
                st.tuples(st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n), st.permutations(range(1, n + 1))),
                min_size=num_adapters,
                max_size=num_adapters,
            )
        )
    ]
    weights = [1.0] * num_adapters
    if choices.weighting != "none":
        weights = data.draw(
            st.lists(st.sampled_from([-1.0, 0.25, 0.5, 1.0, 2.0]), min_size=num_adapters, max_size=num_adapters)
        )
    merged = ties(torch.tensor(vectors).float().view(num_adapters, 3, 4), density, choices, weights)
    expected = torch.tensor(slow_ties(vectors, weights, density, choices)).view(3, 4)
    torch.testing.assert_close(merged, expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(4)))
@pytest.mark.parametrize("choices", [REFERENCE, PEFT, MERGEKIT], ids=["reference", "peft", "mergekit"])
def test_order_of_adapters_does_not_matter(choices: TiesChoices, seed: int, order: list[int]) -> None:
    values = torch.randint(-50, 51, (4, 5, 6), generator=torch.Generator().manual_seed(seed)).float()
    values = values + values.sign() * torch.arange(30).view(5, 6) / 64  # distinct magnitudes, exact sums
    weights = [1.0, 0.5, 2.0, 0.25] if choices.weighting != "none" else [1.0] * 4
    permuted = ties(values[order], 0.3, choices, [weights[i] for i in order])
    torch.testing.assert_close(ties(values, 0.3, choices, weights), permuted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("choices", [REFERENCE, PEFT, MERGEKIT], ids=["reference", "peft", "mergekit"])
def test_equal_adapters_give_their_own_trimmed_update(choices: TiesChoices) -> None:
    one = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(3))
    merged = ties(one.repeat(4, 1, 1), 0.4, choices)
    count = num_kept(35, 0.4, choices.kept or "floor")
    torch.testing.assert_close(merged, (one * largest(one, count))[0])
    assert int((merged != 0).sum()) == count


def test_linear_is_the_weighted_sum() -> None:
    torch.testing.assert_close(
        weighted_sum(THREE, torch.tensor([0.5, -1.0, 2.0])), 0.5 * THREE[0] - THREE[1] + 2 * THREE[2]
    )


def test_dare_masks_have_the_density_and_belong_to_the_adapter() -> None:
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    mask = random_mask(torch.Size([2, 100, 100]), 0.3, generators(1, 2))
    assert abs(float(mask.float().mean()) - 0.3) < 0.01
    assert not torch.equal(mask[0], mask[1])
    alone = random_mask(torch.Size([1, 100, 100]), 0.3, generators(2))
    assert torch.equal(mask[1], alone[0])


def kth_by_sorting(vectors: torch.Tensor, k: int) -> torch.Tensor:
    return vectors.abs().sort(dim=1, descending=True).values[:, k - 1]


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(
        # few different magnitudes, so that many are equal; and any at all
        st.one_of(st.sampled_from([0.0, -0.0, 1e-40, 0.5, -0.5, 2.0]), st.floats(-(2.0**100), 2.0**100, width=32)),
        min_size=1,
        max_size=200,
    ),
    data=st.data(),
    num_blocks=st.integers(1, 5),
    max_aside=st.sampled_from([0, 3, 1000]),
    num_fine_bins=st.sampled_from([1, 1 << 20]),
)
def test_streamed_selection_is_exact(
    values: list[float], data: st.DataObject, num_blocks: int, max_aside: int, num_fine_bins: int
) -> None:
    """Whatever the sample is, and whether entries are set aside or counted."""
    k = data.draw(st.integers(1, len(values)))
    vectors = torch.stack([torch.tensor(values), torch.tensor(values).flip(0) / 3])
    original = vectors.clone()
    sample = data.draw(st.none() | st.lists(st.sampled_from(values) | st.just(1.0), min_size=1, max_size=5))
    num_copies = data.draw(st.sampled_from([1, 100]))  # many, so that a wrong guess is held for a sure one
    samples = None if sample is None else torch.tensor([sample, sample]).repeat(1, num_copies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_MAX_ASIDE", max_aside)
        patch.setattr(selection, "_NUM_FINE_BINS", num_fine_bins)
        found = kth_largest(
            lambda: vectors.split(-(-len(values) // num_blocks), dim=1), 2, len(values), k, sample=samples
        )
    assert torch.equal(found, kth_by_sorting(vectors, k))
    assert torch.equal(vectors, original)
    kept = trim_(vectors.clone(), found)
    assert torch.equal(kept, torch.where(vectors.abs() >= found[:, None], vectors, 0.0))
    assert (vectors.abs() >= found[:, None]).sum(dim=1).min() >= k


@pytest.mark.parametrize("max_aside", [1 << 21, 100])
@pytest.mark.parametrize("density", [0.0001, 0.2, 0.9999])
def test_a_good_sample_ends_the_selection_in_one_pass(
    density: float, max_aside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_MAX_ASIDE", max_aside)
    values = torch.randn(3, 100_000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1e-3], [1], [1e3]])
    k = num_kept(100_000, density, "floor-plus-one")
    passes, num_aside = [], []

    def stream() -> tuple[torch.Tensor, ...]:
        passes.append(1)
        return values.split(7_001, dim=1)

    original = selection._Search.narrow

    def watched(self: selection._Search) -> None:
        num_aside.append(self._num_aside)
        original(self)

    monkeypatch.setattr(selection._Search, "narrow", watched)
    thresholds = kth_largest(stream, 3, 100_000, k, sample=values[:, ::10])
    assert torch.equal(thresholds, kth_by_sorting(values, k))
    assert ((trim_(values.clone(), thresholds) != 0).sum(dim=1) == k).all()
    assert max(num_aside) < min(5_000, max_aside + 1)  # of 100,000
    if max_aside > 100:
        assert len(passes) == 1


def test_selection_of_all_and_of_none() -> None:
    values = torch.tensor([[0.0, -1.0, 2.0], [0.0, 0.0, -0.0]])
    none = kth_largest(lambda: [values], 2, 3, 0)
    assert torch.isinf(none).all()
    assert not trim_(values.clone(), none).any()
    everything = kth_largest(lambda: [values], 2, 3, 3)
    assert torch.equal(everything, torch.zeros(2))
    assert torch.equal(trim_(values.clone(), everything), values)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_a_misleading_sample_costs_only_a_pass(k: int) -> None:
    one = torch.tensor(1.0)
    above, below = torch.nextafter(one, torch.tensor(2.0)), torch.nextafter(one, torch.tensor(0.0))
    values = torch.stack([-above, one, below, -below])[None]
    passes = []

    def stream() -> list[torch.Tensor]:
        passes.append(1)
        return [values]

    found = kth_largest(stream, 1, 4, k, sample=torch.ones(1, 1000))
    assert torch.equal(found, kth_by_sorting(values, k))
    assert len(passes) <= 2
