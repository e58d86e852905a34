"""Where sentences stand in a pass, to the token."""

from __future__ import annotations

import numpy as np
import torch

from hexapla.languages import Direction
from hexapla.train.align.pairs import PairIndex, labels_of
from hexapla.train.encoding import EncodedExample

# Tokens: 0 `Translate`, 1-2 source, 3-4 the rest of the prompt, 5-7 target, 8 end of sequence.
_PAIR = EncodedExample("row-7 de-en", np.arange(9, dtype=np.int32), 5, Direction("de", "en"), (1, 3))
# The source is the first that the model reads: 0-2 source, 3 the rest of the prompt, 4 target, 5 end of sequence.
_BARE = EncodedExample("row-8 en-nl", np.arange(6, dtype=np.int32), 4, Direction("en", "nl"), (0, 3))
_INSTRUCTION = EncodedExample("alpaca-1", np.arange(7, dtype=np.int32), 4)


def _tokens(index: PairIndex) -> list[list[int]]:
    return [each.tokens.tolist() for each in (index.source, index.target, index.source_last, index.target_last)]


def test_sentences_and_what_predicts_them() -> None:
    assert _tokens(PairIndex.of([_PAIR], [0])) == [[1, 2], [5, 6, 7], [0, 1], [4, 5, 6]]
    assert _tokens(PairIndex.of([_PAIR], [20])) == [[21, 22], [25, 26, 27], [20, 21], [24, 25, 26]]


def test_nothing_predicts_the_first_token() -> None:
    index = PairIndex.of([_BARE], [100])
    assert _tokens(index) == [[100, 101, 102], [104], [100, 101], [103]]  # never 99, the end of another example
    assert index.source_last.lengths.tolist() == [2]


def test_general_instructions_are_passed_over() -> None:
    index = PairIndex.of([_INSTRUCTION, _PAIR, _INSTRUCTION, _BARE], [0, 7, 16, 23])
    assert len(index) == 2
    assert _tokens(index) == _tokens(PairIndex.of([_PAIR, _BARE], [7, 23]))
    labels = labels_of([_INSTRUCTION, _PAIR, _INSTRUCTION, _BARE])
    assert (labels.meanings, labels.sources, labels.targets) == (("row-7", "row-8"), ("de", "en"), ("en", "nl"))
    none = PairIndex.of([_INSTRUCTION], [0])
    assert len(none) == len(labels_of([_INSTRUCTION])) == 0
    states = none.states(torch.zeros(7, 2), torch.zeros(7, 2))
    assert [tuple(tensor.shape) for tensor in states.tensors] == [(0, 2)] * 4


def test_means_and_the_end_of_sequence() -> None:
    """With states that say where they are, layer and last told apart; nothing else is read."""
    layer = torch.full((9, 1), torch.nan)
    layer[[1, 2, 5, 6, 7], 0] = torch.tensor([1.0, 2, 5, 6, 7])
    last = torch.full((9, 1), torch.nan)
    last[[0, 1, 4, 5, 6], 0] = torch.tensor([10.0, 11, 14, 15, 16])
    states = PairIndex.of([_PAIR], [0]).to(torch.device("cpu")).states(layer, last)
    assert [tensor.item() for tensor in states.tensors] == [1.5, 6, 10.5, 15]
    # Neither of them needs the end of sequence: trainers leave it out of the pass.
    assert [tensor.item() for tensor in PairIndex.of([_PAIR], [0]).states(layer[:8], last[:8]).tensors] == [
        1.5,
        6,
        10.5,
        15,
    ]
