"""The low-rank part of a group of layers, over the segments of a micro-batch: two kernels behind one interface.

For tokens of adapter k (LoRA, arXiv 2106.09685, eq. 3, for many adapters at once), layer j of the group:

    H  = X A_kᵀ                    [N, G·r]   all layers of the group at once
    Y_j += s_k · H_j B_kjᵀ         [N, O_j]

and with the loss's gradient dY:

    dH_j = dY_j B_kj               dB_kjᵀ += s_k · H_jᵀ dY_j
    dA_k += s_k · dHᵀ X            dX += s_k · dH A_k

Gradients of the factors are added to the bank's rows at once: autograd never sees the factors. Shapes: N tokens, G
layers of the group, r rank, I input width, O output width, S segments of the micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.packing import PackedBatch


class Kernel(Protocol):
    """How the low-rank part is computed."""

    def forward(self, bank: FactorBank, group: int, batch: PackedBatch, x: Tensor, ys: Sequence[Tensor]) -> Tensor:
        """Add the updates to `ys` in place, and return H."""

    def backward(
        self,
        bank: FactorBank,
        group: int,
        batch: PackedBatch,
        saved: tuple[Tensor, Tensor],
        dys: Sequence[Tensor],
        dx: Tensor | None,
    ) -> None:
        """Add to the factors' gradients, and to `dx` in place where it is wanted; `saved` is (X, H)."""


class SegmentKernel:
    """A product a segment: what a CPU does best, whose caches hold a segment's tokens and factors.

    Scales ride on the products, which cost no pass of their own. Activations in a lower precision than the factors'
    (bf16) have the factors cast to theirs; gradients are added up in fp32.
    """

    def forward(self, bank: FactorBank, group: int, batch: PackedBatch, x: Tensor, ys: Sequence[Tensor]) -> Tensor:
        """See `Kernel.forward`."""
        h = x.new_empty(len(x), len(ys) * bank.rank)
        sizes = batch.segment_sizes
        segments = zip(batch.segments, x.split(sizes), h.split(sizes), *(y.split(sizes) for y in ys), strict=True)
        for (slot, _, _), x_k, h_k, *ys_k in segments:
            factors, scale = bank.rows[slot][group], bank.scales[slot]
            torch.mm(x_k, _cast(factors.a, x.dtype).t(), out=h_k)
            for y_k, h_kj, bt in zip(ys_k, h_k.split(bank.rank, dim=1), factors.bts, strict=True):
                y_k.addmm_(h_kj, _cast(bt, x.dtype), alpha=scale)
        return h

    def backward(
        self,
        bank: FactorBank,
        group: int,
        batch: PackedBatch,
        saved: tuple[Tensor, Tensor],
        dys: Sequence[Tensor],
        dx: Tensor | None,
    ) -> None:
        """See `Kernel.backward`."""
        x, h = saved
        r = bank.rank
        dh = torch.empty_like(h)
        parts = [tensor.split(batch.segment_sizes) for tensor in (x, h, dh, *dys)]
        dxs = None if dx is None else dx.split(batch.segment_sizes)
        for position, ((slot, _, _), x_k, h_k, dh_k, *dys_k) in enumerate(zip(batch.segments, *parts, strict=True)):
            factors, gradients, scale = bank.rows[slot][group], bank.gradient_rows[slot][group], bank.scales[slot]
            layers = zip(dys_k, h_k.split(r, dim=1), dh_k.split(r, dim=1), factors.bts, gradients.bts, strict=True)
            for dy_k, h_kj, dh_kj, bt, dbt in layers:
                torch.mm(dy_k, _cast(bt, x.dtype).t(), out=dh_kj)
                _add_product(dbt, h_kj.t(), dy_k, scale)
            _add_product(gradients.a, dh_k.t(), x_k, scale)
            if dxs is not None:
                dxs[position].addmm_(dh_k, _cast(factors.a, x.dtype), alpha=scale)


class GroupedKernel:
    """One grouped matrix product for all adapters of the micro-batch: for GPUs, where a product a segment is too small.

    Factors are cast to the activations' precision (bf16) for the products, Bᵀ with its scale in it; gradients are added
    up in fp32. The products want 16-byte rows in every operand: widths and ranks are multiples of 8 (see `FactorBank`).
    """

    def forward(self, bank: FactorBank, group: int, batch: PackedBatch, x: Tensor, ys: Sequence[Tensor]) -> Tensor:
        """See `Kernel.forward`."""
        a, bts = bank.stacked(group, batch.slots, x.dtype)
        h = _grouped(x, a.transpose(1, 2), batch)
        for y, h_j, bt in zip(ys, h.split(bank.rank, dim=1), bts, strict=True):
            y += _grouped(h_j, bt, batch)
        return h

    def backward(
        self,
        bank: FactorBank,
        group: int,
        batch: PackedBatch,
        saved: tuple[Tensor, Tensor],
        dys: Sequence[Tensor],
        dx: Tensor | None,
    ) -> None:
        """See `Kernel.backward`."""
        x, h = saved
        a, bts = bank.stacked(group, batch.slots, x.dtype)
        dhs, dbts = [], []
        for dy, h_j, bt in zip(dys, h.split(bank.rank, dim=1), bts, strict=True):
            dy = dy.contiguous()  # grouped products refuse broadcast (stride 0) gradients
            dhs.append(_grouped(dy, bt.transpose(1, 2), batch))
            dbts.append(_grouped(h_j.t(), dy, batch))
        dh = torch.cat(dhs, dim=1)
        bank.add_gradients(group, batch.slots, _grouped(dh.t(), x, batch), dbts)
        if dx is not None:
            dx += _grouped(dh, a, batch)


def choose_kernel(device: torch.device, dtype: torch.dtype) -> Kernel:
    """Grouped products on a GPU in half precision, where this torch has them; segments elsewhere."""
    grouped = device.type == "cuda" and dtype == torch.bfloat16 and hasattr(torch.nn.functional, "grouped_mm")
    return GroupedKernel() if grouped else SegmentKernel()


def _cast(factor: Tensor, dtype: torch.dtype) -> Tensor:
    return factor if factor.dtype == dtype else factor.to(dtype)


def _add_product(total: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """total += scale · left @ right; `total` may be of a higher precision."""
    if total.dtype == right.dtype:
        total.addmm_(left, right, alpha=scale)
    else:
        total.add_(left @ right, alpha=scale)


def _grouped(left: Tensor, right: Tensor, batch: PackedBatch) -> Tensor:
    """Products segment by segment: [N, a] @ [S, a, b] → [N, b], or [a, N] @ [N, b] → [S, a, b]."""
    return torch.nn.functional.grouped_mm(left, right, offs=batch.segment_ends)
