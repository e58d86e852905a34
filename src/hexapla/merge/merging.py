"""Several experts become one adapter: the operator on their updates, one module at a time, then the best rank r.

Passes over the modules (updates are computed anew in each, never kept): two for the thresholds when TIES trims the
whole task vector, one for the merge. Of full size there is one module's merged update at a time, and its singular
vectors; memory does not grow with the number of layers beyond the merged adapter itself.

Shapes: K adapters, O output width, I input width, r rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.common.seeds import derive_seed
from hexapla.merge.experts import Experts
from hexapla.merge.factorwise import merge_factors
from hexapla.merge.lowrank import truncate, truncate_product
from hexapla.merge.operators import OPERATORS
from hexapla.merge.operators.dare import random_mask
from hexapla.merge.operators.ties import above_threshold, num_kept, votes
from hexapla.merge.report import AdapterReport, Measures
from hexapla.merge.selection import kth_largest
from hexapla.merge.spec import MergeSpec

_Factors = tuple[torch.Tensor, torch.Tensor]  # A [r, I], B [O, r]


@dataclass(frozen=True)
class _MergedUpdate:
    """The merged update of one module and what was seen on the way.

    `full` is the update, [O, I]; `sign_sum` the sum of the elected signs; `has_draws` says that an entry with kept
    values had a vote of exactly zero.
    """

    full: torch.Tensor
    num_voted: int
    num_conflicts: int
    kept_l1: float
    total_l1: float
    sign_sum: int
    has_draws: bool


def merge_experts(
    experts: Experts,
    spec: MergeSpec,
    weights_K: torch.Tensor,
    *,
    seed: int,
    on_module: Callable[[str], None] = lambda path: None,
) -> tuple[LoraAdapter, AdapterReport]:
    """Merge open `experts` with the given weights (in the order of their names) into one adapter.

    The result has alpha = r, so that its scale is 1, and the precision of the experts.

    Raises:
        UserError: in the space `factors`, the ranks differ.
    """
    merge = _ModuleMerge(experts, spec, weights_K, seed)
    factors, measures = {}, {}
    draws, sign_sum = [], 0
    for path in experts.shapes:
        signs, result = merge.module(path, majority=None)
        sign_sum += signs
        if result is None:
            draws.append(path)  # needs the sign of most entries, known at the end; such modules are merged once more
            continue
        factors[path], measures[path] = result
        on_module(path)
    for path in draws:
        _, result = merge.module(path, majority=(sign_sum > 0) - (sign_sum < 0))
        assert result is not None
        factors[path], measures[path] = result
        on_module(path)
    adapter = LoraAdapter(_settings(experts, factors), {path: factors[path] for path in experts.shapes})
    weights = dict(zip(experts.names, weights_K.tolist(), strict=True))
    return adapter, AdapterReport(weights, adapter.settings.rank, {path: measures[path] for path in experts.shapes})


def merged_update(experts: Experts, spec: MergeSpec, weights_K: torch.Tensor, path: str, *, seed: int) -> torch.Tensor:
    """The operator's exact result for one module, [O, I] float32, before any compression.

    A draw under `zero_sum: majority` is settled as in `merge_experts`.
    """
    merge = _ModuleMerge(experts, spec, weights_K, seed)
    merged = merge.update(path, majority=0)
    if merged.has_draws:
        sign_sum = sum(merge.update(other, majority=0).sign_sum for other in experts.shapes)
        merged = merge.update(path, majority=(sign_sum > 0) - (sign_sum < 0))
    return merged.full


def _settings(experts: Experts, factors: Mapping[str, _Factors]) -> LoraSettings:
    """Settings with scale 1 everywhere; in the space `factors` modules keep their own ranks."""
    ranks = {path: a.shape[0] for path, (a, _) in factors.items()}
    rank = max(ranks.values())
    own = {path: own for path, own in ranks.items() if own != rank}
    first = experts.settings[0]
    return LoraSettings(rank, rank, first.target_modules, first.base_id, rank_pattern=own, alpha_pattern={**own})


class _ModuleMerge:
    """The merge of single modules, with what all modules share: the operator, the weights, the thresholds, the rank."""

    def __init__(self, experts: Experts, spec: MergeSpec, weights_K: torch.Tensor, seed: int) -> None:
        self.experts, self.spec, self.weights_K, self.seed = experts, spec, weights_K.float(), seed
        self.operator = OPERATORS[spec.operator]
        self.vector_thresholds: torch.Tensor | None = None
        if self.operator.sparsify == "trim" and spec.choices.trim == "vector":
            self.vector_thresholds = self._thresholds(experts.all_blocks, experts.num_entries)
        if spec.rank == "full":
            self.rank = max(min(shape.d_out, shape.d_in) for shape in experts.shapes.values())
        else:
            self.rank = spec.rank if spec.rank is not None else experts.max_rank

    def module(self, path: str, *, majority: int | None) -> tuple[int, tuple[_Factors, Measures] | None]:
        """The sum of the elected signs and the result for one module; None for a draw while the majority is unknown."""
        merged = self.update(path, majority=majority or 0)
        if merged.has_draws and majority is None:
            return merged.sign_sum, None
        return merged.sign_sum, self.finish(path, merged)

    def update(self, path: str, *, majority: int) -> _MergedUpdate:
        """The operator on the updates of one module, block by block."""
        shape, spec = self.experts.shapes[path], self.spec
        keep = self._selector(path)
        update_OI = torch.empty(shape.d_out, shape.d_in)
        voted = conflicts = sign_sum = 0
        kept_l1 = total_l1 = 0.0
        has_draws = False
        for rows, deltas in self.experts.blocks(path):
            values = keep(deltas)
            signs = values.sign()
            surplus = signs.sum(dim=0).abs_()  # of one sign over the other; below the number of signs when both occur
            num_signs = signs.abs_().sum(dim=0)
            voted += int((num_signs > 0).sum())
            conflicts += int((surplus < num_signs).sum())
            total_l1 += float(deltas.abs().sum())
            kept_l1 += float(values.abs().sum())
            if self.operator.rescale and spec.density is not None:
                values = values / spec.density
            if self.operator.elects and spec.choices.zero_sum == "majority":
                vote = votes(values, self.weights_K, spec.choices)
                sign_sum += int(vote.sign().sum(dtype=torch.float64))
                has_draws = has_draws or bool(((vote == 0) & (num_signs > 0)).any())
            update_OI[rows] = self.operator.combine(values, self.weights_K, spec.ties, majority)
        return _MergedUpdate(update_OI.mul_(spec.scale), voted, conflicts, kept_l1, total_l1, sign_sum, has_draws)

    def finish(self, path: str, merged: _MergedUpdate) -> tuple[_Factors, Measures]:
        """The factors (A [r, I], B [O, r]) of a module, and how well they hold its update."""
        a, b = self._factorize(path, merged.full)
        a, b = a.to(self.experts.dtype).contiguous(), b.to(self.experts.dtype).contiguous()
        squared_error = squared_norm = 0.0
        for rows in torch.arange(merged.full.shape[0]).split(512):
            exact = merged.full[rows]
            squared_norm += float(exact.double().square().sum())
            squared_error += float((exact - b[rows].float() @ a.float()).double().square().sum())
        measures = Measures(
            squared_norm, squared_error, merged.num_voted, merged.num_conflicts, merged.kept_l1, merged.total_l1
        )
        return (a, b), measures

    def _factorize(self, path: str, update_OI: torch.Tensor) -> _Factors:
        if self.spec.space == "factors":
            return merge_factors(self.experts, path, self.spec, self.weights_K, self.seed)
        if self.operator.name != "linear":
            return truncate(update_OI, self.rank)
        factors = self.experts.factors(path)
        weights = [float(w) * self.experts.scale(k, path) * self.spec.scale for k, w in enumerate(self.weights_K)]
        b_OR = torch.cat([b.double() * weight for (_, b), weight in zip(factors, weights, strict=True)], dim=1)
        return truncate_product(b_OR, torch.cat([a.double() for a, _ in factors]), self.rank)

    def _selector(self, path: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """What sets the entries of a block [K, rows, I] to zero that the operator does not keep."""
        if self.operator.sparsify == "drop":
            generators = [
                torch.Generator().manual_seed(derive_seed(self.seed, "dare", name, path)) for name in self.experts.names
            ]
            density = self.spec.density
            assert density is not None
            return lambda deltas: deltas * random_mask(deltas.shape, density, generators)
        if self.operator.sparsify == "trim":
            thresholds = self.vector_thresholds
            if thresholds is None:
                thresholds = self._thresholds(
                    lambda: (block for _, block in self.experts.blocks(path)), self.experts.shapes[path].num_entries
                )
            return lambda deltas: deltas * above_threshold(deltas, thresholds)
        return lambda deltas: deltas

    def _thresholds(self, stream: Callable[[], Iterable[torch.Tensor]], num_entries: int) -> torch.Tensor:
        """The magnitude [K] that an entry must reach to be kept, among `num_entries` of each adapter."""
        density, kept = self.spec.density, self.spec.choices.kept
        assert density is not None
        assert kept is not None
        return kth_largest(stream, len(self.experts), num_kept(num_entries, density, kept))
