"""Micro-batches of the bank: sequences of several adapters end to end, without padding and without cross-talk.

Shapes: N tokens of all sequences, M target tokens, S adapters that take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hexapla.packed.layout import SequenceLayout, sequence_layout

if TYPE_CHECKING:
    from hexapla.train.encoding import EncodedExample


@dataclass(frozen=True)
class Piece:
    """The sequences of one adapter in a micro-batch.

    Attributes:
        slot: the adapter's row in the bank.
        examples: its sequences, a part of one global batch.
        num_batch_targets: target tokens of that whole global batch.
        ends_batch: whether nothing of the batch is left after this.
        start: place of the first of them in that batch.
    """

    slot: int
    examples: tuple[EncodedExample, ...]
    num_batch_targets: int
    ends_batch: bool
    start: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether this is all of a global batch."""
        return self.start == 0 and self.ends_batch

    @cached_property
    def num_tokens(self) -> int:
        """Tokens that go through the base."""
        return sum(example.num_input_tokens for example in self.examples)


class Segment(NamedTuple):
    """The tokens [start, end) of a micro-batch, all of one adapter."""

    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class PackedBatch:
    """Tensors of one pass through the base.

    Attributes:
        input_ids, position_ids: [N]; positions restart with every sequence.
        segments: which adapter the tokens belong to, in order.
        slots: [S] rows of the segments; `segment_ends` [S] int32, their ends: what grouped products take.
        predictors: [M], the tokens that predict a target token.
        targets: [M], what they predict.
        weights: [M], 1 / target tokens of the whole global batch that a token belongs to.
        piece_targets: target tokens of every piece, in order; they add up to M.
        layout: where the sequences lie.
        token_seeds: [N] int64, from which dropout is drawn; None without dropout.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: tuple[Segment, ...]
    slots: Tensor
    segment_ends: Tensor
    predictors: Tensor
    targets: Tensor
    weights: Tensor
    piece_targets: tuple[int, ...]
    layout: SequenceLayout
    token_seeds: Tensor | None

    @property
    def segment_sizes(self) -> list[int]:
        """Tokens of every segment."""
        return [end - start for _, start, end in self.segments]

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.input_ids)


def pack(pieces: Sequence[Piece], device: torch.device, sequence_seeds: Sequence[int] | None = None) -> PackedBatch:
    """Lay the pieces' sequences end to end; a sequence's last token, which predicts nothing, stays out.

    Args:
        sequence_seeds: one a sequence where dropout is used; what a token drops depends on it and its place only.
    """
    examples = [example for piece in pieces for example in piece.examples]
    lengths = np.array([example.num_input_tokens for example in examples])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.concatenate([np.arange(length) for length in lengths])
    predictors = np.concatenate(
        [
            np.arange(start + example.num_prompt_tokens - 1, start + example.num_input_tokens)
            for start, example in zip(starts, examples, strict=False)
        ]
    )
    targets = np.concatenate([example.ids[example.num_prompt_tokens :] for example in examples])
    piece_targets = [sum(example.num_target_tokens for example in piece.examples) for piece in pieces]
    weights = np.repeat([1.0 / piece.num_batch_targets for piece in pieces], piece_targets)
    segments = _segments(pieces)

    def on_device(array: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

    seeds = None
    if sequence_seeds is not None:
        seeds = on_device(np.repeat(np.array(sequence_seeds, dtype=np.int64), lengths) + positions, torch.int64)
    return PackedBatch(
        input_ids=on_device(np.concatenate([example.ids[:-1] for example in examples]), torch.int64),
        position_ids=on_device(positions, torch.int64),
        segments=segments,
        slots=on_device(np.array([segment.slot for segment in segments]), torch.int64),
        segment_ends=on_device(np.array([segment.end for segment in segments]), torch.int32),
        predictors=on_device(predictors, torch.int64),
        targets=on_device(targets, torch.int64),
        weights=on_device(weights, torch.float32),
        piece_targets=tuple(piece_targets),
        layout=sequence_layout(lengths, device),
        token_seeds=seeds,
    )


def _segments(pieces: Sequence[Piece]) -> tuple[Segment, ...]:
    segments, start = [], 0
    for piece in pieces:
        end = start + piece.num_tokens
        segments.append(Segment(piece.slot, start, end))
        start = end
    return tuple(segments)
