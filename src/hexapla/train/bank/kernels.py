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
        r = bank.rank
        h = x.new_empty(len(x), len(ys) * r)
        for slot, start, end in batch.segments:
            factors, scale = bank.rows[slot][group], bank.scales[slot]
            part = torch.mm(x[start:end], factors.a.to(x.dtype).t(), out=h[start:end])
            for j, (y, bt) in enumerate(zip(ys, factors.bts, strict=True)):
                y[start:end].addmm_(part[:, j * r : (j + 1) * r], bt.to(x.dtype), alpha=scale)
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
        for slot, start, end in batch.segments:
            factors, gradients, scale = bank.rows[slot][group], bank.gradient_rows[slot][group], bank.scales[slot]
            dh = x.new_empty(end - start, h.shape[1])
            for j, (dy, bt, dbt) in enumerate(zip(dys, factors.bts, gradients.bts, strict=True)):
                columns = slice(j * r, (j + 1) * r)
                torch.mm(dy[start:end], bt.to(x.dtype).t(), out=dh[:, columns])
                _add_product(dbt, h[start:end, columns].t(), dy[start:end], scale)
            _add_product(gradients.a, dh.t(), x[start:end], scale)
            if dx is not None:
                dx[start:end].addmm_(dh, factors.a.to(x.dtype), alpha=scale)


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


def _add_product(total: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """total += scale · left @ right; `total` may be of a higher precision."""
    if total.dtype == right.dtype:
        total.addmm_(left, right, alpha=scale)
    else:
        total.add_(left @ right, alpha=scale)


def _grouped(left: Tensor, right: Tensor, batch: PackedBatch) -> Tensor:
    """Products segment by segment: [N, a] @ [S, a, b] → [N, b], or [a, N] @ [N, b] → [S, a, b]."""
    return torch.nn.functional.grouped_mm(left, right, offs=batch.segment_ends)
