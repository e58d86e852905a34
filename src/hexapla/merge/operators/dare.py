"""DARE: drop entries at random, rescale the rest, add up.

Language Models are Super Mario, arXiv 2311.03099, section 3.2: m ~ Bernoulli(p), δ̃ = (1 − m) ⊙ δ, δ̂ = δ̃ / (1 − p). The
density is 1 − p. The sum is that of task arithmetic.
"""

from __future__ import annotations

import torch

from hexapla.merge.operators.base import Operator
from hexapla.merge.operators.linear import weighted_sum


def random_mask(shape: torch.Size, density: float, generators: list[torch.Generator]) -> torch.Tensor:
    """The entries that are not dropped: [K, ...] booleans, each true with probability `density`.

    Args:
        generators: one for each adapter, so that an adapter's mask does not depend on its company.
    """
    return torch.stack([torch.rand(shape[1:], generator=generator) < density for generator in generators])


DARE = Operator("dare", "https://arxiv.org/abs/2311.03099", "drop", True, False, weighted_sum)
