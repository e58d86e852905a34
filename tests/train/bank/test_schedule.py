"""Micro-batches: everything once and in its batch, full, fair, and a function of the clocks alone."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.train.bank.packing import Piece
from hexapla.train.bank.schedule import Clock, next_pieces
from tests.train.bank.runs import clock

LONGEST = 40


def typical(num_adapters: int, batch: int, num_steps: int = 12) -> list[Clock]:
    """Adapters with sentences of 10 to 100 tokens, whose numbers of steps differ by up to a factor of two."""
    generator = np.random.default_rng(0)
    return [
        clock(slot, generator.integers(10, 101, batch * int(generator.integers(num_steps // 2, num_steps + 1))), batch)
        for slot in range(num_adapters)
    ]


def move(clocks: Sequence[Clock], pieces: Sequence[Piece]) -> None:
    """What training does to the clocks after a micro-batch."""
    for piece in pieces:
        if piece.ends_batch:
            moved = clocks[piece.slot]
            moved.step, moved.taken = moved.step + 1, 0
            moved.running = moved.step < moved.task.num_steps


def micro_batches(clocks: Sequence[Clock], max_tokens: int) -> Iterator[list[Piece]]:
    """All micro-batches until the last adapter has ended."""
    while any(each.running for each in clocks):
        pieces = next_pieces(clocks, max_tokens)
        move(clocks, pieces)
        yield pieces


def num_tokens(piece: Piece) -> int:
    return sum(example.num_input_tokens for example in piece.examples)


adapters = st.lists(
    st.tuples(st.lists(st.integers(1, LONGEST), min_size=1, max_size=12), st.integers(1, 6), st.integers(1, 3)),
    min_size=1,
    max_size=6,
).map(lambda made: [clock(slot, *each) for slot, each in enumerate(made)])
budgets = st.integers(LONGEST, 4 * LONGEST)


@given(adapters, budgets)
def test_every_sequence_comes_once_an_epoch_in_the_batch_it_belongs_to(clocks: list[Clock], max_tokens: int) -> None:
    seen: list[list[str]] = [[] for _ in clocks]
    steps: list[list[set[str]]] = [[set()] for _ in clocks]
    for pieces in micro_batches(clocks, max_tokens):
        assert [piece.slot for piece in pieces] == sorted({piece.slot for piece in pieces})
        assert sum(map(num_tokens, pieces)) <= max_tokens
        for piece in pieces:
            assert piece.examples
            ids = [example.id for example in piece.examples]
            seen[piece.slot] += ids
            steps[piece.slot][-1].update(ids)
            if piece.ends_batch:
                steps[piece.slot].append(set())
    for each in clocks:
        examples, spec = each.task.encoded.examples, each.task.spec
        assert Counter(seen[each.slot]) == {example.id: spec.epochs for example in examples}
        expected = [{examples[place].id for place in each.order.positions(step)} for step in range(each.task.num_steps)]
        assert steps[each.slot] == [*expected, set()]


@given(adapters, budgets)
def test_a_batch_is_split_only_if_it_does_not_fit_and_knows_its_targets(clocks: list[Clock], max_tokens: int) -> None:
    current: dict[int, list[Piece]] = {each.slot: [] for each in clocks}
    for pieces in micro_batches(clocks, max_tokens):
        for piece in pieces:
            current[piece.slot].append(piece)
            if piece.ends_batch:
                parts, current[piece.slot] = current[piece.slot], []
                assert len(parts) == 1 or sum(map(num_tokens, parts)) > max_tokens
                targets = sum(example.num_target_tokens for part in parts for example in part.examples)
                assert {part.num_batch_targets for part in parts} == {targets}


@given(adapters, budgets)
def test_the_adapter_furthest_behind_is_in_every_micro_batch(clocks: list[Clock], max_tokens: int) -> None:
    while any(each.running for each in clocks):
        behind = min((each.progress, each.slot) for each in clocks if each.running)[1]
        pieces = next_pieces(clocks, max_tokens)
        assert behind in [piece.slot for piece in pieces]
        move(clocks, pieces)


@given(adapters, budgets, st.integers(0, 20))
def test_what_comes_next_is_a_function_of_the_clocks(clocks: list[Clock], max_tokens: int, num_before: int) -> None:
    """New clocks, set to where the others stand, as after a resumption, or copied, give the same micro-batches."""
    iterator = micro_batches(clocks, max_tokens)
    for _, _ in zip(range(num_before), iterator, strict=False):
        pass
    copied = copy.deepcopy(clocks)
    fresh = [Clock.start(each.slot, each.task, seed=0) for each in reversed(clocks)]
    for each in fresh:
        stands = clocks[each.slot]
        each.step, each.taken, each.running = stands.step, stands.taken, stands.running
    rest = [[(piece.slot, [example.id for example in piece.examples]) for piece in pieces] for pieces in iterator]
    for others in (copied, fresh[::-1]):
        again = [
            [(piece.slot, [example.id for example in piece.examples]) for piece in pieces]
            for pieces in micro_batches(others, max_tokens)
        ]
        assert again == rest


def test_the_order_in_which_clocks_are_given_does_not_matter() -> None:
    one, other = typical(6, 4), typical(6, 4)
    for _ in range(10):
        pieces = next_pieces(one, 500)
        assert [piece.slot for piece in pieces] == [piece.slot for piece in next_pieces(other[::-1], 500)]
        move(one, pieces)
        move(other, pieces)


@pytest.mark.parametrize(
    ("num_adapters", "batch", "max_tokens", "least"),
    [(16, 2, 1024, 0.92), (4, 8, 1024, 0.85), (16, 8, 1024, 0.88), (48, 16, 1024, 0.84), (57, 128, 8192, 0.84)],
)
def test_micro_batches_are_full_and_adapters_end_together(
    num_adapters: int, batch: int, max_tokens: int, least: float
) -> None:
    clocks = typical(num_adapters, batch)
    total = sum(each.task.num_tokens for each in clocks)
    ends: dict[int, int] = {}
    for number, pieces in enumerate(micro_batches(clocks, max_tokens), start=1):
        ends |= {piece.slot: number for piece in pieces if not clocks[piece.slot].running}
    assert total / (number * max_tokens) >= least
    # They cannot end closer to each other than all their last steps take.
    last_steps = sum(each.task.num_tokens / each.task.num_steps for each in clocks) / max_tokens
    assert number - min(ends.values()) <= 2 * last_steps


def test_planning_costs_little_with_many_adapters() -> None:
    """57 adapters with batches of 128, as DAT's pool: a pass through the smallest base takes ten times as long."""
    clocks = typical(57, 128)
    start = time.process_time()
    number = sum(1 for _ in micro_batches(clocks, 8192))
    assert (time.process_time() - start) / number < 5e-3
