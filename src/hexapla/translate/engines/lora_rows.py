"""Several LoRA adapters on one base at once, each row of a batch with its own.

The adapters of a pool are stacked per linear layer, ranks padded with zeros and scales folded into B, and added by
forward hooks. Rows are gathered into blocks of one adapter each, so that a step is two batched products a layer however
many adapters share the batch (the idea of Punica, arXiv 2310.18547, without its kernels).

Shapes: N rows, T positions, I and O widths of a linear layer, R largest rank, K adapters, C blocks, M rows a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hexapla.adapter import LoraAdapter
from hexapla.common.errors import UserError


@dataclass(frozen=True)
class AdapterStack:
    """Adapters by index, and per module path the factors A [K+1, I, R] and scale·B [K+1, R, O].

    The last index is the base itself: all zeros.
    """

    index: Mapping[str | None, int]
    factors: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def base_index(self) -> int:
        """The index of rows without an adapter."""
        return self.index[None]


def stack_adapters(model: nn.Module, adapters: Mapping[str, LoraAdapter]) -> AdapterStack:
    """Stack adapters in the precision and on the device of the layers that they belong to.

    Raises:
        UserError: an adapter is for a layer that the model lacks, is no linear layer, or has another shape.
    """
    index: dict[str | None, int] = {name: position for position, name in enumerate(sorted(adapters))}
    index[None] = len(adapters)
    paths = sorted({path for adapter in adapters.values() for path in adapter.factors})
    modules = {path: _linear(model, path) for path in paths}
    factors = {}
    for path, module in modules.items():
        rank = max(adapter.factors[path][0].shape[0] for adapter in adapters.values() if path in adapter.factors)
        weight = module.weight
        a_KIR = weight.new_zeros(len(index), module.in_features, rank)
        b_KRO = weight.new_zeros(len(index), rank, module.out_features)
        for name, adapter in adapters.items():
            if path not in adapter.factors:
                continue
            a_RI, b_OR = adapter.factors[path]
            if (b_OR.shape[0], a_RI.shape[1]) != tuple(weight.shape):
                raise UserError(
                    f"The adapter {name!r} does not fit the base: {path} is {tuple(weight.shape)}, "
                    f"the adapter's update {(b_OR.shape[0], a_RI.shape[1])}."
                )
            a_KIR[index[name], :, : a_RI.shape[0]] = a_RI.T.to(a_KIR)
            scaled = adapter.settings.scale(path) * b_OR.T.float()
            b_KRO[index[name], : b_OR.shape[1]] = scaled.to(b_KRO)
        factors[path] = (a_KIR, b_KRO)
    return AdapterStack(index, factors)


@dataclass
class _Routing:
    """How the rows of the present batch reach their adapters.

    Attributes:
        stack: the adapters.
        block_adapters: adapter of each block [C].
        slots: row of each place in the blocks [C·M]; places left over hold row 0, whose result is not read.
        places: place of each row [N].
        gathered: factors of the blocks, taken from the stack at a module's first use.
    """

    stack: AdapterStack
    block_adapters: Tensor
    slots: Tensor
    places: Tensor
    gathered: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def factors(self, path: str) -> tuple[Tensor, Tensor]:
        """A [C, I, R] and scale·B [C, R, O] of the blocks at a module."""
        if path not in self.gathered:
            a_KIR, b_KRO = self.stack.factors[path]
            if len(self.block_adapters) == 1:
                only = int(self.block_adapters[0])
                self.gathered[path] = (a_KIR[only : only + 1], b_KRO[only : only + 1])
            else:
                self.gathered[path] = (a_KIR[self.block_adapters], b_KRO[self.block_adapters])
        return self.gathered[path]


class RowAdapters:
    """The hooks that add each row's own adapter to a model's linear layers."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooked: set[str] = set()
        self._routing: _Routing | None = None

    def use(self, stack: AdapterStack, rows: Sequence[int]) -> None:
        """Give every row of the coming forward passes its adapter: `rows` holds N indices of the stack."""
        for path in stack.factors.keys() - self._hooked:
            _linear(self._model, path).register_forward_hook(partial(self._add, path))
            self._hooked.add(path)
        device = next(self._model.parameters()).device
        self._routing = None if set(rows) <= {stack.base_index} else _route(stack, rows, device)

    def clear(self) -> None:
        """Run the bare base again."""
        self._routing = None

    def _add(self, path: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        routing = self._routing
        if routing is None or path not in routing.stack.factors:
            return None
        x_NTI = inputs[0]
        a_CIR, b_CRO = routing.factors(path)
        num_blocks = len(a_CIR)
        if num_blocks == 1:
            return output.add_(x_NTI @ a_CIR[0] @ b_CRO[0])
        if x_NTI.dim() != 3 or len(x_NTI) != len(routing.places):
            raise UserError(f"The layer {path} does not see a batch row by row; its adapter cannot be used.", where="base")
        length = x_NTI.shape[1]
        x_CMI = x_NTI.index_select(0, routing.slots).view(num_blocks, -1, x_NTI.shape[2])
        delta_CMO = torch.bmm(torch.bmm(x_CMI, a_CIR), b_CRO)
        delta = delta_CMO.view(len(routing.slots), length, -1).index_select(0, routing.places)
        return output.add_(delta)


def _route(stack: AdapterStack, rows: Sequence[int], device: torch.device) -> _Routing:
    """Cut the rows into blocks of one adapter and equal size.

    With blocks of half the mean number of rows an adapter, there are at most 3 K of them and they hold at most 1.5 N + K
    rows, however unevenly the adapters are used.
    """
    members: dict[int, list[int]] = {}
    for row, adapter in enumerate(rows):
        members.setdefault(adapter, []).append(row)
    if len(members) == 1:
        size = len(rows)
    else:
        size = max(1, -(-len(rows) // (2 * len(members))))
    block_adapters: list[int] = []
    slots: list[int] = []
    places = [0] * len(rows)
    for adapter in sorted(members):
        for start in range(0, len(members[adapter]), size):
            block = members[adapter][start : start + size]
            for offset, row in enumerate(block):
                places[row] = len(slots) + offset
            slots.extend(block + [0] * (size - len(block)))
            block_adapters.append(adapter)
    return _Routing(
        stack,
        torch.tensor(block_adapters, device=device),
        torch.tensor(slots, device=device),
        torch.tensor(places, device=device),
    )


def _linear(model: nn.Module, path: str) -> Any:
    try:
        module = model.get_submodule(path)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Linear):
        raise UserError(f"The adapters are for a linear layer {path!r}, which the base does not have.", where="base")
    return module
