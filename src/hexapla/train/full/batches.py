"""What a whole model is trained on: packed sequences, and which of them make which step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hexapla.train.encoding import EncodedExample

UNLEARNED = -100
"""Label of a token that is read but not learned."""


@dataclass(frozen=True, slots=True)
class PackedSequence:
    """Documents one behind another, without padding; a token sees those of its own document only.

    Attributes (the arrays all of the same length T):
        ids: int32 token ids.
        labels: int32; the token itself where it is learned, else `UNLEARNED`. Not shifted: position t is predicted from
            t - 1; the first token of a document is never learned.
        positions: int32; 0 at the first token of every document, then one more each.
        sources: int16; which source (index into `Batches.sources`) a token is from.
        example: what the sequence is, where representations are to be aligned; None: its documents are only read.
    """

    ids: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    sources: np.ndarray
    example: EncodedExample | None = None


class Batches(Protocol):
    """The global batch of every step; step n is the same whoever asks, whenever, on whatever number of workers.

    Attributes:
        sources: names of the sources that losses are reported for.
    """

    sources: tuple[str, ...]

    def __len__(self) -> int:
        """Number of steps."""

    def __getitem__(self, step: int) -> list[PackedSequence]:
        """The sequences whose gradient makes `step` (from 0); the loss is the mean over all their learned tokens."""

    def digest(self) -> str:
        """sha256 of everything that decides the batches."""
