"""Order, splitting and layout of batches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.seeds import stable_order
from hexapla.train.batching import BatchOrder, num_steps
from hexapla.train.encoding import EncodedExample
from hexapla.train.reference.batching import collate, micro_batches


def _example(index: int, num_prompt: int, num_target: int) -> EncodedExample:
    return EncodedExample(f"e{index}", np.arange(num_prompt + num_target, dtype=np.int32) + 10 * index, num_prompt)


@given(num=st.integers(1, 40), batch=st.integers(1, 12), epochs=st.integers(1, 3))
def test_every_epoch_sees_every_example_once(num: int, batch: int, epochs: int) -> None:
    order = BatchOrder([f"e{i}" for i in range(num)], batch=batch, seed=0, adapter="a")
    steps = [order.positions(step) for step in range(num_steps(num, batch, epochs))]
    per_epoch = len(steps) // epochs
    for epoch in range(epochs):
        seen = [position for part in steps[epoch * per_epoch : (epoch + 1) * per_epoch] for position in part]
        assert sorted(seen) == list(range(num))
    assert all(len(part) == batch for part in steps if part is not steps[-1] and num % batch == 0)


def test_order_depends_on_seed_adapter_epoch_and_id_only() -> None:
    ids = [f"e{i}" for i in range(50)]

    def first(order_ids: list[str], seed: int = 0, adapter: str = "a", step: int = 0) -> list[str]:
        order = BatchOrder(order_ids, batch=50, seed=seed, adapter=adapter)
        return [order_ids[position] for position in order.positions(step)]

    assert first(ids) == first(ids[::-1])
    assert first(ids) != first(ids, seed=1)
    assert first(ids) != first(ids, adapter="b")
    assert first(ids) != first(ids, step=1)
    without = [i for i in first(ids) if i != "e7"]
    assert without == first([i for i in ids if i != "e7"])


def _rows(sizes: list[int]) -> tuple[list[str], list[str]]:
    """Ids and meanings of rows with so many examples."""
    ids = [f"r{row} {number}" for row, size in enumerate(sizes) for number in range(size)]
    return ids, [each.partition(" ")[0] for each in ids]


def _epoch(sizes: list[int], batch: int, epoch: int = 0, seed: int = 0) -> tuple[list[list[int]], list[str]]:
    """The batches of an epoch in which meanings matter, and the meanings."""
    ids, meanings = _rows(sizes)
    order = BatchOrder(ids, batch=batch, seed=seed, adapter="a", meanings=meanings)
    steps = num_steps(len(ids), batch, 1)
    return [order.positions(epoch * steps + step) for step in range(steps)], meanings


def _fewest_repeats(sizes: list[int], rooms: list[int]) -> int:
    """Examples that must come into a batch with their meaning: what the greatest flow leaves over.

    The flow goes from rows (with their sizes) to batches (with their rooms), at most one from each to each; by the
    max-flow min-cut theorem it is the least cut, of which those with the k roomiest batches on the far side are enough.
    """
    ordered = sorted(rooms, reverse=True)
    cuts = [sum(min(size, k) for size in sizes) + sum(ordered[k:]) for k in range(len(rooms) + 1)]
    return sum(sizes) - min(cuts)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4) | st.integers(1, 30), min_size=1, max_size=12),
    batch=st.integers(1, 16),
    epoch=st.integers(0, 1),
)
def test_as_few_meanings_as_can_be_come_twice_in_a_batch(sizes: list[int], batch: int, epoch: int) -> None:
    batches, meanings = _epoch(sizes, batch, epoch)
    assert sorted(position for part in batches for position in part) == list(range(sum(sizes)))
    assert all(len(part) == batch for part in batches[:-1])
    repeats = sum(len(part) - len({meanings[position] for position in part}) for part in batches)
    assert repeats == _fewest_repeats(sizes, [len(part) for part in batches])


def test_without_meanings_the_order_is_that_of_the_hashes() -> None:
    ids, _ = _rows([5] * 10)
    order = BatchOrder(ids, batch=8, seed=3, adapter="a")
    given_out = [position for step in range(7, 14) for position in order.positions(step)]
    assert given_out == stable_order(3, ids, "order", "a", 1)


@given(sizes=st.lists(st.integers(1, 8), min_size=1, max_size=12), batch=st.integers(1, 30))
def test_within_a_batch_all_meanings_come_once_before_any_comes_again(sizes: list[int], batch: int) -> None:
    batches, meanings = _epoch(sizes, batch)
    for part in batches:
        rounds = [[meanings[p] for p in part[:end]].count(meanings[part[end]]) for end in range(len(part))]
        assert rounds == sorted(rounds)


def test_batches_of_multi_way_text_hold_different_sentences_in_many_directions() -> None:
    multi_way, bitext = [38] * 60, [2] * 500
    for sizes in (multi_way, bitext, multi_way + bitext):
        batches, meanings = _epoch(sizes, 48)
        ids, _ = _rows(sizes)
        assert all(len({meanings[position] for position in part}) == len(part) for part in batches)
        directions = [{ids[position].partition(" ")[2] for position in part} for part in batches[:-1]]
        assert min(map(len, directions)) >= (12 if sizes is multi_way else 2)


def test_more_places_than_rows_are_shared_out_evenly() -> None:
    batches, meanings = _epoch([38] * 20, 48)
    for part in batches:
        counts = Counter(meanings[position] for position in part)
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len({meanings[position] for position in part[:20]}) == min(20, len(part))


def test_every_row_meets_others_than_its_neighbours() -> None:
    """A row is not always contrasted with the same ones, and every epoch it is with others."""
    batches, meanings = _epoch([38] * 100, 24)
    met = {meanings[p] for part in batches if "r0" in {meanings[q] for q in part} for p in part}
    assert len(met) > 95
    assert batches != _epoch([38] * 100, 24, epoch=1)[0] != _epoch([38] * 100, 24, seed=1)[0]


def test_the_order_of_the_examples_given_does_not_matter() -> None:
    ids, meanings = _rows([5] * 10 + [2] * 5)

    def batches(permuted: list[int]) -> list[list[str]]:
        own = [ids[place] for place in permuted]
        order = BatchOrder(own, batch=7, seed=0, adapter="a", meanings=[meanings[place] for place in permuted])
        return [[own[position] for position in order.positions(step)] for step in range(9)]

    assert batches(list(range(60))) == batches(list(range(60))[::-1])


@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=30),
    max_tokens=st.integers(1, 200),
)
def test_micro_batches_keep_everything_within_the_limit(lengths: list[tuple[int, int]], max_tokens: int) -> None:
    given_examples = [_example(index, *pair) for index, pair in enumerate(lengths)]
    parts = micro_batches(given_examples, max_tokens)
    assert sorted(e.id for part in parts for e in part) == sorted(e.id for e in given_examples)
    for part in parts:
        padded = len(part) * max(e.num_input_tokens for e in part)
        assert padded <= max_tokens or len(part) == 1


def test_layout() -> None:
    batch = collate([_example(0, 2, 3), _example(1, 1, 2)], torch.device("cpu"))
    # The first has tokens 0..4, of which 2, 3, 4 are learned; the second 10, 11, 12, of which 11, 12 are.
    assert batch.input_ids.tolist() == [[0, 1, 2, 3], [10, 11, 0, 0]]
    assert batch.predictors.tolist() == [1, 2, 3, 4, 5]
    assert batch.targets.tolist() == [2, 3, 4, 11, 12]
    assert [batch.input_ids.flatten()[p] for p in batch.predictors] == [1, 2, 3, 10, 11]
