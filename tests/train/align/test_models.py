"""The losses through real (tiny) models: padding, order, and gradients in two goes, on several architectures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hexapla.languages import Direction
from hexapla.representations.layers import StateTap
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objective import PairStates, alignment_loss, cached_alignment, surrogate
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.pairs import PairIndex, labels_of
from hexapla.train.encoding import EncodedExample
from hexapla.train.lora import checkpoint_layers
from tests.tiny_models import tiny_base

_LAYER, _DEPTH, _WIDTH = 1, 2, 32
_SPEC = AlignmentSpec(layer=_LAYER, matching_width=8, symmetric=True)
_HEAD = MatchingHead.initial(_WIDTH, 8, 0, "some") * 3
_DE_EN, _FR_EN, _EN_DE = Direction("de", "en"), Direction("fr", "en"), Direction("en", "de")
Side = Literal["left", "right"]


def _example(
    name: str, direction: Direction | None, before: int, source: int, after: int, target: int
) -> EncodedExample:
    """Arbitrary tokens: some before the source sentence, the source, some after it, the target, the end."""
    total = before + source + after + target
    ids = np.random.default_rng(total).integers(3, 384, total + 1).astype(np.int32)
    ids[-1] = 2
    span = (before, before + source) if direction is not None else (0, 0)
    return EncodedExample(name, ids, before + source + after, direction, span)


_EXAMPLES = [
    _example("r1 de-en", _DE_EN, 3, 4, 2, 5),
    _example("r2 fr-en", _FR_EN, 0, 3, 1, 1),  # the source begins the sequence
    _example("an instruction", None, 2, 3, 2, 4),
    _example("r1 fr-en", _FR_EN, 3, 9, 3, 6),  # a translation of the first
    _example("r3 en-de", _EN_DE, 2, 2, 2, 3),
    _example("r4 de-en", _DE_EN, 1, 6, 2, 8),
]


@pytest.fixture(params=("qwen3", "llama", "gemma", "gemma2", "gpt-neox"))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _load(tmp_path_factory, request.param)


def _load(tmp_path_factory: pytest.TempPathFactory, architecture: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base(tmp_path_factory, architecture), dtype=torch.float32).eval()


def _pass(model: Any, examples: Sequence[EncodedExample], side: Side = "right") -> PairStates:
    """A padded pass by transformers' own means, the states laid end to end."""
    length = max(len(each.ids) for each in examples)
    ids, mask = torch.zeros(2, len(examples), length, dtype=torch.int64)
    starts = []
    for row, example in enumerate(examples):
        start = length - len(example.ids) if side == "left" else 0
        ids[row, start : start + len(example.ids)] = torch.from_numpy(example.ids).long()
        mask[row, start : start + len(example.ids)] = 1
        starts.append(row * length + start)
    with StateTap(model, [_LAYER, _DEPTH]) as tap:
        model(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0), use_cache=False)
    index = PairIndex.of(examples, starts)
    return index.states(tap.states[_LAYER].flatten(0, 1), tap.states[_DEPTH].flatten(0, 1))


def _one_go(
    model: Any, examples: Sequence[EncodedExample], side: Side = "right"
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The loss, and its gradients in parameters and head."""
    model.zero_grad()
    head = _HEAD.clone().requires_grad_()
    loss, _ = alignment_loss(_pass(model, examples, side), labels_of(examples), _SPEC, head)
    loss.backward()
    assert head.grad is not None
    return loss.detach(), _gradients(model), head.grad


def _gradients(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=2e-5 * float(gradient.abs().max()) + 1e-7)


def test_the_padding_side_is_of_no_importance(model: Any) -> None:
    with torch.no_grad():
        alone = PairStates.join([_pass(model, [example]) for example in _EXAMPLES])
        for side in ("left", "right"):
            padded = _pass(model, _EXAMPLES, side)
            assert len(padded) == 5
            for got, want in zip(padded.tensors, alone.tensors, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    (left, left_gradients, left_head), (right, right_gradients, right_head) = (
        _one_go(model, _EXAMPLES, side) for side in ("left", "right")
    )
    assert left.item() == pytest.approx(right.item(), rel=1e-5)
    _close(left_gradients, right_gradients)
    torch.testing.assert_close(left_head, right_head, rtol=1e-3, atol=1e-5)


def test_the_order_of_the_batch_is_of_no_importance(model: Any) -> None:
    loss, gradients, head = _one_go(model, _EXAMPLES)
    other, other_gradients, other_head = _one_go(model, [_EXAMPLES[place] for place in (4, 2, 5, 0, 3, 1)])
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)
    _close(other_gradients, gradients)
    torch.testing.assert_close(other_head, head, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_in_two_goes_as_in_one(model: Any, checkpointed: bool) -> None:
    expected = _one_go(model, _EXAMPLES)
    if checkpointed:
        checkpoint_layers(model)
    _check_two_goes(model, [2, 3], expected)


def test_in_two_goes_in_any_parts(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = _load(tmp_path_factory, "qwen3")
    expected = _one_go(model, _EXAMPLES)

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(1, 5), unique=True, max_size=5))
    def check(cuts: list[int]) -> None:
        _check_two_goes(model, cuts, expected)

    check()


def _check_two_goes(model: Any, cuts: list[int], expected: tuple[Tensor, dict[str, Tensor], Tensor]) -> None:
    """Passes without gradients, the loss over what they gave, passes with gradients."""
    loss, gradients, head = expected
    parts = [_EXAMPLES[start:end] for start, end in pairwise([0, *sorted(cuts), len(_EXAMPLES)])]
    model.zero_grad()
    with torch.no_grad():
        states = PairStates.join([_pass(model, part) for part in parts])
    cached = cached_alignment(states, labels_of(_EXAMPLES), _SPEC, _HEAD)
    done = 0
    for part in parts:
        own = _pass(model, part)
        surrogate(own, cached.states[done : done + len(own)]).backward()
        done += len(own)
    assert done == 5
    assert cached.values.semantic is not None
    assert cached.values.matching is not None
    both = _SPEC.semantic * cached.values.semantic + _SPEC.matching * cached.values.matching
    assert both == pytest.approx(loss.item(), rel=1e-5)
    assert cached.head is not None
    _close(_gradients(model), gradients)
    torch.testing.assert_close(cached.head, head, rtol=1e-3, atol=1e-5)
