"""Both kernels against plain LoRA (arXiv 2106.09685, eq. 3) a token, differentiated by autograd in fp64."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from hexapla.train.bank.factors import FactorBank, LayerGroup
from hexapla.train.bank.kernels import GroupedKernel, Kernel, SegmentKernel, choose_kernel
from hexapla.train.bank.packing import PackedBatch
from tests.train.bank.packs import CPU, packed, piece

GROUPS = (
    LayerGroup(("o",), 24, (40,)),
    LayerGroup(("gate", "up"), 24, (56, 56)),
    LayerGroup(("q", "k", "v"), 24, (40, 16, 16)),
)
RANKS, SCALES = (8, 3, 5, 8), (2.0, 0.75, 1 / 3, 1.0)
KERNELS = (SegmentKernel(), GroupedKernel())


@dataclass
class Results:
    """Everything that a kernel makes."""

    h: Tensor
    ys: list[Tensor]
    dx: Tensor
    gradients: Tensor


def _bank() -> FactorBank:
    """Random factors, padded with zeros to rank 8; gradients that are there already, but not where padding is."""
    bank = FactorBank(GROUPS, RANKS, SCALES, CPU)
    generator = torch.Generator().manual_seed(0)
    for rows, gradient_rows, rank in zip(bank.rows, bank.gradient_rows, RANKS, strict=True):
        for views in (*rows, *gradient_rows):
            for part in (views.a.view(len(views.bts), bank.rank, -1), *(bt[None] for bt in views.bts)):
                part[:, :rank] = torch.randn(part[:, :rank].shape, generator=generator) * 0.3
    return bank


def _batch() -> PackedBatch:
    """Segments of 14, 1, 4, 1 and 3 tokens; adapter 1 has two of them, adapter 3 none."""
    return packed(piece(1, 5, 9), piece(0, 1), piece(1, 4, seed=1), piece(2, 1, seed=2), piece(0, 1, 2, seed=3))


def _tensors(group: int, dtype: torch.dtype) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """x, ys, dys and dx for the batch."""
    generator = torch.Generator().manual_seed(1 + group)
    num_tokens, layers = _batch().num_tokens, GROUPS[group]

    def make(width: int) -> Tensor:
        return torch.randn(num_tokens, width, generator=generator).to(dtype)

    ys, dys = [make(width) for width in layers.d_outs], [make(width) for width in layers.d_outs]
    return make(layers.d_in), ys, dys, make(layers.d_in)


def _slots_of_tokens(batch: PackedBatch) -> Tensor:
    return torch.cat([torch.full((end - start,), slot) for slot, start, end in batch.segments])


def _run(kernel: Kernel, group: int, dtype: torch.dtype) -> Results:
    bank, batch = _bank(), _batch()
    x, ys, dys, dx = _tensors(group, dtype)
    h = kernel.forward(bank, group, batch, x, ys)
    kernel.backward(bank, group, batch, (x, h), dys, dx)
    return Results(h, ys, dx, bank.gradients)


def _closed_form(group: int, dtype: torch.dtype) -> Results:
    bank, batch = _bank(), _batch()
    x, ys, dys, dx = _tensors(group, dtype)
    leaf = x.double().requires_grad_()
    ys, dys = [y.double() for y in ys], [dy.double() for dy in dys]
    rows = [row[group] for row in bank.rows]
    factors = [[each.detach().double().requires_grad_() for each in (row.a, *row.bts)] for row in rows]
    slot_of = _slots_of_tokens(batch).tolist()
    hs, loss = [], torch.zeros((), dtype=torch.float64)
    for token, slot in enumerate(slot_of):
        a, *bts = factors[slot]
        h = a @ leaf[token]
        hs.append(h)
        for y, dy, h_j, bt in zip(ys, dys, h.split(bank.rank), bts, strict=True):
            update = SCALES[slot] * (h_j @ bt)
            y[token] += update.detach()
            loss = loss + update @ dy[token]
    loss.backward()
    assert leaf.grad is not None
    gradients = bank.gradients.double()
    for slot, parts in enumerate(factors):
        total = FactorBank(GROUPS, RANKS, SCALES, CPU)
        views = total.gradient_rows[slot][group]
        for view, part in zip((views.a, *views.bts), parts, strict=True):
            if part.grad is not None:
                view.copy_(part.grad)
        gradients[slot] += total.gradients[slot]
    return Results(torch.stack(hs).detach(), ys, dx + leaf.grad, gradients)


def _assert_close(found: Results, expected: Results, tolerance: float) -> None:
    pairs = [(found.h, expected.h), *zip(found.ys, expected.ys, strict=True), (found.dx, expected.dx)]
    for left, right in [*pairs, (found.gradients, expected.gradients)]:
        distance = float((left.double() - right.double()).norm() / right.double().norm())
        assert distance < tolerance


@pytest.mark.parametrize("group", range(len(GROUPS)))
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_a_kernel_is_plain_lora(kernel: Kernel, group: int, dtype: torch.dtype, tolerance: float) -> None:
    results = _run(kernel, group, dtype)
    assert results.h.dtype == results.dx.dtype == dtype
    _assert_close(results, _closed_form(group, dtype), tolerance)


@pytest.mark.parametrize("group", range(len(GROUPS)))
def test_the_kernels_agree(group: int) -> None:
    _assert_close(_run(SegmentKernel(), group, torch.float32), _run(GroupedKernel(), group, torch.float32), 1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_padding_and_absent_adapters_get_no_gradient(kernel: Kernel) -> None:
    bank, batch = _bank(), _batch()
    bank.gradients.zero_()
    for group in range(len(GROUPS)):
        x, ys, dys, _ = _tensors(group, torch.float32)
        h = kernel.forward(bank, group, batch, x, ys)
        kernel.backward(bank, group, batch, (x, h), dys, None)
    for slot, rank in enumerate(RANKS[:3]):
        for views in bank.gradient_rows[slot]:
            for part in (views.a.view(len(views.bts), bank.rank, -1), *(bt[None] for bt in views.bts)):
                assert part[:, :rank].all()
                assert not part[:, rank:].any()
    assert not bank.gradients[3].any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_that_are_broadcast_are_taken(kernel: Kernel) -> None:
    bank, batch = _bank(), _batch()
    x, ys, dys, dx = _tensors(0, torch.float32)
    h = kernel.forward(bank, 0, batch, x, ys)
    kernel.backward(bank, 0, batch, (x, h), [dys[0].new_ones(1, 1).expand_as(dys[0])], dx)
    plain_bank, plain_dx = _bank(), _tensors(0, torch.float32)[3]
    kernel.backward(plain_bank, 0, batch, (x, h), [torch.ones_like(dys[0])], plain_dx)
    torch.testing.assert_close(dx, plain_dx)
    torch.testing.assert_close(bank.gradients, plain_bank.gradients)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_adapter_that_is_not_finite_spoils_no_other(kernel: Kernel) -> None:
    healthy = _run(kernel, 2, torch.float32)
    bank, batch = _bank(), _batch()
    bank.values[1] = float("nan")
    x, ys, dys, dx = _tensors(2, torch.float32)
    h = kernel.forward(bank, 2, batch, x, ys)
    kernel.backward(bank, 2, batch, (x, h), dys, dx)
    others = _slots_of_tokens(batch) != 1
    assert torch.equal(dx[others], healthy.dx[others])
    assert torch.equal(ys[2][others], healthy.ys[2][others])
    assert torch.equal(bank.gradients[[0, 2, 3]], healthy.gradients[[0, 2, 3]])


def test_every_operand_of_a_grouped_product_is_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA demands of grouped_mm in bf16: rows of either order, and strides and starts of whole 16 bytes."""
    real, num_products = torch.nn.functional.grouped_mm, 0

    def check(left: Tensor, right: Tensor, *, offs: Tensor) -> Tensor:
        nonlocal num_products
        num_products += 1
        for operand in (left, right):
            *outer, last = operand.stride()
            assert 1 in (outer[-1], last)
            assert all(stride * operand.element_size() % 16 == 0 for stride in operand.stride() if stride != 1)
            assert operand.storage_offset() * operand.element_size() % 16 == 0
        assert offs.dtype == torch.int32
        assert int(offs[-1]) == _batch().num_tokens
        return real(left, right, offs=offs)

    monkeypatch.setattr(torch.nn.functional, "grouped_mm", check)
    for group in range(len(GROUPS)):
        _run(GroupedKernel(), group, torch.bfloat16)
    assert num_products == sum(3 + 3 * len(group.paths) for group in GROUPS)


def test_a_device_gets_its_kernel() -> None:
    assert isinstance(choose_kernel(CPU, torch.bfloat16), SegmentKernel)
    assert isinstance(choose_kernel(torch.device("cuda"), torch.float32), SegmentKernel)
    assert isinstance(choose_kernel(torch.device("cuda"), torch.bfloat16), GroupedKernel)
