"""How the updates of adapters lie to each other: cosine, subspace overlap, sign conflict; module by module.

Adapter k adds ΔW_k = s_k B_k A_k to a layer's weight. With its thin singular value decomposition ΔW_k = U_k S_k V_kᵀ

* the cosine of two updates is ⟨ΔW_i, ΔW_j⟩ / (‖ΔW_i‖ ‖ΔW_j‖), with ⟨ΔW_i, ΔW_j⟩ = tr(S_i U_iᵀU_j S_j V_jᵀV_i);
* the overlap of their output sides (column spaces) is ‖U_iᵀU_j‖² / min(q_i, q_j), the mean squared cosine of the
  principal angles; that of their input sides (row spaces) the same with V. Random subspaces have max(q_i, q_j) / width;
* their sign disagreement is the share of the entries in which both differ from zero that have opposite signs: half of
  them for unrelated updates.

The first two come from the factors alone, in float64. Signs need the entries: every one of a small module, a fixed
random sample of a large one. One module of all adapters is in memory at a time.

Shapes: K adapters, O output width, I input width, r rank, q ≤ r numerical rank, Q sum of all q, n entries in a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hexapla.merge.experts import Experts, Shape
from hexapla.merge.lowrank import truncate_product

Array = np.ndarray[Any, Any]

# Singular values up to this share of the largest count as zero: rounding of factors that were kept in float32.
_RANK_TOLERANCE = 1e-6
# Up to so many entries a module's signs are counted in full; of larger ones so many are drawn. A share among 2^16 is
# known to about ±0.2 points in one module, and far better over all modules.
_MAX_COUNTED = 1 << 20
_NUM_SAMPLED = 1 << 16
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class SetSigns:
    """How a set of three or more adapters, or two, agree on signs in a module.

    Attributes:
        num_voted: entries in which at least one update differs from zero (estimated where the module was sampled).
        num_conflicts: of these, entries with both signs; the merge reports count the same, of trimmed updates.
        sum_l1: Σ |Σ_k ΔW_k| over the entries; `total_l1` is Σ Σ_k |ΔW_k|.
    """

    num_voted: float
    num_conflicts: float
    sum_l1: float
    total_l1: float


@dataclass(frozen=True)
class ModuleGeometry:
    """The figures of one module; matrices are [K, K].

    Attributes:
        inner: ⟨ΔW_i, ΔW_j⟩.
        overlap_output: NaN where an update is zero; `overlap_input` likewise.
        chance_output: what random subspaces of the same ranks would have; `chance_input` likewise.
        num_both: entries in which both updates differ from zero (estimated where the module was sampled).
        num_opposite: of these, entries of opposite signs.
        sets: name of a set of adapters → its signs.
        sampled: whether the signs were counted in a sample.
    """

    path: str
    shape: Shape
    inner: Array
    overlap_output: Array
    overlap_input: Array
    chance_output: Array
    chance_input: Array
    num_both: Array
    num_opposite: Array
    sets: Mapping[str, SetSigns]
    sampled: bool

    @property
    def layer(self) -> int | None:
        """The layer's number, the first in the module's path; None for a module outside the layers."""
        match = _LAYER.search(self.path)
        return None if match is None else int(match[1])

    @property
    def kind(self) -> str:
        """The last part of the path, such as `q_proj`."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Geometry:
    """The figures of all modules, and their totals over any of them.

    Attributes:
        names: of the adapters, in the order of every matrix.
    """

    names: tuple[str, ...]
    modules: tuple[ModuleGeometry, ...]

    def where(self, *, layer: int | None = None, kind: str | None = None) -> Geometry:
        """The modules of a layer or of a kind."""
        chosen = (m for m in self.modules if (layer is None or m.layer == layer) and kind in (None, m.kind))
        return Geometry(self.names, tuple(chosen))

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers."""
        return tuple(sorted({module.layer for module in self.modules if module.layer is not None}))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of modules, in the order in which they come."""
        return tuple(dict.fromkeys(module.kind for module in self.modules))

    @property
    def norms(self) -> Array:
        """‖ΔW_k‖ (Frobenius) of all modules as one vector, [K]."""
        return np.sqrt(np.diag(self._sum("inner")).clip(min=0))

    @property
    def cosine(self) -> Array:
        """Cosines of the updates, all modules as one vector, [K, K]; NaN where an update is zero."""
        norms = self.norms
        return _ratio(self._sum("inner"), np.outer(norms, norms)).clip(-1, 1)

    @property
    def disagreement(self) -> Array:
        """Share of entries with opposite signs among those where both updates are not zero, [K, K]."""
        return _ratio(self._sum("num_opposite"), self._sum("num_both"))

    def mean(self, figure: str) -> Array:
        """Mean over the modules of `overlap_output`, `overlap_input`, `chance_output` or `chance_input`, [K, K].

        Modules in which an update of a pair is zero are left out of that pair's mean; NaN where none is left.
        """
        values = np.stack([getattr(module, figure) for module in self.modules])
        return _ratio(np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0))

    def signs(self, name: str) -> SetSigns:
        """The signs of a set, summed over the modules."""
        found = [module.sets[name] for module in self.modules]
        return SetSigns(
            sum(signs.num_voted for signs in found),
            sum(signs.num_conflicts for signs in found),
            sum(signs.sum_l1 for signs in found),
            sum(signs.total_l1 for signs in found),
        )

    @property
    def sampled(self) -> bool:
        """Whether the signs of some module were counted in a sample."""
        return any(module.sampled for module in self.modules)

    def _sum(self, figure: str) -> Array:
        return np.sum([getattr(module, figure) for module in self.modules], axis=0)


def measure(
    experts: Experts,
    sets: Mapping[str, Sequence[str]] | None = None,
    *,
    on_module: Callable[[str], None] = lambda path: None,
) -> Geometry:
    """The geometry of adapters that fit together.

    Args:
        sets: name → adapters on whose signs to report together, besides every pair.
    """
    positions = {
        name: torch.tensor([experts.names.index(member) for member in members])
        for name, members in (sets or {}).items()
    }
    modules = []
    for path in experts.shapes:
        modules.append(_module(experts, path, positions))
        on_module(path)
    return Geometry(experts.names, tuple(modules))


def _module(experts: Experts, path: str, positions: Mapping[str, torch.Tensor]) -> ModuleGeometry:
    shape = experts.shapes[path]
    bases = [_singular(a, b, experts.scale(k, path)) for k, (a, b) in enumerate(experts.factors(path))]
    ranks_K = np.array([len(s) for _, s, _ in bases])
    gram_output = _gram([u for u, _, _ in bases])
    gram_input = _gram([v for _, _, v in bases])
    s_Q = torch.cat([s for _, s, _ in bases])
    inner = _block_sums(s_Q[:, None] * gram_output * gram_input * s_Q, ranks_K)
    smaller, larger = np.minimum.outer(ranks_K, ranks_K), np.maximum.outer(ranks_K, ranks_K)
    larger = np.where(smaller > 0, larger, np.nan)
    signs = _Signs(len(experts), positions)
    sampled = shape.num_entries > _MAX_COUNTED
    for block in _blocks(experts, path, sampled):
        signs.count(block)
    share = _NUM_SAMPLED / shape.num_entries if sampled else 1.0
    return ModuleGeometry(
        path=path,
        shape=shape,
        inner=inner,
        overlap_output=_ratio(_block_sums(gram_output.square_(), ranks_K), smaller),
        overlap_input=_ratio(_block_sums(gram_input.square_(), ranks_K), smaller),
        chance_output=larger / shape.d_out,
        chance_input=larger / shape.d_in,
        num_both=signs.both_KK.numpy() / share,
        num_opposite=(signs.both_KK - signs.balance_KK).numpy() / (2 * share),
        sets={name: SetSigns(*(figure / share for figure in figures)) for name, figures in signs.sets.items()},
        sampled=sampled,
    )


def _singular(a_rI: torch.Tensor, b_Or: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The thin singular value decomposition of `scale · B A`: (U [O, q], S [q], V [I, q]) in float64."""
    a, b = truncate_product(b_Or.double() * scale, a_rI.double(), a_rI.shape[0])
    s = b.square().sum(dim=0)  # truncate_product gives U √S and √S Vᵀ
    kept = s > _RANK_TOLERANCE * s.max()
    root_q = s[kept].sqrt()
    return b[:, kept] / root_q, s[kept], a[kept].T / root_q


def _gram(bases: Sequence[torch.Tensor]) -> torch.Tensor:
    """Products of all columns of all bases, [Q, Q]."""
    columns = torch.cat(list(bases), dim=1)
    return columns.T @ columns


def _block_sums(values_QQ: torch.Tensor, ranks_K: Array) -> Array:
    """Sums over the blocks that belong to each pair of adapters, [K, K]."""
    owners = torch.repeat_interleave(torch.arange(len(ranks_K)), torch.from_numpy(ranks_K))
    rows_KQ = values_QQ.new_zeros(len(ranks_K), values_QQ.shape[1]).index_add_(0, owners, values_QQ)
    return values_QQ.new_zeros(len(ranks_K), len(ranks_K)).index_add_(1, owners, rows_KQ).numpy()


def _blocks(experts: Experts, path: str, sampled: bool) -> Iterator[torch.Tensor]:
    """Entries of the updates of a module, [K, n] a block: all of them, or one sample."""
    if sampled:
        yield experts.sample(path, _NUM_SAMPLED)
        return
    for _, tile in experts.tiles(path):
        yield tile.flatten(1)


class _Signs:
    """Counts of signs in a module, block by block.

    `both_KK` counts the entries where both updates of a pair differ from zero, `balance_KK` those that agree in sign
    less those that do not. `sets` holds the four figures of `SetSigns`.
    """

    def __init__(self, num_adapters: int, positions: Mapping[str, torch.Tensor]) -> None:
        self.both_KK = torch.zeros(num_adapters, num_adapters, dtype=torch.float64)
        self.balance_KK = torch.zeros_like(self.both_KK)
        self.sets = {name: [0.0, 0.0, 0.0, 0.0] for name in positions}
        self._positions = positions

    def count(self, block_Kn: torch.Tensor) -> None:
        """Add a block; products of up to 2^24 signs are exact in float32."""
        signs_Kn = block_Kn.sign()
        self.balance_KK += signs_Kn @ signs_Kn.T
        nonzero_Kn = signs_Kn.abs()
        self.both_KK += nonzero_Kn @ nonzero_Kn.T
        for name, members in self._positions.items():
            signs, values = signs_Kn[members], block_Kn[members]
            positive, negative = signs.amax(dim=0) > 0, signs.amin(dim=0) < 0
            figures = (
                (positive | negative).sum(),
                (positive & negative).sum(),
                values.sum(dim=0).abs().sum(),
                values.abs().sum(),
            )
            self.sets[name] = [total + float(figure) for total, figure in zip(self.sets[name], figures, strict=True)]


def _ratio(values: Array, divisors: Array) -> Array:
    """values / divisors, NaN where the divisor is 0."""
    return np.divide(values, divisors, out=np.full(np.shape(values), np.nan), where=np.asarray(divisors) > 0)
