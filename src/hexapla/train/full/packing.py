"""Documents packed one behind another; none sees another.

That is kept by `hexapla.packed`: attention is told where documents begin and computes inside them only, with a
variable-length kernel on a GPU and in buckets of similar lengths elsewhere. Nothing of the size tokens × tokens is
made.

Transformers would find documents by itself, by `position_ids` that begin again (5.23,
`masking_utils.find_packed_sequence_indices`), but only without an attention mask and with `use_cache` off: else every
token sees all documents before it, without a word. Its `sdpa` and `eager` then make a mask of tokens × tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hexapla.train.full.batches import UNLEARNED, PackedSequence


def join_documents(
    documents: Sequence[np.ndarray], num_prompt_tokens: Sequence[int], sources: Sequence[int]
) -> PackedSequence:
    """Documents one behind another.

    Args:
        documents: token ids of each.
        num_prompt_tokens: of each, tokens at its beginning that are not learned; the first token never is.
        sources: of each, the index of its source.
    """
    lengths = np.array([len(document) for document in documents])
    ids = np.concatenate(documents).astype(np.int32)
    positions = _positions(lengths)
    unlearned = positions < np.repeat(np.maximum(num_prompt_tokens, 1), lengths)
    labels = np.where(unlearned, UNLEARNED, ids).astype(np.int32)
    return PackedSequence(ids, labels, positions, np.repeat(np.array(sources, dtype=np.int16), lengths))


def document_lengths(positions: np.ndarray) -> np.ndarray:
    """Tokens of every document, in order, from the positions that begin again with each."""
    starts = np.flatnonzero(positions == 0)
    return np.diff(np.append(starts, len(positions)))


def _positions(lengths: np.ndarray) -> np.ndarray:
    """0, 1, … anew for every document, int32."""
    ends = np.cumsum(lengths)
    return (np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)).astype(np.int32)
