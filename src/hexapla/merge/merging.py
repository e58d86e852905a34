"""Several experts become one adapter: the operator on their updates, one module at a time, then the best rank r.

Passes over the modules (updates are computed anew in each, tile by tile, never kept): mostly one for the thresholds
of TIES, one for the merge. Of full size there is one module's merged update at a time; memory does not grow with the
number of layers beyond the merged adapter itself, and hardly with the number of experts.

Shapes: K adapters, O output width, I input width, r rank, R and C rows and columns of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.common.seeds import derive_seed
from hexapla.merge.experts import Experts
from hexapla.merge.factorwise import merge_factors
from hexapla.merge.lowrank import truncate, truncate_product
from hexapla.merge.operators import OPERATORS
from hexapla.merge.operators.dare import random_mask
from hexapla.merge.operators.ties import num_kept, trim_, votes
from hexapla.merge.report import AdapterReport, Measures
from hexapla.merge.selection import kth_largest
from hexapla.merge.spec import MergeSpec

_Factors = tuple[torch.Tensor, torch.Tensor]  # A [r, I], B [O, r]
# Entries of each adapter that are looked at before its threshold is searched, at least and at most; among fewer than
# the last number the search goes without (measured 2026-11-21).
_MIN_SAMPLED, _MAX_SAMPLED = 1 << 14, 1 << 16
_MIN_ENTRIES_TO_SAMPLE = 1 << 18
_RESIDUAL_ENTRIES = 1 << 18


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
            self.vector_thresholds = self._thresholds(experts.shapes)
        if spec.rank == "full":
            self.rank = max(min(shape.d_out, shape.d_in) for shape in experts.shapes.values())
        else:
            self.rank = spec.rank if spec.rank is not None else experts.max_rank

    def module(self, path: str, *, majority: int | None) -> tuple[int, tuple[_Factors, Measures] | None]:
        """The sum of the elected signs and the result for one module; None for a draw while the majority is unknown."""
        merged = self.update(path, majority=majority)
        if merged.has_draws and majority is None:
            return merged.sign_sum, None
        return merged.sign_sum, self.finish(path, merged)

    def update(self, path: str, *, majority: int | None) -> _MergedUpdate:
        """The operator on the updates of one module, tile by tile.

        From the first draw on that needs a majority not yet known, all but the sum of signs is unfinished.
        """
        shape, spec = self.experts.shapes[path], self.spec
        keep_ = self._selector(path)
        update_OI = torch.empty(shape.d_out, shape.d_in)
        voted = conflicts = sign_sum = 0
        kept_l1 = total_l1 = 0.0
        has_draws = False
        for tile, values in self.experts.tiles(path):
            comes_again = has_draws and majority is None  # then only the elections of this pass count
            if comes_again:
                keep_(values)
            else:
                total_l1 += _l1(values)
                kept_l1 += _l1(keep_(values))
                num_voted, num_conflicts = _count_signs(values)
                voted += num_voted
                conflicts += num_conflicts
            if self.operator.rescale and spec.density is not None:
                values /= spec.density
            if self.operator.elects and spec.choices.zero_sum == "majority":
                elected = votes(values, self.weights_K, spec.choices).sign_()
                sign_sum += int(elected.sum(dtype=torch.float64))
                has_draws = has_draws or int(elected.abs_().sum(dtype=torch.float64)) < num_voted
            if not comes_again:
                update_OI[tile] = self.operator.combine(values, self.weights_K, spec.ties, majority or 0)
        return _MergedUpdate(update_OI.mul_(spec.scale), voted, conflicts, kept_l1, total_l1, sign_sum, has_draws)

    def finish(self, path: str, merged: _MergedUpdate) -> tuple[_Factors, Measures]:
        """The factors (A [r, I], B [O, r]) of a module, and how well they hold its update."""
        a, b = self._factorize(path, merged.full)
        a, b = a.to(self.experts.dtype).contiguous(), b.to(self.experts.dtype).contiguous()
        squared_norm, squared_error = _squares(merged.full, a.float(), b.float())
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
        """What sets the entries of a tile [K, R, C] to zero, in place, that the operator does not keep."""
        if self.operator.sparsify == "drop":
            generators = [
                torch.Generator().manual_seed(derive_seed(self.seed, "dare", name, path)) for name in self.experts.names
            ]
            density = self.spec.density
            assert density is not None
            return lambda deltas: deltas.mul_(random_mask(deltas.shape, density, generators))
        if self.operator.sparsify == "trim":
            thresholds = self.vector_thresholds if self.vector_thresholds is not None else self._thresholds([path])
            return lambda deltas: trim_(deltas, thresholds)
        return lambda deltas: deltas

    def _thresholds(self, paths: Collection[str]) -> torch.Tensor:
        """The magnitude [K] that an entry must reach to be kept, among all entries of an adapter in these modules."""
        density, kept = self.spec.density, self.spec.choices.kept
        assert density is not None
        assert kept is not None
        experts = self.experts
        sizes = {path: experts.shapes[path].num_entries for path in paths}
        num_entries = sum(sizes.values())
        sample = None
        if num_entries >= _MIN_ENTRIES_TO_SAMPLE:
            num_sampled = min(_MAX_SAMPLED, max(_MIN_SAMPLED, num_entries >> 10))
            shares = {path: max(1, num_sampled * size // num_entries) for path, size in sizes.items()}
            sample = torch.cat([experts.sample(path, share) for path, share in shares.items()], dim=1)

        def magnitudes() -> Iterator[torch.Tensor]:
            for path in paths:
                for _, tile in experts.tiles(path):
                    yield tile

        return kth_largest(magnitudes, len(experts), num_entries, num_kept(num_entries, density, kept), sample)


def _l1(values: torch.Tensor) -> float:
    """The sum of the magnitudes; the single-precision sum is pairwise, so it is accurate."""
    return sum(float(vector.abs().sum()) for vector in values)


def _count_signs(values: torch.Tensor) -> tuple[int, int]:
    """How many places of [K, ...] hold a value other than zero, and how many hold both signs."""
    positive = values.amax(dim=0).clamp_(min=0).sign_()
    negative = values.amin(dim=0).clamp_(max=0).sign_()
    both = -torch.dot(positive.flatten(), negative.flatten())
    return int(positive.sum() - negative.sum() - both), int(both)


def _squares(update_OI: torch.Tensor, a_rI: torch.Tensor, b_Or: torch.Tensor) -> tuple[float, float]:
    """The squared Frobenius norms of an update and of what its factors miss, in blocks of rows."""
    squared_norm = squared_error = 0.0
    num_rows = max(1, _RESIDUAL_ENTRIES // update_OI.shape[1])
    for exact, b in zip(update_OI.split(num_rows), b_Or.split(num_rows), strict=True):
        squared_norm += float(exact.square().sum())
        squared_error += float(torch.addmm(exact, b, a_rI, alpha=-1).square_().sum())
    return squared_norm, squared_error
