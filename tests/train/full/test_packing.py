"""Packed documents: what is learned of them, where they lie, and that none sees another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hexapla.base import Base, load_model
from hexapla.train.full.batches import UNLEARNED
from hexapla.train.full.layout import lay_out
from hexapla.train.full.model import PackedModel
from hexapla.train.full.packing import document_lengths, join_documents

LENGTHS = (17, 2, 9, 1, 30)


def _documents(seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(3, 384, length) for length in LENGTHS]


def test_documents_follow_each_other_with_positions_of_their_own() -> None:
    documents = [np.array([7, 8, 9]), np.array([4, 5])]
    joined = join_documents(documents, [2, 0], [1, 0])
    assert joined.ids.tolist() == [7, 8, 9, 4, 5]
    assert joined.labels.tolist() == [UNLEARNED, UNLEARNED, 9, UNLEARNED, 5]
    assert joined.positions.tolist() == [0, 1, 2, 0, 1]
    assert joined.sources.tolist() == [1, 1, 1, 0, 0]
    assert (joined.ids.dtype, joined.labels.dtype) == (np.int32, np.int32)
    assert (joined.positions.dtype, joined.sources.dtype) == (np.int32, np.int16)


def test_the_lengths_of_documents_are_read_from_their_positions() -> None:
    joined = join_documents(_documents(), [1] * 5, [0] * 5)
    assert document_lengths(joined.positions).tolist() == list(LENGTHS)


def _alone(model: Any, documents: list[np.ndarray]) -> torch.Tensor:
    """−log p of every token but the first of every document, each through the model by itself."""
    parts = []
    for document in documents:
        ids = torch.tensor(document)[None]
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        parts.append(-scores.gather(1, ids[0, 1:, None])[:, 0])
    return torch.cat(parts)


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma"])
def test_no_document_sees_another(architecture: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(f"{architecture}_base")
    documents = _documents()
    alone = _alone(_model(folder), documents)
    packed = PackedModel(_model(folder))
    sequences = [join_documents(part, [1] * len(part), [0] * len(part)) for part in (documents[:3], documents[3:])]
    with torch.no_grad():
        together = packed(lay_out(sequences))
    assert torch.allclose(together, alone, rtol=0, atol=1e-5)
    others = [_documents(seed=1)[0], *documents[1:3]]
    with torch.no_grad():
        beside = packed(lay_out([join_documents(others, [1] * 3, [0] * 3), sequences[1]]))
    assert torch.equal(beside[16:], together[16:])
    assert not torch.allclose(beside[:16], together[:16], atol=1e-2)


def _model(folder: Path) -> Any:
    return load_model(Base(str(folder)), device=torch.device("cpu"), dtype=torch.float32)
