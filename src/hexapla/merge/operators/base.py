"""The contract of an operator: which entries of the updates it keeps, and how it joins them.

Shapes: K adapters; the dots stand for the shape of one tensor, or of a block of rows of one. Both functions work
entry by entry (given the thresholds and the majority sign, which need a view of everything), so that updates can be
streamed block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hexapla.merge.spec import TiesChoices

Combine = Callable[[torch.Tensor, torch.Tensor, "TiesChoices | None", int], torch.Tensor]


@dataclass(frozen=True)
class Operator:
    """One way to merge.

    Attributes:
        name: as in the recipe.
        source: the paper.
        sparsify: `trim` keeps the largest entries, `drop` random ones; None keeps all.
        rescale: whether kept entries are divided by the density.
        elects: whether it elects signs, and so has dialects.
        combine: (values [K, ...], weights [K], choices, majority sign) → merged [...].
    """

    name: str
    source: str
    sparsify: str | None
    rescale: bool
    elects: bool
    combine: Combine


def spread(weights: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Weights [K] as [K, 1, ..., 1], to be multiplied with `like` [K, ...]."""
    return weights.view(-1, *(1,) * (like.ndim - 1))
