"""Merging A and B separately, as `add_weighted_adapter` of peft 0.21 does with its plain combination types.

The result depends on the basis of the factors: other A and B with the same products B·A give another result, and the
product of the merged factors holds the cross terms B_i A_j. For comparison with peft; the space `delta` has neither
fault.
"""

from __future__ import annotations

import torch

from hexapla.common.errors import UserError
from hexapla.common.seeds import derive_seed
from hexapla.merge.experts import Experts
from hexapla.merge.operators import OPERATORS
from hexapla.merge.operators.base import Operator
from hexapla.merge.operators.dare import random_mask
from hexapla.merge.operators.ties import largest, num_kept
from hexapla.merge.spec import MergeSpec


def merge_factors(
    experts: Experts, path: str, spec: MergeSpec, weights_K: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The merged (A [r, I], B [O, r]) of one module; their product is the update, without a further scale.

    Each factor of adapter k gets the weight √|w_k s_k|, the A side also its sign.

    Raises:
        UserError: the ranks differ.
    """
    factors = experts.factors(path)
    ranks = {a.shape[0] for a, _ in factors}
    if len(ranks) > 1:
        raise UserError(
            f"In {path} the ranks differ ({', '.join(map(str, sorted(ranks)))}), so the factors do not fit together.",
            where="merge.space",
            hint="Use the space delta.",
        )
    scaled_K = torch.tensor([float(w) * experts.scale(k, path) for k, w in enumerate(weights_K)], dtype=torch.float64)
    root_K = scaled_K.abs().sqrt()
    sign_K = torch.where(scaled_K < 0, -1.0, 1.0)
    operator = OPERATORS[spec.operator]
    merged = []
    for side, tensors, weights in (
        ("A", torch.stack([a for a, _ in factors]), root_K * sign_K),
        ("B", torch.stack([b for _, b in factors]), root_K),
    ):
        mask = None
        if operator.sparsify == "drop":
            generators = [
                torch.Generator().manual_seed(derive_seed(seed, "dare", name, path, side)) for name in experts.names
            ]
            mask = random_mask(tensors.shape, _density(spec), generators)
        merged.append(merge_one_factor(tensors, weights.float(), spec, mask).to(tensors.dtype))
    a, b = merged
    return a, b * spec.scale


def merge_one_factor(
    tensors: torch.Tensor, weights_K: torch.Tensor, spec: MergeSpec, mask: torch.Tensor | None
) -> torch.Tensor:
    """The operator on one side's factors [K, ...]; `mask` says which entries random dropping leaves."""
    operator: Operator = OPERATORS[spec.operator]
    if operator.sparsify == "trim":
        assert spec.choices.kept is not None
        mask = largest(tensors, num_kept(tensors[0].numel(), _density(spec), spec.choices.kept))
    values = tensors if mask is None else tensors * mask
    if operator.rescale:
        values = values / _density(spec)
    return operator.combine(values, weights_K, spec.ties, 0)


def _density(spec: MergeSpec) -> float:
    assert spec.density is not None
    return spec.density
