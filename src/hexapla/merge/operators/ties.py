"""TIES: trim, elect a sign for each entry, average the values that agree with it.

TIES-Merging: Resolving Interference When Merging Models, arXiv 2306.01708, algorithm 1. What the authors' code, peft
and mergekit settle differently are arguments here (`TiesChoices`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from hexapla.merge.operators.base import Operator, spread

if TYPE_CHECKING:
    from hexapla.merge.spec import TiesChoices


def num_kept(num_entries: int, density: float, kept: str) -> int:
    """How many of `num_entries` the trimming keeps: floor(p·n), or one more (never more than there are)."""
    floor = math.floor(density * num_entries)
    return min(num_entries, floor + 1) if kept == "floor-plus-one" else floor


def above_threshold(values: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Step 1, trim: the mask of entries of [K, ...] whose magnitude reaches the threshold [K] of their adapter.

    As in the authors' code every entry that equals the threshold is kept, so equal magnitudes can keep more.
    """
    return values.abs() >= spread(thresholds, values)


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Step 1 as peft and mergekit do it: the mask of exactly `count` largest entries of each of the K tensors."""
    flat = values.abs().flatten(1)
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask.scatter_(1, flat.topk(count, dim=1).indices, True)
    return mask.view_as(values)


def votes(values: torch.Tensor, weights: torch.Tensor, choices: TiesChoices) -> torch.Tensor:
    """Step 2, elect: the sum per entry whose sign is elected, γ = sgn(Σ_k τ̂_k); [K, ...] → [...]."""
    ballots = _ballots(values, weights, choices)
    return (ballots.sign() if choices.majority_sign == "frequency" else ballots).sum(dim=0)


def disjoint_mean(
    values: torch.Tensor, weights: torch.Tensor, choices: TiesChoices | None, majority: int
) -> torch.Tensor:
    """Steps 2 and 3: τ_m = mean of the τ̂_k whose sign is the elected one; 0 where there is none.

    Args:
        values: trimmed task vectors, [K, ...].
        weights: [K].
        majority: sign of the sum of the elected signs over the whole task vector; for draws under `zero_sum: majority`.
            If it is itself 0, draws go to the negative values, as in the authors' code.
    """
    assert choices is not None
    ballots = _ballots(values, weights, choices)
    elected = votes(values, weights, choices).sign()
    on_draws = 1.0 if choices.zero_sum == "positive" or majority > 0 else -1.0
    elected = torch.where(elected == 0, on_draws, elected)
    agrees = (ballots.sign() * elected).clamp_(min=0)  # 1 or 0; as numbers, not booleans, six times faster on a CPU
    weighted = values if choices.weighting == "none" else values * spread(weights, values)
    total = (weighted * agrees).sum(dim=0)
    if choices.divisor == "one":
        return total
    if choices.divisor == "count":
        return total / agrees.sum(dim=0).clamp_(min=1)
    divisor = (spread(weights, values) * agrees).sum(dim=0)
    return total / torch.where(divisor == 0, 1.0, divisor)


def _ballots(values: torch.Tensor, weights: torch.Tensor, choices: TiesChoices) -> torch.Tensor:
    return values * spread(weights, values) if choices.weighting == "before-election" else values


TIES = Operator("ties", "https://arxiv.org/abs/2306.01708", "trim", False, True, disjoint_mean)
