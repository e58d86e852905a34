"""How the examples of a step are laid out for the base: padded micro-batches.

Shapes: B sequences, T tokens of the longest, M target tokens of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hexapla.train.encoding import EncodedExample

if TYPE_CHECKING:
    import torch


def micro_batches(examples: Sequence[EncodedExample], max_tokens: int) -> list[list[EncodedExample]]:
    """Split a global batch, longest first, so that no part with its padding exceeds `max_tokens`.

    An example that alone exceeds it makes a part of its own.
    """
    ordered = sorted(examples, key=lambda example: (-example.num_input_tokens, -example.num_target_tokens, example.id))
    parts: list[list[EncodedExample]] = []
    longest = 0
    for example in ordered:
        if parts and (len(parts[-1]) + 1) * longest <= max_tokens:
            parts[-1].append(example)
        else:
            parts.append([example])
            longest = example.num_input_tokens
    return parts


@dataclass(frozen=True)
class MicroBatch:
    """Tensors of one pass through the base.

    Sequences go without their last token, from which nothing is predicted, and are padded on the right: causal
    attention then needs no mask, since no real token sees the padding, and positions are those of decoding.

    Attributes:
        input_ids: [B, T].
        predictors: [M], flat positions in [B, T] that predict a target token, row by row.
        targets: [M], the token that each of them predicts.
    """

    input_ids: torch.Tensor
    predictors: torch.Tensor
    targets: torch.Tensor


def collate(examples: Sequence[EncodedExample], device: torch.device) -> MicroBatch:
    """Lay examples out as a micro-batch on `device`."""
    import torch

    T = max(example.num_input_tokens for example in examples)
    input_ids = np.zeros((len(examples), T), dtype=np.int64)
    predictors, targets = [], []
    for row, example in enumerate(examples):
        length = example.num_input_tokens
        input_ids[row, :length] = example.ids[:-1]
        predictors.append(np.arange(row * T + example.num_prompt_tokens - 1, row * T + length))
        targets.append(example.ids[example.num_prompt_tokens :].astype(np.int64))
    arrays = (input_ids, np.concatenate(predictors), np.concatenate(targets))
    return MicroBatch(*(torch.from_numpy(array).to(device) for array in arrays))
