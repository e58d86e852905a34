"""Where Adam's moments lie: beside the values, in the host's memory, or beside the values in 8 bits.

In fp32 the moments are half of what an adapter in training takes. In the host's memory they cost the device one buffer
for all adapters, and a step two passes over the bus; the result stays the same. In 8 bits (arXiv 2110.02861) they take
a quarter of their room, and the result is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hexapla.common.errors import require_extra
from hexapla.train.optimizer import FlatAdamW
from hexapla.train.spec import OptimizerSpec

StatesPlace = Literal["device", "host", "8bit"]

_BLOCK = 256  # entries with a scale of their own: fixed in bitsandbytes' update
_MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizers(
    values: Tensor, gradients: Tensor, specs: Sequence[OptimizerSpec], states: StatesPlace
) -> list[FlatAdamW]:
    """One optimiser for every row of a bank.

    Args:
        values, gradients: [K, P] in fp32.
        specs: of every row.
        states: see `BankSpec.optimizer_states`.

    Raises:
        UserError: 8 bits are asked for and bitsandbytes is not installed (see `check_states`).
    """
    check_states(states)
    rows = list(zip(values, gradients, specs, strict=True))
    if states == "device":
        return [FlatAdamW(*row) for row in rows]
    if states == "8bit":
        return [EightBitAdamW(*row) for row in rows]
    buffer = torch.empty(len(_MOMENTS), values.shape[1], device=values.device)
    return [HostAdamW(*row, buffer) for row in rows]


def check_states(states: StatesPlace) -> None:
    """Find out early whether the optimisers can be made.

    Raises:
        UserError: 8 bits are asked for and bitsandbytes is not installed.
    """
    if states == "8bit":
        require_extra("bitsandbytes", "quantization", "train.bank.optimizer_states: 8bit")


class HostAdamW(FlatAdamW):
    """Moments in the host's memory, page-locked where the values are on a GPU; `FlatAdamW`'s results to the bit.

    All copies are in the order of the device's current stream, so that optimisers used on one stream can share a buffer
    and nothing waits for the host. The host itself must wait before it reads or writes moments.

    Args:
        buffer: [2, P] on the values' device, shared by any number of optimisers that step on one stream.
    """

    def __init__(self, values: Tensor, gradients: Tensor, spec: OptimizerSpec, buffer: Tensor) -> None:
        self._buffer = buffer
        self._host = torch.zeros(len(_MOMENTS), len(values), pin_memory=values.is_cuda)
        self._step = torch.zeros((), device=values.device)
        self._written = torch.cuda.Event() if values.is_cuda else None
        super().__init__(values, gradients, spec)

    def _forget_moments(self) -> None:
        super()._forget_moments()
        self._wait()
        self._host.zero_()
        self._step.zero_()
        on_device = zip(_MOMENTS, self._buffer, strict=True)
        self._adam.state[self._flat] = {"step": self._step, **dict(on_device)}

    def _update(self, lr: float) -> None:
        self._buffer.copy_(self._host, non_blocking=True)
        super()._update(lr)
        self._host.copy_(self._buffer, non_blocking=True)
        if self._written is not None:
            self._written.record()

    def _moments(self) -> dict[str, Tensor]:
        self._wait()
        return {"step": self._step, **dict(zip(_MOMENTS, self._host, strict=True))}

    def _load_moments(self, state: dict[str, Tensor]) -> None:
        self._wait()
        self._step.copy_(state["step"])
        for moment, name in zip(self._host, _MOMENTS, strict=True):
            moment.copy_(state[name])

    def _wait(self) -> None:
        """Until the moments of the latest step have arrived."""
        if self._written is not None:
            self._written.synchronize()


class EightBitAdamW(FlatAdamW):
    """Moments in blocks of 8-bit codes with an fp32 scale each, updated by bitsandbytes (arXiv 2110.02861).

    On a GPU the update runs on the default stream, whichever is the current one (bitsandbytes 0.50): step there.
    """

    def _forget_moments(self) -> None:
        functional = require_extra("bitsandbytes.functional", "quantization", "train.bank.optimizer_states: 8bit")
        self._kernel = functional.optimizer_update_8bit_blockwise
        device, num_blocks = self.values.device, -(-len(self.values) // _BLOCK)
        self._codes = {
            "step": torch.zeros((), dtype=torch.int64),
            "state1": torch.zeros_like(self.values, dtype=torch.uint8),
            "state2": torch.zeros_like(self.values, dtype=torch.uint8),
            "absmax1": torch.zeros(num_blocks, device=device),
            "absmax2": torch.zeros(num_blocks, device=device),
            "qmap1": functional.create_dynamic_map(signed=True).to(device),
            "qmap2": functional.create_dynamic_map(signed=False).to(device),
        }

    def _update(self, lr: float) -> None:
        codes, spec = self._codes, self._spec
        codes["step"] += 1
        self._kernel(
            "adam",
            self.gradients,
            self.values,
            **{name: codes[name] for name in ("state1", "state2", "qmap1", "qmap2", "absmax1", "absmax2")},
            beta1=spec.betas[0],
            beta2=spec.betas[1],
            beta3=0.0,
            alpha=0.0,
            eps=spec.eps,
            step=int(codes["step"]),
            lr=lr,
            weight_decay=spec.weight_decay,
        )

    def _moments(self) -> dict[str, Tensor]:
        return self._codes

    def _load_moments(self, state: dict[str, Tensor]) -> None:
        for name, codes in self._codes.items():
            codes.copy_(state[name])
