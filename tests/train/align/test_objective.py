"""The losses of a step: their sum with weights and sets, and in two goes what they are in one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objective import (
    AlignmentValues,
    PairLabels,
    PairStates,
    alignment_loss,
    cached_alignment,
    surrogate,
)
from hexapla.train.align.objectives import AlignmentSpec
from tests.train.align import written_out

_WIDTH, _INNER = 4, 3


def _states(num: int, seed: int = 0) -> PairStates:
    generator = torch.Generator().manual_seed(seed)
    return PairStates(*torch.randn(4, num, _WIDTH, generator=generator, dtype=torch.float64))


def _labels(meanings: str, sources: str, targets: str) -> PairLabels:
    return PairLabels(tuple(meanings), tuple(sources), tuple(targets))


def _head(seed: int = 0) -> Tensor:
    return MatchingHead.initial(_WIDTH, _INNER, seed, "some").double() * 2


def _spec(**settings: Any) -> AlignmentSpec:
    return AlignmentSpec(matching_width=_INNER, **settings)


def _written_out(states: PairStates, labels: PairLabels, spec: AlignmentSpec, head: Tensor) -> tuple[float, float]:
    """L_con and L_match of one set of examples."""
    u, v, e_source, e_target = (tensor.tolist() for tensor in states.tensors)
    view = MatchingHead.view(head, _WIDTH, _INNER)
    weights = (view.gate.tolist(), view.up.tolist(), view.down.tolist())
    semantic = written_out.contrast(u, v, spec.temperature, labels.meanings if spec.mask_translations else None)
    return semantic, written_out.match(e_source + e_target, (*labels.sources, *labels.targets), *weights)


def test_the_whole_is_the_weighted_sum() -> None:
    states, labels, head = _states(4), _labels("abca", "dedf", "eddd"), _head()
    spec = _spec(semantic=0.7, matching=0.2, temperature=0.4)
    loss, values = alignment_loss(states, labels, spec, head)
    semantic, matching = _written_out(states, labels, spec, head)
    assert loss.item() == pytest.approx(0.7 * semantic + 0.2 * matching, abs=1e-12)
    assert values.semantic == pytest.approx(semantic, abs=1e-12)
    assert values.matching == pytest.approx(matching, abs=1e-12)
    assert values.degenerate == ()
    unmasked, _ = alignment_loss(states, labels, spec.model_copy(update={"mask_translations": False}), head)
    assert unmasked.item() > loss.item()


def test_a_loss_without_weight_is_not_made() -> None:
    states, labels = _states(3), _labels("abc", "ddd", "eee")
    _, only_semantic = alignment_loss(states, labels, _spec(matching=0), None)
    assert sorted(only_semantic.to_record()) == ["semantic", "semantic_accuracy"]
    _, only_matching = alignment_loss(states, labels, _spec(semantic=0), _head())
    assert sorted(only_matching.to_record()) == ["matching", "matching_accuracy"]
    none = cached_alignment(states, labels, _spec(semantic=0, matching=0), _head())
    assert none.values == AlignmentValues()
    assert not any(gradient.any() for gradient in none.states.tensors)
    assert none.head is None


def test_sets_of_contrasted_examples_weigh_what_they_hold() -> None:
    states, labels, head = _states(5), _labels("abcab", "ddfdd", "efdee"), _head()
    loss, values = alignment_loss(states, labels, _spec(contrast=3), head)
    parts = [_written_out(states[part], labels[part], _spec(), head) for part in (slice(0, 3), slice(3, 5))]
    semantic, matching = (0.6 * first + 0.4 * second for first, second in zip(*parts, strict=True))
    assert loss.item() == pytest.approx(0.3 * semantic + 0.4 * matching, abs=1e-12)
    assert (values.semantic, values.matching) == (pytest.approx(semantic), pytest.approx(matching))
    whole, _ = alignment_loss(states, labels, _spec(contrast=5), head)
    assert whole.item() == alignment_loss(states, labels, _spec(contrast=None), head)[0].item()
    assert abs(whole.item() - loss.item()) > 1e-4


def test_the_order_of_the_examples_changes_nothing() -> None:
    states, labels, head = _states(5), _labels("abcab", "ddfdd", "efdee"), _head()
    order = [3, 0, 4, 2, 1]
    shuffled = PairStates(*(tensor[order] for tensor in states.tensors))
    names = (labels.meanings, labels.sources, labels.targets)
    shuffled_labels = PairLabels(*(tuple(each[place] for place in order) for each in names))
    loss, values = alignment_loss(states, labels, _spec(symmetric=True), head)
    other_loss, other = alignment_loss(shuffled, shuffled_labels, _spec(symmetric=True), head)
    assert other_loss.item() == pytest.approx(loss.item(), abs=1e-12)
    assert other.to_record() == pytest.approx(values.to_record())


@pytest.mark.parametrize(
    ("labels", "settings", "degenerate"),
    [
        (_labels("a", "d", "e"), {}, ("semantic",)),
        (_labels("aa", "de", "ed"), {}, ("semantic",)),
        (_labels("aa", "de", "ed"), {"mask_translations": False}, ()),
        (_labels("ab", "dd", "dd"), {}, ("matching",)),
        (_labels("a", "d", "d"), {}, ("matching", "semantic")),
        (_labels("abc", "ded", "ede"), {"contrast": 2}, ("semantic",)),  # the third stands alone
        (_labels("a", "d", "d"), {"matching": 0}, ("semantic",)),
    ],
)
def test_what_has_nothing_to_tell_apart_is_named(
    labels: PairLabels, settings: dict[str, Any], degenerate: tuple[str, ...]
) -> None:
    states = _states(len(labels))
    _, values = alignment_loss(states, labels, _spec(**settings), _head())
    assert values.degenerate == degenerate
    if "semantic" in degenerate and len(labels) < 3:
        assert values.semantic == 0


def test_a_step_without_translations() -> None:
    states, labels = _states(0), _labels("", "", "")
    loss, values = alignment_loss(states, labels, _spec(), _head())
    assert loss.item() == 0
    assert values == AlignmentValues()
    cached = cached_alignment(states, labels, _spec(), _head())
    assert [tuple(tensor.shape) for tensor in cached.states.tensors] == [(0, _WIDTH)] * 4
    assert cached.head is not None
    assert not cached.head.any()
    assert surrogate(states, cached.states).item() == 0


def test_gradients_of_the_whole_by_finite_differences() -> None:
    labels = _labels("abca", "dedf", "eddd")

    def loss(*tensors: Tensor) -> Tensor:
        return alignment_loss(PairStates(*tensors[:4]), labels, _spec(contrast=3), tensors[4])[0]

    leaves = (*_states(4).tensors, _head())
    assert torch.autograd.gradcheck(loss, [leaf.clone().requires_grad_() for leaf in leaves])


def test_cached_gradients_are_those_of_the_loss_and_leave_other_graphs_alone() -> None:
    states, labels, head = _states(4), _labels("abca", "dedf", "eddd"), _head().requires_grad_()
    leaves = PairStates(*(tensor.requires_grad_() for tensor in states.tensors))
    loss, values = alignment_loss(leaves, labels, _spec(), head)
    expected = torch.autograd.grad(loss, (*leaves.tensors, head))
    with torch.no_grad():
        cached = cached_alignment(states, labels, _spec(), head)
    assert cached.values == values
    assert cached.head is not None
    for got, want in zip((*cached.states.tensors, cached.head), expected, strict=True):
        assert torch.equal(got, want)
    assert head.grad is None
    assert all(leaf.grad is None for leaf in leaves.tensors)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 6), max_size=4),
    contrast=st.sampled_from([None, 2, 4]),
    symmetric=st.booleans(),
    semantic=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 10**6),
)
def test_in_two_goes_as_in_one(
    cuts: list[int], contrast: int | None, symmetric: bool, semantic: float, seed: int
) -> None:
    """States made by a small encoder from inputs; the second go in any parts, empty ones among them."""
    labels, head = _labels("abcabd", "ddfdde", "efdeed"), _head(seed)
    spec = _spec(contrast=contrast, symmetric=symmetric, semantic=semantic)
    inputs = _states(6, seed)
    weight = torch.randn(_WIDTH, _WIDTH, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    weight.requires_grad_()

    def encode(part: slice) -> PairStates:
        return PairStates(*((tensor[part] @ weight).tanh() for tensor in inputs.tensors))

    plain_head = head.clone().requires_grad_()
    loss, values = alignment_loss(encode(slice(None)), labels, spec, plain_head)
    expected, expected_head = torch.autograd.grad(loss, (weight, plain_head))

    bounds = [0, *sorted(cuts), 6]
    parts = [slice(start, end) for start, end in pairwise(bounds)]
    with torch.no_grad():
        cached = cached_alignment(PairStates.join([encode(part) for part in parts]), labels, spec, head)
    for part in parts:
        surrogate(encode(part), cached.states[part]).backward()
    assert cached.values.to_record() == pytest.approx(values.to_record(), abs=1e-12)
    assert weight.grad is not None
    assert torch.allclose(weight.grad, expected, rtol=1e-9, atol=1e-12)
    assert cached.head is not None
    assert torch.allclose(cached.head, expected_head, rtol=1e-9, atol=1e-12)


def test_autocast_of_a_trainer_does_not_round_the_losses() -> None:
    states, labels, head = _states(4), _labels("abca", "dedf", "eddd"), _head().float()
    states = PairStates(*(tensor.float() for tensor in states.tensors))
    exact, values = alignment_loss(states, labels, _spec(), head)
    with torch.autocast("cpu", torch.bfloat16):
        loss, rounded = alignment_loss(states, labels, _spec(), head)
    assert loss.dtype == torch.float32
    assert loss.item() == exact.item()
    assert rounded == values


def test_a_record_holds_what_was_measured() -> None:
    values = AlignmentValues(semantic=0.0, semantic_accuracy=1.0, degenerate=("semantic",))
    assert values.to_record() == {"semantic": 0.0, "semantic_accuracy": 1.0}
    assert math.isclose(sum(values.to_record().values()), 1.0)
