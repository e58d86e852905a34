"""Packing: hand-made micro-batches, and what must hold for any lengths."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.train.bank.packing import Piece, Segment, pack
from hexapla.train.encoding import EncodedExample
from tests.train.bank.packs import CPU, example, packed, piece

FIRST = EncodedExample("first", np.array([10, 11, 12, 13, 14], dtype=np.int32), num_prompt_tokens=2)
SECOND = EncodedExample("second", np.array([20, 21, 22], dtype=np.int32), num_prompt_tokens=1)
THIRD = EncodedExample("third", np.array([30, 31], dtype=np.int32), num_prompt_tokens=1)


def test_a_micro_batch_by_hand() -> None:
    batch = packed(Piece(3, (FIRST, SECOND), 5, True), Piece(1, (THIRD,), 4, False))
    assert batch.input_ids.tolist() == [10, 11, 12, 13, 20, 21, 30]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert batch.segments == (Segment(3, 0, 6), Segment(1, 6, 7))
    assert batch.slots.tolist() == [3, 1]
    assert batch.segment_ends.tolist() == [6, 7]
    assert batch.segment_ends.dtype == torch.int32
    assert batch.predictors.tolist() == [1, 2, 3, 4, 5, 6]
    assert batch.targets.tolist() == [12, 13, 14, 21, 22, 31]
    torch.testing.assert_close(batch.weights, torch.tensor([0.2] * 5 + [0.25]))
    assert batch.piece_targets == (5, 1)
    assert batch.layout.cumulative.tolist() == [0, 4, 6, 7]
    assert batch.layout.longest == 4
    assert batch.token_seeds is None


def test_weights_of_a_batch_in_several_micro_batches_add_up_to_one() -> None:
    lengths = {0: (9, 4, 17, 3, 8), 1: (5, 30)}
    wholes = {slot: piece(slot, *each, seed=slot) for slot, each in lengths.items()}
    totals = dict.fromkeys(lengths, 0.0)
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        pieces = [
            Piece(slot, whole.examples[part], whole.num_batch_targets, part.stop == 5)
            for slot, whole in wholes.items()
            if whole.examples[part]
        ]
        batch = packed(*pieces)
        for each, weights in zip(pieces, batch.weights.split(batch.piece_targets), strict=True):
            totals[each.slot] += float(weights.sum())
    np.testing.assert_allclose(list(totals.values()), 1.0, rtol=1e-6)


def test_seeds_tell_sequences_and_places_apart() -> None:
    batch = packed(piece(0, 3, 2), piece(1, 1), seeds=[100, 2**63 - 1, -5])
    assert batch.token_seeds is not None
    assert batch.token_seeds.tolist() == [100, 101, 102, 2**63 - 1, -(2**63), -5]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=8), min_size=1, max_size=5))
def test_invariants(lengths: list[list[int]]) -> None:
    pieces = [piece(slot, *each, seed=slot) for slot, each in enumerate(lengths)]
    batch = pack(pieces, CPU)
    num_tokens = sum(map(sum, lengths))
    assert batch.num_tokens == num_tokens == batch.segments[-1].end
    examples = [each for part in pieces for each in part.examples]
    for each, start, end in zip(examples, batch.layout.cumulative, batch.layout.cumulative[1:], strict=False):
        assert batch.input_ids[start:end].tolist() == each.ids[:-1].tolist()
        assert batch.position_ids[start:end].tolist() == list(range(each.num_input_tokens))
    assert batch.layout.cumulative[-1] == num_tokens


def test_the_last_token_of_the_prompt_predicts_the_first_target() -> None:
    each = example(6, num_prompt_tokens=4)
    batch = packed(Piece(0, (each,), 3, True))
    assert batch.predictors.tolist() == [3, 4, 5]
    assert batch.targets.tolist() == each.ids[4:].tolist()
