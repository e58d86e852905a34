"""The losses that align representations in the steps of a whole model, and the head that one of them trains.

Shapes: n translation examples of a step, D width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from hexapla.common.progress import EventLog
from hexapla.train.align.degenerate import tell_degenerate
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objective import (
    AlignmentValues,
    PairLabels,
    PairStates,
    alignment_loss,
    cached_alignment,
    surrogate,
)
from hexapla.train.align.objectives import AlignmentSpec

HEAD = "matching-head"
"""What the head is called in checkpoints."""


class StepObjectives:
    """A step is begun, then told the states of all its examples where one pass does not hold them, then asked for what
    every pass adds to its loss. Every process does all of it alike, but for its own passes.

    Args:
        name: of the model, for seeds and for people.
        width: D.

    Attributes:
        head: flat parameters of the matching head; None where matching has no weight. Its gradient is whole on every
            process, so data parallelism has no part in it.
        values: what the losses of the latest step were.
        degenerate: the losses of which it was told that they had nothing to tell apart.
    """

    def __init__(
        self, spec: AlignmentSpec, *, seed: int, name: str, width: int, device: torch.device, log: EventLog
    ) -> None:
        self._spec, self._name, self._width, self._device, self._log = spec, name, width, device, log
        self.head: torch.nn.Parameter | None = None
        if spec.matching > 0:
            initial = MatchingHead.initial(width, spec.matching_width, seed, name)
            self.head = torch.nn.Parameter(initial.to(device))
        self.values = AlignmentValues()
        self._labels = PairLabels((), (), ())
        self._gradients: PairStates | None = None
        self.degenerate: list[str] = []

    def begin(self, labels: PairLabels) -> None:
        """Begin a step whose translation examples are these."""
        self._labels, self._gradients, self.values = labels, None, AlignmentValues()
        if self.head is not None:
            self.head.grad = torch.zeros_like(self.head)

    def no_states(self) -> Tensor:
        """Room for the states of all examples of the step, [4, n, D] in their order."""
        return torch.zeros(4, len(self._labels), self._width, device=self._device)

    def cache(self, states: Tensor) -> None:
        """Take the states of all examples of the step, [4, n, D] in their order."""
        cached = cached_alignment(PairStates(*states), self._labels, self._spec, self.head)
        self.values, self._gradients = cached.values, cached.states
        if self.head is not None:
            self.head.grad = cached.head

    def term(self, states: PairStates, places: Tensor | None) -> Tensor:
        """What a pass adds to its loss: its share of the cached loss, or, where it is the only one, the loss itself.

        Args:
            states: of the pass's examples.
            places: of each of them among those of the step.
        """
        assert places is not None, "states without examples"
        if self._gradients is not None:
            return surrogate(states, _chosen(self._gradients, places))
        assert len(states) == len(self._labels), "the states of several passes are to be cached"
        loss, self.values = alignment_loss(_chosen(states, places.argsort()), self._labels, self._spec, self.head)
        return loss

    def tell_degenerate(self, step: int) -> None:
        """Log a loss that had nothing to tell apart, once."""
        tell_degenerate(self.values, self.degenerate, self._log, adapter=self._name, step=step)


def clip_together(model: Iterable[Tensor], head: Tensor, max_norm: float) -> float:
    """Scale the gradients of a model and of a head down to a norm, as one vector; returns the norm before.

    Args:
        model: its parameters, whole or the shares of this process (FSDP2).
    """
    gradients = [each.grad for each in model if each.grad is not None]
    norm: Any = torch.nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    assert head.grad is not None
    total = math.hypot(float(norm), float(head.grad.norm()))
    if total > max_norm:
        for gradient in (*gradients, head.grad):
            gradient.mul_(max_norm / total)
    return total


def _chosen(states: PairStates, places: Tensor) -> PairStates:
    return PairStates(*(tensor.index_select(0, places) for tensor in states.tensors))
