"""Linear layers with a bank of adapters: y = x Wᵀ + b + s_k · x A_kᵀ B_kᵀ, k being every token's adapter.

The first layer of a group computes all of them when it is called and hands the others their outputs. Shapes as in
`kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hexapla.quantization import dequantized_weight, is_quantized
from hexapla.train.bank.dropout import drop
from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.kernels import Kernel
from hexapla.train.bank.packing import PackedBatch


@dataclass
class BankContext:
    """What all banked layers share: the factors, the kernel, and the micro-batch under way.

    Attributes:
        anchor: an empty tensor that requires a gradient, so that autograd enters layers whose input needs none.
        dropouts: share of inputs dropped, by slot.
    """

    bank: FactorBank
    kernel: Kernel
    anchor: Tensor
    dropouts: tuple[float, ...]
    batch: PackedBatch | None = None


@dataclass
class GroupState:
    """The layers of a group, and the outputs that wait for the later ones."""

    index: int
    layers: list[torch.nn.Module]
    context: BankContext
    waiting: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


class BankedLinear(torch.nn.Module):
    """Takes the place of a frozen linear layer of the base.

    Args:
        position: of this layer in its group.
    """

    def __init__(self, layer: torch.nn.Module, group: GroupState, position: int) -> None:
        super().__init__()
        self.base_layer = layer
        self._group, self._position = group, position

    def forward(self, x: Tensor) -> Tensor:
        """x [1, N, I] → [1, N, O]."""
        if self._position == 0:
            outputs = _GroupFunction.apply(x[0], self._group.context.anchor, self._group)
            self._group.waiting = {j: (x, outputs[j]) for j in range(1, len(outputs))}
            return outputs[0][None]
        read, output = self._group.waiting.pop(self._position)
        assert read is x, "layers of a group must read one tensor"
        return output[None]


class _GroupFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, _anchor: Tensor, group: GroupState) -> tuple[Tensor, ...]:
        context = group.context
        batch = context.batch
        assert batch is not None
        ys = [_frozen(layer, x) for layer in group.layers]
        dropped = drop(x, batch, group.index, context.dropouts)
        h = context.kernel.forward(context.bank, group.index, batch, dropped, ys)
        ctx.save_for_backward(x, h)
        ctx.group, ctx.batch = group, batch
        return tuple(ys)

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, None, None]:
        x, h = ctx.saved_tensors
        group: GroupState = ctx.group
        context = group.context
        wants_dx = ctx.needs_input_grad[0]
        dx = None
        if wants_dx:
            for layer, dy in zip(group.layers, dys, strict=True):
                weight = _weight(layer, dy.dtype)
                dx = dy @ weight if dx is None else dx.addmm_(dy, weight)
        dropped = drop(x, ctx.batch, group.index, context.dropouts)
        if dropped is x or dx is None:
            context.kernel.backward(context.bank, group.index, ctx.batch, (dropped, h), dys, dx)
        else:
            through = torch.zeros_like(dx)
            context.kernel.backward(context.bank, group.index, ctx.batch, (dropped, h), dys, through)
            dx += drop(through, ctx.batch, group.index, context.dropouts, out=through)
        return dx, None, None


def _frozen(layer: torch.nn.Module, x: Tensor) -> Tensor:
    weight = _weight(layer, x.dtype)
    bias: Tensor | None = layer.bias  # type: ignore[assignment]
    return F.linear(x, weight, bias if bias is None else bias.to(x.dtype))


def _weight(layer: torch.nn.Module, dtype: torch.dtype) -> Tensor:
    if is_quantized(layer):
        return dequantized_weight(layer, dtype)
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight if weight.dtype == dtype else weight.to(dtype)
