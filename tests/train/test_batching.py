"""Order, splitting and layout of batches."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

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
