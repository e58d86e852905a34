"""Learning-rate schedules, and AdamW over all factors of an adapter as one flat vector.

Adapters are many small tensors. Kept as views of one buffer, a step costs one fused call and one norm instead of
hundreds, and a checkpoint is three vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hexapla.train.spec import OptimizerSpec

if TYPE_CHECKING:
    import torch


def warmup_steps(spec: OptimizerSpec, num_steps: int) -> int:
    """Steps with rising rate: the share rounded up."""
    return math.ceil(spec.warmup * num_steps)


def learning_rate(spec: OptimizerSpec, step: int, num_steps: int) -> float:
    """Rate of update `step` (from 1) of `num_steps`.

    With w warm-up steps: lr·s/w up to s = w, then

    * `inverse-sqrt`: lr·√(max(w, 1)/s), as in fairseq; without warm-up this is lr/√s.
    * `cosine`: lr·½(1 + cos(π·(s−w)/(S−w+1))) over S steps.
    * `constant`: lr.

    Differs from HF's schedules by one step: theirs give the first update a rate of 0, here no update has a rate of 0.
    """
    warmup = warmup_steps(spec, num_steps)
    if step <= warmup:
        return spec.lr * step / warmup
    if spec.schedule == "inverse-sqrt":
        return spec.lr * math.sqrt(max(warmup, 1) / step)
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup + 1)))
    return spec.lr


class FlatAdamW:
    """AdamW over one flat vector of parameters, all factors of an adapter.

    Args:
        values, gradients: [P] in fp32; whoever computes gradients adds them to `gradients`.

    Raises:
        ValueError: they are not fp32.
    """

    def __init__(self, values: torch.Tensor, gradients: torch.Tensor, spec: OptimizerSpec) -> None:
        import torch

        if values.dtype != torch.float32:
            raise ValueError("adapters are trained in fp32")
        self._spec = spec
        self.values, self.gradients = values, gradients
        self.reset()

    def reset(self) -> None:
        """Forget moments and step count; the values stay."""
        self._forget_moments()
        self.zero_gradients()

    def zero_gradients(self) -> None:
        """Set every gradient to zero."""
        self.gradients.zero_()

    def gradient_norm(self) -> float:
        """L2 norm over all parameters; NaN or infinite when any gradient is."""
        return float(self.gradients.norm())

    def step(self, lr: float, gradient_norm: float) -> None:
        """One update with gradients scaled down to `max_grad_norm`."""
        if gradient_norm > self._spec.max_grad_norm:
            self.gradients.mul_(self._spec.max_grad_norm / gradient_norm)
        self._update(lr)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything but gradients that a checkpoint needs, by name."""
        return {"values": self.values, **self._moments()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what `state` returned."""
        self.reset()
        self.values.copy_(state["values"])
        if "step" in state:
            self._load_moments(state)

    # Where the moments lie: subclasses put them elsewhere.

    def _forget_moments(self) -> None:
        import torch

        self._flat = torch.nn.Parameter(self.values)
        self._flat.grad = self.gradients
        self._adam = torch.optim.AdamW(
            [self._flat],
            lr=self._spec.lr,
            betas=self._spec.betas,
            eps=self._spec.eps,
            weight_decay=self._spec.weight_decay,
            fused=True,
        )

    def _update(self, lr: float) -> None:
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()

    def _moments(self) -> dict[str, torch.Tensor]:
        """Moments and step count; nothing before the first step."""
        return self._adam.state.get(self._flat, {})

    def _load_moments(self, state: dict[str, torch.Tensor]) -> None:
        device = self.values.device
        self._adam.state[self._flat] = {name: state[name].to(device) for name in ("step", "exp_avg", "exp_avg_sq")}


def flatten(parameters: Iterable[torch.nn.Parameter]) -> tuple[torch.Tensor, torch.Tensor]:
    """Move parameters into one buffer: they become views of the values returned, their gradients of the second.

    Leave `.grad` in place and zero the buffer instead of setting it to None.
    """
    import torch

    listed = list(parameters)
    values = torch.cat([parameter.detach().reshape(-1) for parameter in listed])
    gradients = torch.zeros_like(values)
    offset = 0
    for parameter in listed:
        end = offset + parameter.numel()
        parameter.data = values[offset:end].view_as(parameter)
        parameter.grad = gradients[offset:end].view_as(parameter)
        offset = end
    return values, gradients
