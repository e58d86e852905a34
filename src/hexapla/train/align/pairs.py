"""Where the sentences of examples stand in a pass through the model, and what the pass gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hexapla.representations.spans import SpanIndex, span_means
from hexapla.train.align.objective import PairLabels, PairStates
from hexapla.train.encoding import EncodedExample


@dataclass(frozen=True)
class PairIndex:
    """The sentences of the n translation examples of a pass over N tokens laid end to end.

    Attributes:
        source, target: their tokens.
        source_last, target_last: the tokens that predict them, each one earlier.
    """

    source: SpanIndex
    target: SpanIndex
    source_last: SpanIndex
    target_last: SpanIndex

    @classmethod
    def of(cls, examples: Sequence[EncodedExample], starts: Sequence[int]) -> PairIndex:
        """The index, on the CPU; general instructions among the examples are passed over.

        Args:
            starts: position of every example's first token among the N.
        """
        pairs = [(each, start) for each, start in zip(examples, starts, strict=True) if each.direction is not None]

        def index(kind: str, earlier: int) -> SpanIndex:
            spans = []
            for example, offset in pairs:
                start, end = getattr(example, kind)
                spans.append((offset + max(start - earlier, 0), offset + end - earlier))
            return SpanIndex.of(spans)

        return cls(index("source_span", 0), index("target_span", 0), index("source_span", 1), index("target_span", 1))

    def __len__(self) -> int:
        return len(self.source)

    def to(self, device: torch.device) -> PairIndex:
        """The same on a device."""
        return PairIndex(
            *(index.to(device) for index in (self.source, self.target, self.source_last, self.target_last))
        )

    def states(self, layer: Tensor, last: Tensor) -> PairStates:
        """What a pass gives for the examples.

        Args:
            layer: [N, D], states of the aligned layer.
            last: [N, D], what the output head reads.
        """
        return PairStates(
            span_means(layer, self.source),
            span_means(layer, self.target),
            span_means(last, self.source_last),
            span_means(last, self.target_last),
        )


def labels_of(examples: Sequence[EncodedExample]) -> PairLabels:
    """What the translation examples among some are, in order."""
    pairs = [(each, each.direction) for each in examples if each.direction is not None]
    return PairLabels(
        tuple(example.meaning for example, _ in pairs),
        tuple(direction.source for _, direction in pairs),
        tuple(direction.target for _, direction in pairs),
    )
