"""Random examples and micro-batches that the tests of the bank's parts share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hexapla.train.bank.packing import PackedBatch, Piece, pack
from hexapla.train.encoding import EncodedExample

CPU = torch.device("cpu")


def example(num_input_tokens: int, seed: int = 0, num_prompt_tokens: int | None = None) -> EncodedExample:
    """Random ids from 3 to 383; about half of them are the prompt."""
    ids = np.random.default_rng([seed, num_input_tokens]).integers(3, 384, num_input_tokens + 1).astype(np.int32)
    prompt = num_prompt_tokens if num_prompt_tokens is not None else (num_input_tokens + 1) // 2
    return EncodedExample(f"{seed}:{num_input_tokens}", ids, prompt)


def piece(slot: int, *lengths: int, seed: int = 0) -> Piece:
    """A whole global batch of one adapter, of sequences of these lengths in input tokens."""
    examples = tuple(example(length, seed=100 * seed + place) for place, length in enumerate(lengths))
    return Piece(slot, examples, sum(each.num_target_tokens for each in examples), True)


def packed(*pieces: Piece, seeds: Sequence[int] | None = None) -> PackedBatch:
    """A micro-batch on the CPU."""
    return pack(pieces, CPU, seeds)
