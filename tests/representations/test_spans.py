"""Means over spans of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hexapla.representations.spans import SpanIndex, span_means

_SPANS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)).map(lambda span: (span[0], span[0] + span[1])))


@given(spans=_SPANS, seed=st.integers(0, 10**6))
def test_means_of_slices(spans: list[tuple[int, int]], seed: int) -> None:
    """Spans anywhere, overlapping, repeated, in any order."""
    states = torch.randn(17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    means = span_means(states, SpanIndex.of(spans))
    assert means.shape == (len(spans), 3)
    assert means.dtype == torch.float64
    for mean, (start, end) in zip(means, spans, strict=True):
        assert torch.allclose(mean, states[start:end].mean(0), rtol=1e-12, atol=1e-12)


def test_gradients() -> None:
    states = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    index = SpanIndex.of([(0, 3), (2, 4), (7, 8)])
    assert torch.autograd.gradcheck(lambda tensor: span_means(tensor, index), states)


def test_half_precision_is_summed_in_single() -> None:
    states = torch.full((4096, 1), 1.0078125, dtype=torch.bfloat16).requires_grad_()  # in bf16 sums stop at 512
    means = span_means(states, SpanIndex.of([(0, 4096)]))
    assert means.dtype == torch.float32
    assert means.item() == 1.0078125
    means.sum().backward()
    assert states.grad is not None
    assert states.grad.dtype == torch.bfloat16
    assert states.grad[0].item() == 1 / 4096


def test_lengths_and_device() -> None:
    index = SpanIndex.of([(4, 6), (0, 1)]).to(torch.device("cpu"))
    assert len(index) == 2
    assert index.tokens.tolist() == [4, 5, 0]
    assert index.owners.tolist() == [0, 0, 1]
    assert index.lengths.tolist() == [2, 1]


def test_an_empty_span_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="no mean"):
        SpanIndex.of([(0, 2), (3, 3)])
