"""The losses beside the language model's in a bank: every adapter's examples are contrasted among themselves.

A global batch that one micro-batch holds whole has its states there; a longer one is gone through before, without
gradients (GradCache, arXiv 2101.06983). Either way the losses and their gradients in the states are made outside the
graph, and the micro-batch's loss is given their surrogate. What goes before is passes of one adapter alone, as equally
full as may be: so they give the same bytes when a run is taken up in the middle of a batch, and since only what does
not fit into one pass comes here, each is more than half full.

The gradient of a matching head is added when its batch is complete, so that a checkpoint within a batch holds nothing
that is made anew after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from hexapla.train.align.objective import AlignmentValues, CachedAlignment, PairStates, cached_alignment, surrogate
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.pairs import PairIndex, labels_of
from hexapla.train.bank.factors import FactorBank, HeadShape
from hexapla.train.bank.model import BankedModel, States
from hexapla.train.bank.packing import PackedBatch, Piece
from hexapla.train.encoding import EncodedExample

Examples = Sequence[EncodedExample]


@dataclass(frozen=True)
class Whole:
    """A piece with all examples of the global batch that it is a part of."""

    piece: Piece
    examples: tuple[EncodedExample, ...]

    @property
    def pairs(self) -> slice:
        """Which of the batch's translation examples the piece has."""
        start = _num_pairs(self.examples[: self.piece.start])
        return slice(start, start + _num_pairs(self.piece.examples))


class BankObjectives:
    """The losses of a bank's adapters, from the first micro-batch of each global batch to its end.

    Args:
        pack: lays pieces out as they are for training, dropout included.
        max_tokens: of a pass.
    """

    def __init__(
        self,
        model: BankedModel,
        bank: FactorBank,
        spec: AlignmentSpec,
        *,
        pack: Callable[[Sequence[Piece]], PackedBatch],
        max_tokens: int,
    ) -> None:
        self._model, self._bank, self._spec = model, bank, spec
        self._pack, self._max_tokens = pack, max_tokens
        self._aligned: dict[int, CachedAlignment] = {}

    def beside(self, parts: Sequence[Whole]) -> Callable[[States], Tensor]:
        """What a micro-batch of these pieces has as loss beside the language model's, given its states.

        Passes that must go before are made now.
        """
        for part in parts:
            slot = part.piece.slot
            if not part.piece.is_whole and slot not in self._aligned:
                self._aligned[slot] = self._align(slot, part.examples, self._preview(part))

        def loss(states: States) -> Tensor:
            pairs = pair_states([part.piece for part in parts], states)
            sizes = [_num_pairs(part.piece.examples) for part in parts]
            gradients = []
            for part, end in zip(parts, accumulate(sizes), strict=True):
                slot, own = part.piece.slot, part.pairs
                if part.piece.is_whole:
                    here = slice(end - (own.stop - own.start), end)
                    self._aligned[slot] = self._align(slot, part.examples, pairs[here])
                gradients.append(self._aligned[slot].states[own])
            return surrogate(pairs, PairStates.join(gradients))

        return loss

    def end(self, slot: int) -> AlignmentValues:
        """The adapter's batch is complete: adds the gradient of its head; returns what the losses were."""
        aligned = self._aligned.pop(slot)
        if aligned.head is not None:
            self._bank.gradient_heads[slot] += aligned.head
        return aligned.values

    def _align(self, slot: int, examples: Examples, states: PairStates) -> CachedAlignment:
        return cached_alignment(states, labels_of(examples), self._spec, self._bank.heads[slot])

    def _preview(self, whole: Whole) -> PairStates:
        """The states of a batch that micro-batches hold in parts only."""
        pairs = [example for example in whole.examples if example.direction is not None]
        found = []
        for part in even_parts(pairs, self._max_tokens):
            piece = Piece(whole.piece.slot, tuple(part), whole.piece.num_batch_targets, ends_batch=False)
            found.append(pair_states([piece], self._model.states(self._pack([piece]))))
        if not found:
            return PairStates(*(torch.zeros(0, self._model.width, device=self._model.device),) * 4)
        return PairStates.join(found)


def pair_states(pieces: Sequence[Piece], states: States) -> PairStates:
    """The states of the pieces' translation examples, in order, from those of the pass that the pieces made."""
    layer, last = states
    examples = [example for piece in pieces for example in piece.examples]
    ends = accumulate((example.num_input_tokens for example in examples), initial=0)
    return PairIndex.of(examples, list(ends)[:-1]).to(layer.device).states(layer, last)


def even_parts(examples: Examples, max_tokens: int) -> list[Examples]:
    """Examples in order, in as few parts of nearly equal tokens as keep each within `max_tokens`."""
    if not examples:
        return []
    ends = list(accumulate((example.num_input_tokens for example in examples), initial=0))
    for number in range(-(-ends[-1] // max_tokens), ends[-1] + 1):
        cuts = [bisect_right(ends, ends[-1] * part / number) - 1 for part in range(number + 1)]
        parts = [(start, end) for start, end in pairwise(cuts) if end > start]
        if all(ends[end] - ends[start] <= max_tokens for start, end in parts):
            return [examples[start:end] for start, end in parts]
    raise AssertionError("an example is longer than a pass")


def head_shape(spec: AlignmentSpec | None, width: int) -> HeadShape | None:
    """Of the matching head that every adapter has, if any."""
    return None if spec is None or spec.matching == 0 else HeadShape(width, spec.matching_width)


def _num_pairs(examples: Examples) -> int:
    return sum(example.direction is not None for example in examples)
