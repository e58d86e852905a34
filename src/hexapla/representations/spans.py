"""Sentences as means of the hidden states of their tokens.

Shapes: N tokens of a pass laid end to end (padded batches flattened), n spans, P tokens of all spans, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SpanIndex:
    """Which tokens belong to which span; spans may be anywhere, and overlap.

    Attributes:
        tokens: [P] int64, positions among the N tokens.
        owners: [P] int64, the span that each is of.
        lengths: [n] float32, tokens of every span, at least 1.
    """

    tokens: Tensor
    owners: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, spans: Sequence[tuple[int, int]]) -> SpanIndex:
        """The index of spans [start, end), none of them empty, on the CPU."""
        assert all(start < end for start, end in spans), "an empty span has no mean"
        lengths = np.array([end - start for start, end in spans], dtype=np.int64)
        tokens = [np.arange(start, end) for start, end in spans]
        return cls(
            tokens=torch.from_numpy(np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int64)),
            owners=torch.from_numpy(np.repeat(np.arange(len(spans)), lengths)),
            lengths=torch.from_numpy(lengths).float(),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> SpanIndex:
        """The same on a device."""
        return SpanIndex(self.tokens.to(device), self.owners.to(device), self.lengths.to(device))


def span_means(states: Tensor, index: SpanIndex) -> Tensor:
    """Mean state of every span.

    Args:
        states: [N, D]; of any precision, the mean is taken in fp32 (in fp64 where they are).

    Returns:
        [n, D]; gradients flow back to `states`.
    """
    chosen = states.index_select(0, index.tokens)
    chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
    sums = chosen.new_zeros(len(index), states.shape[1]).index_add(0, index.owners, chosen)
    return sums / index.lengths[:, None].to(sums.dtype)
