"""Task arithmetic: the weighted sum of task vectors.

Editing Models with Task Arithmetic, arXiv 2212.04089, section 2: τ_new = Σ_k τ_k, θ_new = θ + λ τ_new. The weights w_k
are the usual generalisation; with weights that sum to 1 this is the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hexapla.merge.operators.base import Operator, spread

if TYPE_CHECKING:
    from hexapla.merge.spec import TiesChoices


def weighted_sum(
    values: torch.Tensor, weights: torch.Tensor, choices: TiesChoices | None = None, majority: int = 0
) -> torch.Tensor:
    """Σ_k w_k τ_k, for values [K, ...] and weights [K]; `choices` and `majority` play no part."""
    return (values * spread(weights, values)).sum(dim=0)


LINEAR = Operator("linear", "https://arxiv.org/abs/2212.04089", None, False, False, weighted_sum)
