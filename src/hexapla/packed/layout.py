"""Where sequences lie in the tokens of one pass, and how attention sees them where it needs them side by side.

Shapes: N tokens of all sequences, B sequences of a bucket, T its longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_BUCKET_GROWTH = 1.15  # a bucket's longest sequence over its shortest: at most 13 % of the places is padding


class AttentionBucket(NamedTuple):
    """Sequences of similar length, laid out as [B, T] for attention only; padding stands at the right."""

    num_sequences: int
    length: int


@dataclass(frozen=True)
class SequenceLayout:
    """Where sequences begin and end, and the buckets that attention computes in.

    Attributes:
        cumulative: [sequences + 1] int32, where sequences start; `longest` of them in tokens.
        buckets: how attention sees the sequences where it needs them padded.
        gather: [Σ B·T], the token at every place of the buckets, laid end to end; at padding one of the same sequence:
            another's, were it not finite, would spoil the gradients here.
        scatter: [N], every token's place there.
    """

    cumulative: Tensor
    longest: int
    buckets: tuple[AttentionBucket, ...]
    gather: Tensor
    scatter: Tensor


def sequence_layout(lengths: np.ndarray, device: torch.device | str, *, causal: bool = True) -> SequenceLayout:
    """The layout of sequences of these lengths, one behind another.

    Args:
        causal: False: of a model whose tokens see those behind them too, and would see padding; a bucket then holds
            sequences of one length.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)])
    buckets, gather, scatter = _buckets(lengths, starts, _BUCKET_GROWTH if causal else 1.0)

    def on_device(array: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(array).to(device=device, dtype=dtype)

    return SequenceLayout(
        cumulative=on_device(starts, torch.int32),
        longest=int(lengths.max()),
        buckets=buckets,
        gather=on_device(gather, torch.int64),
        scatter=on_device(scatter, torch.int64),
    )


def _buckets(
    lengths: np.ndarray, starts: np.ndarray, growth: float
) -> tuple[tuple[AttentionBucket, ...], np.ndarray, np.ndarray]:
    """Sequences by length, longest first, a bucket ending where its padding would exceed the bound; gather, scatter."""
    order = np.argsort(-lengths, kind="stable")
    scatter = np.empty(starts[-1], dtype=np.int64)
    buckets: list[AttentionBucket] = []
    gathers: list[np.ndarray] = []
    first = offset = 0
    while first < len(order):
        longest = int(lengths[order[first]])
        last = first + int(np.searchsorted(-lengths[order[first:]], -longest / growth, side="right"))
        members, places = order[first:last, None], np.arange(longest)
        gather = starts[members] + np.minimum(places, lengths[members] - 1)
        real = places < lengths[members]
        scatter[gather[real]] = offset + np.flatnonzero(real)
        buckets.append(AttentionBucket(last - first, longest))
        gathers.append(gather.reshape(-1))
        first, offset = last, offset + gather.size
    return tuple(buckets), np.concatenate(gathers), scatter
