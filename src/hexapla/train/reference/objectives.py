"""The losses beside the language model's in the reference trainer: over padded micro-batches, as plain as may be.

Shapes: B sequences, T tokens of the longest, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from hexapla.representations.layers import StateTap
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objective import AlignmentValues, PairStates, alignment_loss, cached_alignment
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.pairs import PairIndex, labels_of
from hexapla.train.encoding import EncodedExample

if TYPE_CHECKING:
    from torch import Tensor

Part = Sequence[EncodedExample]


class ReferenceObjectives:
    """What a trainer needs to align the examples of a step, all of them contrasted in the order of the batch.

    Args:
        model: a causal language model of transformers, bare or wrapped by peft.
        layer: whose states are aligned.

    Attributes:
        tap: catches the states of passes made inside `with`.
        head: flat parameters of the matching head; None where matching has no weight.
        values: of the latest step.
    """

    def __init__(self, model: Any, spec: AlignmentSpec, layer: int) -> None:
        config = model.config.get_text_config()
        self._spec, self._layer, self._last = spec, layer, config.num_hidden_layers
        self._width: int = config.hidden_size
        self.tap = StateTap(model, [layer, self._last])
        self.values = AlignmentValues()
        self.head: torch.nn.Parameter | None = None
        if spec.matching > 0:
            num_entries = MatchingHead.num_entries(self._width, spec.matching_width)
            self.head = torch.nn.Parameter(torch.zeros(num_entries, device=model.device))

    def initialise(self, seed: int, adapter: str) -> None:
        """Start the matching head of a new adapter."""
        if self.head is not None:
            with torch.no_grad():
                self.head.copy_(MatchingHead.initial(self._width, self._spec.matching_width, seed, adapter))

    def states(self, part: Part) -> PairStates:
        """What the latest pass gave for its translation examples; `part` is its rows."""
        layer, last = (self.tap.states[index] for index in (self._layer, self._last))
        T = layer.shape[1]
        index = PairIndex.of(part, [row * T for row in range(len(part))]).to(layer.device)
        return index.states(layer.flatten(0, 1), last.flatten(0, 1))

    def plain(self, examples: Part, part: Part, states: PairStates) -> Tensor:
        """The loss of a step that is one micro-batch, in the graph of its pass."""
        order = _places(examples, [part]).to(states.source.device)
        in_order = PairStates(*(tensor[order] for tensor in states.tensors))
        loss, self.values = alignment_loss(in_order, labels_of(examples), self._spec, self.head)
        return loss

    def cached(self, examples: Part, parts: Sequence[Part], states: Sequence[PairStates]) -> list[PairStates]:
        """The gradients of a step's loss in the states of its micro-batches; the head's own is added to it."""
        joined = PairStates.join(states)
        order = _places(examples, parts).to(joined.source.device)
        in_order = PairStates(*(tensor[order] for tensor in joined.tensors))
        aligned = cached_alignment(in_order, labels_of(examples), self._spec, self.head)
        self.values = aligned.values
        if self.head is not None:
            assert self.head.grad is not None
            assert aligned.head is not None
            self.head.grad += aligned.head
        as_laid = [torch.empty_like(each).index_copy_(0, order, each) for each in aligned.states.tensors]
        sizes = [len(part) for part in states]
        return [PairStates(*tensors) for tensors in zip(*(each.split(sizes) for each in as_laid), strict=True)]


def _places(examples: Part, parts: Sequence[Part]) -> Tensor:
    """For every translation example of a batch, in its order, its place among those of the parts laid end to end."""
    laid = [example.id for part in parts for example in part if example.direction is not None]
    places = {name: place for place, name in enumerate(laid)}
    return torch.tensor([places[each.id] for each in examples if each.direction is not None], dtype=torch.int64)
