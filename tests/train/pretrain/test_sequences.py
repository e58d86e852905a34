"""Packed sequences and the steps made of them: nothing lost, no pair cut, and the same wherever they are entered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.base import Base, load_tokenizer
from hexapla.common.errors import UserError
from hexapla.data.mixing import MixSpec
from hexapla.train.full.batches import UNLEARNED, Batches
from hexapla.train.pretrain import sequences as module
from hexapla.train.pretrain.batches import PretrainBatches, prepare_batches
from hexapla.train.pretrain.sequences import WINDOW, Packer, Piece, Sequences, build_sequences
from hexapla.train.pretrain.spec import PretrainSpec
from hexapla.train.pretrain.store import TokenStore, build_store
from tests.train.pretrain.material import pretrain_text

EVEN = MixSpec(weights={"monolingual": 1, "en": 1, "zh": 1})
LENGTH = 128


@pytest.fixture(scope="module")
def store(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    folder = tmp_path_factory.mktemp("store")
    tokenizer = load_tokenizer(Base(str(qwen3_base)))
    return build_store(folder / "work", tokenizer, pretrain_text(folder), length=LENGTH, seed=5)


def _build(folder: Path, store: TokenStore, mix: MixSpec = EVEN, tokens: int | None = None, seed: int = 3) -> Sequences:
    return build_sequences(folder, store, mix, tokens=tokens, length=LENGTH, seed=seed)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(2, 64)), max_size=200), st.integers(64, 90))
def test_packing_loses_nothing_cuts_only_what_may_be_cut_and_keeps_nobody_waiting(
    documents: list[tuple[int, int]], length: int
) -> None:
    starts = np.cumsum([0, *[num_tokens for _, num_tokens in documents]])
    pieces = [Piece(source, size, int(start)) for (source, size), start in zip(documents, starts, strict=False)]
    left = [pieces[:50], pieces[50:]]
    packer = Packer(length, lambda: left.pop(0) if left else [], cut=frozenset({0}))
    packed: list[list[Piece]] = []
    while sequence := packer.next_sequence():
        assert sum(piece.num_tokens for piece in sequence) <= length
        seen = [piece for each in [*packed, sequence] for piece in each]
        last = max(piece.start for piece in seen)
        passed_over = [piece for piece in pieces if piece.start < last and piece.start not in {s.start for s in seen}]
        assert len(passed_over) <= WINDOW
        packed.append(sequence)
    flat = sorted((piece for sequence in packed for piece in sequence), key=lambda piece: piece.start)
    covered = np.zeros(starts[-1], dtype=int)
    for piece in flat:
        covered[piece.start : piece.start + piece.num_tokens] += 1
    assert (covered == 1).all()
    assert [piece for piece in flat if piece.source] == [piece for piece in pieces if piece.source]
    assert all(piece.num_tokens >= length // 8 or piece in pieces for piece in flat)


def test_sequences_are_full_and_follow_the_mix_all_along(tmp_path: Path, store: TokenStore) -> None:
    sequences = _build(tmp_path, store, tokens=60_000)
    manifest = sequences.manifest
    assert manifest["fill"] > 0.95  # of 128 tokens; of more, more
    assert 60_000 <= manifest["tokens"] < 60_000 + LENGTH
    assert manifest["tokens"] == sum(record["tokens"] for record in manifest["mix"])
    by_source = np.zeros((len(sequences), 3))
    for index in range(len(sequences)):
        pieces = sequences.pieces_of(index)
        by_source[index] = np.bincount(pieces["source"], pieces["num_tokens"], minlength=3)
    running = by_source.cumsum(axis=0)
    off = running - running.sum(axis=1, keepdims=True) / 3
    assert np.abs(off).max() <= LENGTH * (WINDOW + 1)
    assert np.abs(off[-1]).max() < 0.03 * 60_000


def test_without_a_budget_every_document_is_seen(tmp_path: Path, store: TokenStore) -> None:
    sequences = _build(tmp_path, store, MixSpec(exhaustion="drop"))
    for index, source in enumerate(store.sources):
        covered = np.zeros(source.num_tokens, dtype=int)
        for piece in sequences.pieces[sequences.pieces["source"] == index]:
            covered[piece["start"] : piece["start"] + piece["num_tokens"]] += 1
        assert (covered == 1).all()
    assert [record["passes"] for record in sequences.manifest["mix"]] == [1, 1, 1]
    repeated = _build(tmp_path, store, MixSpec(weights={"monolingual": 1, "en": 1, "zh": 0}))
    passes = {record["source"]: record["passes"] for record in repeated.manifest["mix"]}
    assert min(passes["monolingual"], passes["en"]) == pytest.approx(1, abs=0.02)
    assert max(passes.values()) > 1
    assert passes["zh"] == 0


def test_killed_at_any_commit_the_sequences_come_out_the_same(
    tmp_path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _build(tmp_path / "whole", store, tokens=40_000)
    monkeypatch.setattr(module, "_COMMIT_PIECES", 40)
    monkeypatch.setattr(module, "_DRAW", 50)
    write, calls = module.append_synced, 0

    def dying(path: Path, array: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        write(path, array)
        if calls % 7 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "append_synced", dying)
    for _ in range(60):
        try:
            resumed = _build(tmp_path / "killed", store, tokens=40_000)
            break
        except KeyboardInterrupt:
            continue
    assert calls > 14
    assert np.array_equal(resumed.pieces, whole.pieces)
    assert np.array_equal(resumed.ends, whole.ends)
    assert resumed.manifest == whole.manifest


def test_what_decides_the_sequences_is_in_their_digest(tmp_path: Path, store: TokenStore) -> None:
    digests = {
        _build(tmp_path, store, mix, tokens, seed).digest
        for mix, tokens, seed in [
            (EVEN, 20_000, 3),
            (EVEN, 20_000, 4),
            (EVEN, 20_001, 3),
            (MixSpec(weights={"monolingual": 1, "en": 1, "zh": 2}), 20_000, 3),
        ]
    }
    assert len(digests) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_a_source_without_text_is_refused_with_its_place_in_the_recipe(tmp_path: Path, qwen3_base: Path) -> None:
    text = pretrain_text(tmp_path, num_texts=0)
    spec = PretrainSpec(mix=EVEN, length=LENGTH)
    with pytest.raises(UserError, match=r"pretrain\.mix\.weights\.monolingual: .* holds nothing"):
        prepare_batches(tmp_path / "work", load_tokenizer(Base(str(qwen3_base))), spec, text, seed=1)


def _batches(folder: Path, base: Path, **changes: object) -> PretrainBatches:
    spec = PretrainSpec.model_validate({"mix": EVEN, "length": LENGTH, "batch": 4, "tokens": 20_000, **changes})
    folder.mkdir(exist_ok=True)
    return prepare_batches(folder / "work", load_tokenizer(Base(str(base))), spec, pretrain_text(folder), seed=2)


def test_steps_hold_every_sequence_once_and_are_entered_anywhere(tmp_path: Path, qwen3_base: Path) -> None:
    batches: Batches = _batches(tmp_path, qwen3_base)
    assert batches.sources == ("monolingual", "en", "zh")
    num_sequences = _batches(tmp_path, qwen3_base).report["sequences"]
    assert len(batches) == -(-num_sequences // 4)
    sizes = [len(batches[step]) for step in range(len(batches))]
    assert sizes == [4] * (len(batches) - 1) + [num_sequences - 4 * (len(batches) - 1)]
    again = _batches(tmp_path, qwen3_base)
    for left, right in zip(again[17], batches[17], strict=True):
        assert np.array_equal(left.ids, right.ids)
    with pytest.raises(IndexError):
        batches[len(batches)]
    assert again.digest() == batches.digest()
    assert _batches(tmp_path, qwen3_base, batch=5).digest() != batches.digest()
    assert _batches(tmp_path, qwen3_base, tokens=21_000).digest() != batches.digest()


def test_every_token_but_the_first_of_its_document_is_learned(tmp_path: Path, qwen3_base: Path) -> None:
    tokenizer = load_tokenizer(Base(str(qwen3_base)))
    batches = _batches(tmp_path, qwen3_base)
    for sequence in batches[3]:
        first = sequence.positions == 0
        assert first[0]
        assert len(sequence.ids) <= LENGTH
        assert (sequence.labels[first] == UNLEARNED).all()
        assert np.array_equal(sequence.labels[~first], sequence.ids[~first])
        assert (np.diff(sequence.positions)[~first[1:]] == 1).all()
        for ids, sources in zip(
            np.split(sequence.ids, np.flatnonzero(first)[1:]),
            np.split(sequence.sources, np.flatnonzero(first)[1:]),
            strict=True,
        ):
            assert len(set(sources.tolist())) == 1
            if sources[0]:
                hub = batches.sources[sources[0]]
                text = tokenizer.decode(ids)
                assert text.startswith("<")
                assert hub in text.split(">")[0]
                assert text.endswith("<eos>")
