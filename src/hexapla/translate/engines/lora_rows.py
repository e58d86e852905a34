"""Several LoRA adapters on one base at once, each row of a batch with its own.

The adapters of a pool are stacked per linear layer, ranks padded with zeros and scales folded into B, and added by
forward hooks: one product pair for every run of rows with the same adapter where runs are long, else all runs at once
as blocks of a batched product (the idea of Punica, arXiv 2310.18547, without its kernels).

Shapes: N rows, T positions, I and O widths of a linear layer, R largest rank, K adapters, C blocks, M rows a block.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hexapla.adapter import LoraAdapter
from hexapla.common.errors import UserError

POSITIONS_A_RUN = 64
"""Mean rows × positions of a run from which products run by run beat batched ones.

On a CPU core at width 192 they take 0.9 against 1.1 ms at 35 and 8 against 73 ms at 770 (2026-11); on a GPU short runs
would cost more launches than work (assumption).
"""


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
        runs: adapter, first row and end of every run of neighbouring rows with one adapter; rows of the base are left
            out.
        num_rows: N.
        blocks: as `_cut_blocks`; made at the first use.
        gathered: factors of the blocks, taken from the stack at a module's first use.
    """

    stack: AdapterStack
    runs: Sequence[tuple[int, int, int]]
    num_rows: int
    blocks: tuple[Tensor, Tensor, Tensor] | None = None
    gathered: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class RowAdapters:
    """The hooks that add each row's own adapter to a model's linear layers."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooked: set[str] = set()
        self._routing: _Routing | None = None

    def use(self, stack: AdapterStack, rows: Sequence[int]) -> None:
        """Give every row of the coming forward passes its adapter: `rows` holds N indices of the stack.

        Rows of one adapter should be neighbours; in another order the result is the same, later.
        """
        for path in stack.factors.keys() - self._hooked:
            _linear(self._model, path).register_forward_hook(partial(self._add, path))
            self._hooked.add(path)
        runs = []
        start = 0
        for adapter, members in itertools.groupby(rows):
            end = start + len(list(members))
            if adapter != stack.base_index:
                runs.append((adapter, start, end))
            start = end
        self._routing = _Routing(stack, runs, len(rows)) if runs else None

    def clear(self) -> None:
        """Run the bare base again."""
        self._routing = None

    def _add(self, path: str, module: nn.Module, inputs: tuple[Tensor, ...], output_NTO: Tensor) -> Tensor | None:
        routing = self._routing
        if routing is None or path not in routing.stack.factors:
            return None
        x_NTI = inputs[0]
        if x_NTI.dim() != 3 or len(x_NTI) != routing.num_rows:
            raise UserError(
                f"The layer {path} does not see a batch row by row; its adapter cannot be used.", where="base"
            )
        if len(routing.runs) == 1 or x_NTI.shape[0] * x_NTI.shape[1] >= POSITIONS_A_RUN * len(routing.runs):
            _add_by_runs(routing, path, x_NTI, output_NTO)
        else:
            _add_by_blocks(routing, path, x_NTI, output_NTO)
        return output_NTO


def _add_by_runs(routing: _Routing, path: str, x_NTI: Tensor, output_NTO: Tensor) -> None:
    """Two products a run, accumulated in place."""
    a_KIR, b_KRO = routing.stack.factors[path]
    d_in, d_out = x_NTI.shape[2], output_NTO.shape[2]
    for adapter, start, end in routing.runs:
        hidden = x_NTI[start:end].reshape(-1, d_in) @ a_KIR[adapter]
        output_NTO[start:end].view(-1, d_out).addmm_(hidden, b_KRO[adapter])


def _add_by_blocks(routing: _Routing, path: str, x_NTI: Tensor, output_NTO: Tensor) -> None:
    """Two batched products for all runs together: rows are brought into blocks of one adapter and back."""
    if routing.blocks is None:
        routing.blocks = _cut_blocks(routing, x_NTI.device)
    adapters_C, slots, places_N = routing.blocks
    if path not in routing.gathered:
        a_KIR, b_KRO = routing.stack.factors[path]
        routing.gathered[path] = (a_KIR[adapters_C], b_KRO[adapters_C])
    a_CIR, b_CRO = routing.gathered[path]
    x_CMI = x_NTI.index_select(0, slots).view(len(adapters_C), -1, x_NTI.shape[2])
    delta_CMO = torch.bmm(torch.bmm(x_CMI, a_CIR), b_CRO)
    output_NTO.add_(delta_CMO.view(len(slots), x_NTI.shape[1], -1).index_select(0, places_N))


def _cut_blocks(routing: _Routing, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the runs into blocks of one size.

    With blocks of half the mean length of a run there are at most three times as many as runs, holding at most half as
    many rows again as there are, however unequal the runs.

    Returns:
        The adapter of each block [C]; the row at each place of the blocks [C·M] (places left over hold row 0, whose
        result is not read); the place of each row [N]. Rows of the base come last, with factors of zeros.
    """
    runs = list(routing.runs)
    in_runs = {row for _, start, end in runs for row in range(start, end)}
    others = [row for row in range(routing.num_rows) if row not in in_runs]
    members = [(adapter, list(range(start, end))) for adapter, start, end in runs]
    if others:
        members.append((routing.stack.base_index, others))
    size = max(1, -(-routing.num_rows // (2 * len(members))))
    adapters: list[int] = []
    slots: list[int] = []
    places = [0] * routing.num_rows
    for adapter, rows in members:
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            for offset, row in enumerate(block):
                places[row] = len(slots) + offset
            slots.extend(block + [0] * (size - len(block)))
            adapters.append(adapter)
    return (
        torch.tensor(adapters, device=device),
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
