"""The stacked factors of a bank: one flat row an adapter, so that a step, a norm and a checkpoint are one vector each.

Layers that read the same input (q, k and v; gate and up) form a group: their A factors lie together, so that one
product serves all of them. Where languages are matched (see `objectives`), an adapter's head for that lies at the end
of its row: it is trained and kept as the factors are, but is no part of the adapter. Shapes: K adapters, S of them or
of their segments, G layers of a group, r the rank that all rows have room for, I input width, O output width of a
layer, P entries of a row. A is kept as [G·r, I] a group, B transposed as [r, O] a layer: products with both then run
along rows.

An adapter of a lower rank has zeros in the rows that it lacks. Their gradients are exactly zero (each factor's gradient
is a product with the other one's missing rows), so they stay zero under AdamW and change no norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.common.errors import UserError
from hexapla.train.align.losses import MatchingHead
from hexapla.train.lora import initial_a

_GPU_MULTIPLE = 8  # of every width: grouped products want rows of whole 16 bytes, 8 entries of bf16


@dataclass(frozen=True)
class LayerGroup:
    """Layers that read the same input: module paths, input width, output widths."""

    paths: tuple[str, ...]
    d_in: int
    d_outs: tuple[int, ...]


@dataclass(frozen=True)
class RowFactors:
    """One adapter's factors of one group as views of its row: A [G·r, I], and of every layer Bᵀ [r, O]."""

    a: Tensor
    bts: tuple[Tensor, ...]


@dataclass(frozen=True)
class HeadShape:
    """A matching head over states of a width."""

    width: int
    inner: int

    @property
    def num_entries(self) -> int:
        """Parameters."""
        return MatchingHead.num_entries(self.width, self.inner)


class FactorBank:
    """Values and gradients of K adapters over the same layers.

    Args:
        ranks: of every adapter.
        scales: of every adapter, alpha/rank: what its update is multiplied with.
        head: of every adapter's matching head; None: there are none.

    Attributes:
        rank: rows that every adapter has room for: see `stored_rank`.
        values, gradients: [K, P] in fp32.
        rows, gradient_rows: by slot and group, views of them.
        heads, gradient_heads: [K, entries of a matching head], views of them; no entries where there is none.

    Raises:
        UserError: the device is a GPU, and a layer's width is none that its grouped products can take.
    """

    def __init__(
        self,
        groups: Sequence[LayerGroup],
        ranks: Sequence[int],
        scales: Sequence[float],
        device: torch.device,
        head: HeadShape | None = None,
    ) -> None:
        self._head = head
        self.groups, self.ranks, self.scales = tuple(groups), tuple(ranks), tuple(scales)
        self.rank = stored_rank(ranks, device)
        if device.type != "cpu":
            _check_widths(groups)
        self._offsets = [0]
        for group in groups:
            self._offsets.append(self._offsets[-1] + row_entries([group], self.rank))
        num_factor_entries = self._offsets[-1]
        self.num_row_entries = num_factor_entries + (0 if head is None else head.num_entries)
        self.values = torch.zeros(len(ranks), self.num_row_entries, device=device)
        self.gradients = torch.zeros_like(self.values)
        self.rows = [self._views(self.values[slot]) for slot in range(len(ranks))]
        self.gradient_rows = [self._views(self.gradients[slot]) for slot in range(len(ranks))]
        self.heads, self.gradient_heads = (rows[:, num_factor_entries:] for rows in (self.values, self.gradients))
        self.scale = torch.tensor(self.scales, device=device)

    def stacked(self, group: int, slots: Tensor, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        """Copies of the factors of some adapters: A [S, G·r, I], and of every layer Bᵀ [S, r, O], scale included."""
        a, *bts = [part.index_select(0, slots) for part in self._parts(self.values, group)]
        scales = self.scale.index_select(0, slots)[:, None, None]
        return a.to(dtype), [bt.mul_(scales).to(dtype) for bt in bts]

    def add_gradients(self, group: int, slots: Tensor, da: Tensor, dbts: Sequence[Tensor]) -> None:
        """Add gradients of some adapters' factors; a slot may occur more than once.

        Args:
            da: [S, G·r, I].
            dbts: of every layer [S, r, O], for the Bᵀ of `stacked`: the scale is still to be multiplied in.
        """
        scales = self.scale.index_select(0, slots)[:, None, None]
        scaled = [dbt * scales for dbt in dbts]
        for part, gradient in zip(self._parts(self.gradients, group), (da, *scaled), strict=True):
            part.index_add_(0, slots, gradient.to(part.dtype))

    def initialise(self, slot: int, seed: int, adapter: str) -> None:
        """Start a new adapter in a row: A and the head as the reference trainer draws them, B zero."""
        rank = self.ranks[slot]
        self.values[slot].zero_()
        for group, views in zip(self.groups, self.rows[slot], strict=True):
            for position, path in enumerate(group.paths):
                start = position * self.rank
                views.a[start : start + rank].copy_(initial_a((rank, group.d_in), seed, adapter, path))
        if self._head is not None:
            self.heads[slot].copy_(MatchingHead.initial(self._head.width, self._head.inner, seed, adapter))

    def to_adapter(self, slot: int, settings: LoraSettings) -> LoraAdapter:
        """A copy of an adapter's factors on the CPU, at its own rank."""
        rank = self.ranks[slot]
        factors = {}
        for group, views in zip(self.groups, self.rows[slot], strict=True):
            for position, path in enumerate(group.paths):
                a = views.a[position * self.rank :][:rank]
                factors[path] = (a.cpu().clone(), views.bts[position][:rank].t().cpu().contiguous().clone())
        return LoraAdapter(settings, factors)

    def _views(self, row: Tensor) -> list[RowFactors]:
        views = []
        for group in range(len(self.groups)):
            a, *bts = [part[0] for part in self._parts(row[None], group)]
            views.append(RowFactors(a, tuple(bts)))
        return views

    def _parts(self, rows: Tensor, group: int) -> list[Tensor]:
        """Views of rows [K, P]: one group's A [K, G·r, I], and of every layer Bᵀ [K, r, O]."""
        layers = self.groups[group]
        shapes = [(len(layers.paths) * self.rank, layers.d_in), *((self.rank, d_out) for d_out in layers.d_outs)]
        ends = [self._offsets[group]]
        for height, width in shapes:
            ends.append(ends[-1] + height * width)
        spans = zip(pairwise(ends), shapes, strict=True)
        return [rows[:, start:end].view(-1, *shape) for (start, end), shape in spans]


def stored_rank(ranks: Sequence[int], device: torch.device) -> int:
    """The largest rank; on a GPU rounded up to what its grouped products take."""
    multiple = 1 if device.type == "cpu" else _GPU_MULTIPLE
    return -(-max(ranks) // multiple) * multiple


def row_entries(groups: Sequence[LayerGroup], rank: int) -> int:
    """Entries P of one adapter's row: Σ r·(I + O) over the layers."""
    return sum(rank * (len(group.paths) * group.d_in + sum(group.d_outs)) for group in groups)


def _check_widths(groups: Sequence[LayerGroup]) -> None:
    for group in groups:
        for path, d_out in zip(group.paths, group.d_outs, strict=True):
            if group.d_in % _GPU_MULTIPLE or d_out % _GPU_MULTIPLE:
                raise UserError(
                    f"{path} is {group.d_in} wide inside and {d_out} outside; on a GPU the adapter bank takes "
                    f"multiples of {_GPU_MULTIPLE} only.",
                    where="base",
                )
