"""TIES: trim, elect a sign for each entry, average the values that agree with it.

TIES-Merging: Resolving Interference When Merging Models, arXiv 2306.01708, algorithm 1. What the authors' code, peft
and mergekit settle differently are arguments here (`TiesChoices`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from hexapla.merge.operators.base import Operator

if TYPE_CHECKING:
    from hexapla.merge.spec import TiesChoices


def num_kept(num_entries: int, density: float, kept: str) -> int:
    """How many of `num_entries` the trimming keeps: floor(p·n), or one more (never more than there are)."""
    floor = math.floor(density * num_entries)
    return min(num_entries, floor + 1) if kept == "floor-plus-one" else floor


def trim_(values: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Step 1, trim: set the entries of [K, ...] to zero, in place, that are below the threshold [K] of their adapter.

    As in the authors' code every entry that equals the threshold is kept, so equal magnitudes can keep more.
    """
    just_below = torch.nextafter(thresholds, torch.tensor(-torch.inf)).tolist()
    for vector, limit in zip(values, just_below, strict=True):
        torch.hardshrink(vector, limit, out=vector)  # zero where |x| ≤ limit
    return values


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Step 1 as peft and mergekit do it: the mask of exactly `count` largest entries of each of the K tensors."""
    flat = values.abs().flatten(1)
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask.scatter_(1, flat.topk(count, dim=1).indices, True)
    return mask.view_as(values)


def votes(values: torch.Tensor, weights: torch.Tensor, choices: TiesChoices) -> torch.Tensor:
    """Step 2, elect: the sum per entry whose sign is elected, γ = sgn(Σ_k τ̂_k); [K, ...] → [...]."""
    total = torch.zeros_like(values[0])
    for value, weight in zip(values, weights.tolist(), strict=True):
        ballot = value * weight if choices.weighting == "before-election" else value
        total += ballot.sign() if choices.majority_sign == "frequency" else ballot
    return total


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
    on_draws = 1.0 if choices.zero_sum == "positive" or majority > 0 else -1.0
    # 2 γ ± 1 has the sign of γ, and that of a draw. As numbers, not as booleans, all this is six times faster on a CPU.
    elected = votes(values, weights, choices).sign_().mul_(2).add_(on_draws).sign_()
    total, divisor, agreeing = (torch.zeros_like(elected) for _ in range(3))
    for value, weight in zip(values, weights.tolist(), strict=True):
        torch.mul(value, elected, out=agreeing)
        factor = 1.0 if choices.weighting == "none" else weight
        if choices.weighting == "before-election":  # the ballot has the sign of the weight, too
            agreeing *= (weight > 0) - (weight < 0)
            factor = abs(weight)
        agreeing.clamp_(min=0)  # |τ̂_k|, or 0 where it does not agree
        total.add_(agreeing, alpha=factor)
        if choices.divisor == "count":
            divisor += agreeing.sign_()
        elif choices.divisor == "weight-sum":
            divisor.add_(agreeing.sign_(), alpha=weight)
    total *= elected
    if choices.divisor == "count":
        total /= divisor.clamp_(min=1)
    elif choices.divisor == "weight-sum":
        total /= torch.where(divisor == 0, 1.0, divisor)
    return total


TIES = Operator("ties", "https://arxiv.org/abs/2306.01708", "trim", False, True, disjoint_mean)
