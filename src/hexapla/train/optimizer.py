"""Learning-rate schedules, and AdamW over all factors of an adapter as one flat vector.

Adapters are many small tensors. Kept as views of one buffer, a step costs one fused call, one norm and one copy
instead of hundreds, and a checkpoint is three vectors.
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
    """AdamW over parameters that it moves into one buffer.

    The parameters become views of `values`, their gradients views of `gradients`: leave `.grad` in place and call
    `zero_gradients` instead of setting it to None.

    Raises:
        ValueError: a parameter is not fp32.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], spec: OptimizerSpec) -> None:
        import torch

        self._parameters = list(parameters)
        if any(parameter.dtype != torch.float32 for parameter in self._parameters):
            raise ValueError("adapters are trained in fp32")
        self._spec = spec
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        self.gradients = torch.zeros_like(self.values)
        offset = 0
        for parameter in self._parameters:
            end = offset + parameter.numel()
            parameter.data = self.values[offset:end].view_as(parameter)
            parameter.grad = self.gradients[offset:end].view_as(parameter)
            offset = end
        self.reset()

    def reset(self) -> None:
        """Forget moments and step count; the values stay."""
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
        self._good_values = self.values.clone()
        self.zero_gradients()

    def zero_gradients(self) -> None:
        """Set every gradient to zero."""
        self.gradients.zero_()

    def gradient_norm(self) -> float:
        """L2 norm over all parameters; NaN or infinite when any gradient is."""
        return float(self.gradients.norm())

    def step(self, lr: float, gradient_norm: float) -> None:
        """One update with gradients scaled down to `max_grad_norm`; the values before it are kept."""
        if gradient_norm > self._spec.max_grad_norm:
            self.gradients.mul_(self._spec.max_grad_norm / gradient_norm)
        self._good_values.copy_(self.values)
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()

    def undo_values(self) -> None:
        """Go back to the values before the latest step, the last ones whose loss is known."""
        self.values.copy_(self._good_values)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything a checkpoint needs, by name."""
        import torch

        moments = self._adam.state.get(self._flat, {})
        return {
            "values": self.values,
            "good_values": self._good_values,
            "exp_avg": moments.get("exp_avg", torch.zeros_like(self.values)),
            "exp_avg_sq": moments.get("exp_avg_sq", torch.zeros_like(self.values)),
            "step": moments.get("step", torch.zeros(())),
        }

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what `state` returned."""
        self.reset()
        device = self.values.device
        self.values.copy_(state["values"])
        self._good_values.copy_(state["good_values"])
        step_device = device if device.type == "cuda" else "cpu"
        self._adam.state[self._flat] = {
            "step": state["step"].to(step_device),
            "exp_avg": state["exp_avg"].to(device),
            "exp_avg_sq": state["exp_avg_sq"].to(device),
        }
