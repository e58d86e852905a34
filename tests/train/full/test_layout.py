"""Micro-batches hold every learned token once, whoever sends them through the model."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hexapla.train.full.batches import PackedSequence
from hexapla.train.full.layout import lay_out, micro_batches, step_works
from hexapla.train.full.packing import join_documents

_DOCUMENT = st.tuples(st.integers(1, 12), st.integers(0, 5), st.integers(0, 2))  # tokens, prompt, source
_SEQUENCES = st.lists(st.lists(_DOCUMENT, min_size=1, max_size=4), min_size=1, max_size=9)


class _OneStep:
    """Batches of a single step."""

    sources: tuple[str, ...] = ("a", "b", "c")

    def __init__(self, sequences: list[PackedSequence]) -> None:
        self._sequences = sequences

    def __len__(self) -> int:
        return 1

    def __getitem__(self, step: int) -> list[PackedSequence]:
        return self._sequences

    def digest(self) -> str:
        return ""


def _make(shapes: list[list[tuple[int, int, int]]]) -> list[PackedSequence]:
    """Sequences of distinct tokens, each with one document of two learned tokens at least."""
    first, made = 0, []
    for shape in shapes:
        documents, prompts, sources = [], [], []
        for num_tokens, prompt, source in [*shape, (3, 1, 0)]:
            documents.append(np.arange(first, first + num_tokens))
            first += num_tokens
            prompts.append(prompt)
            sources.append(source)
        made.append(join_documents(documents, prompts, sources))
    return made


def _expected(shapes: list[list[tuple[int, int, int]]]) -> Counter[tuple[int, int, int]]:
    """Every learned token with its predecessor and its source."""
    first, pairs = 0, Counter[tuple[int, int, int]]()
    for shape in shapes:
        for num_tokens, prompt, source in [*shape, (3, 1, 0)]:
            pairs.update((token - 1, token, source) for token in range(first + max(prompt, 1), first + num_tokens))
            first += num_tokens
    return pairs


@given(_SEQUENCES, st.integers(1, 40), st.integers(1, 4))
def test_every_learned_token_once_over_all_processes(
    shapes: list[list[tuple[int, int, int]]], max_tokens: int, num_ranks: int
) -> None:
    batches = _OneStep(_make(shapes))
    found: Counter[tuple[int, int, int]] = Counter()
    passes = set()
    for rank in range(num_ranks):
        (work,) = step_works(batches, first=0, max_tokens=max_tokens, rank=rank, num_ranks=num_ranks)
        passes.add(len(work.micro_batches))
        for batch in work.micro_batches[: work.num_real]:
            before = batch.input_ids[batch.predictors]
            found.update(zip(before.tolist(), batch.targets.tolist(), batch.sources.tolist(), strict=True))
    assert found == _expected(shapes)
    assert len(passes) == 1
    assert work.num_learned.tolist() == [sum(n for (_, _, s), n in found.items() if s == each) for each in range(3)]
    assert work.num_input_tokens == sum(num - 1 for shape in shapes for num, _, _ in [*shape, (3, 1, 0)])


@given(_SEQUENCES, st.integers(1, 40))
def test_micro_batches_keep_to_their_size(shapes: list[list[tuple[int, int, int]]], max_tokens: int) -> None:
    parts = micro_batches(_make(shapes), max_tokens)
    assert sum(len(part) for part in parts) == len(shapes)
    assert all(len(part) == 1 or sum(len(each.ids) for each in part) <= max_tokens for part in parts)


def test_a_document_goes_without_its_last_token() -> None:
    batch = lay_out([join_documents([np.array([5, 6, 7]), np.array([8]), np.array([9, 4])], [2, 1, 1], [0, 0, 1])])
    assert batch.input_ids.tolist() == [5, 6, 9]
    assert batch.position_ids.tolist() == [0, 1, 0]
    assert (batch.predictors.tolist(), batch.targets.tolist(), batch.sources.tolist()) == ([1, 2], [7, 4], [0, 1])
    assert batch.layout.cumulative.tolist() == [0, 2, 3]
