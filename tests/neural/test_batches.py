"""Batches of sequences, and batches beside each other."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hexapla.neural.batches import batches, computed, num_workers


@given(lengths=st.lists(st.integers(1, 50)), budget=st.integers(1, 200), multiple=st.integers(1, 5))
def test_batches_hold_every_sequence_within_the_budget(lengths: list[int], budget: int, multiple: int) -> None:
    found = batches(lengths, budget, multiple)
    assert sorted(number for batch in found for number in batch) == list(range(len(lengths)))
    for batch in found:
        assert sum(lengths[number] for number in batch) < budget + max(lengths[number] for number in batch)
    in_order = [lengths[number] for batch in found for number in batch]
    assert in_order == sorted(in_order, reverse=True)


def test_so_many_batches_that_all_workers_end_together() -> None:
    found = batches([10] * 25, 100, 2)
    assert [len(batch) for batch in found] == [7, 6, 6, 6]
    assert [len(batch) for batch in batches([10] * 25, 100)] == [9, 8, 8]
    assert batches([5], 100, 4) == [[0]]
    assert batches([], 100, 4) == []


@pytest.mark.usefixtures("three_threads")
def test_workers_share_the_threads_of_torch() -> None:
    met = threading.Barrier(2)

    def compute(item: int) -> tuple[int, int, str]:
        met.wait(timeout=60)  # fails unless two compute at once
        return item * item, torch.get_num_threads(), threading.current_thread().name

    found = dict(computed(compute, [1, 2, 3, 4], 2))
    assert {item: square for item, (square, _, _) in found.items()} == {1: 1, 2: 4, 3: 9, 4: 16}
    assert {threads for _, threads, _ in found.values()} == {1}
    assert len({name for _, _, name in found.values()}) == 2
    assert torch.get_num_threads() == 3
    assert list(computed(lambda _: torch.get_num_threads(), [7], 2)) == [(7, 3)]  # one item has all of them
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [3]


@pytest.mark.usefixtures("three_threads")
def test_a_workers_error_is_the_callers() -> None:
    def compute(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    with pytest.raises(ValueError, match="two"):
        list(computed(compute, list(range(50)), 3))
    assert torch.get_num_threads() == 3


def test_a_gpu_has_one_worker() -> None:
    assert num_workers(torch.device("cuda")) == 1
    assert 1 <= num_workers(torch.device("cpu")) <= 8
