"""The phrasebook's corpus: size, splits, determinism, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from hexapla.common.errors import UserError
from hexapla.phrasebook.corpus import ROWS_PER_FRAME, SPLITS, rows, sampled
from hexapla.phrasebook.language import load
from hexapla.phrasebook.meanings import Meaning, inventory
from hexapla.phrasebook.show import main, samples


def test_size_and_shares() -> None:
    placed = Counter(split for _, _, split in sampled())
    total = sum(placed.values())
    assert total >= 8500
    for split, share in {"pretrain": 0.55, "train": 0.25, "dev": 0.05, "test": 0.15}.items():
        assert placed[split] / total == pytest.approx(share, abs=0.015)
    assert max(Counter(meaning.frame for meaning, _, _ in sampled()).values()) <= ROWS_PER_FRAME
    assert sum(1 for frame in inventory().frames.values() for _ in inventory().meanings(frame)) > 12_000


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_disjoint_and_tests_combine_known_words(seed: int) -> None:
    concepts: dict[str, set[tuple[str, str]]] = {split: set() for split in SPLITS}
    seen: set[str] = set()
    for meaning, _, split in sampled(seed):
        assert meaning.id not in seen
        seen.add(meaning.id)
        kinds = inventory().frames[meaning.frame].kinds
        concepts[split] |= {(kinds[slot], concept) for slot, concept in meaning.fillers.items()}
    known = concepts["pretrain"] | concepts["train"]
    assert concepts["test"] | concepts["dev"] <= known
    assert known == {(kind, concept) for kind, entries in inventory().concepts.items() for concept in entries}


def test_a_concept_seen_only_in_tests_moves_its_row_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hexapla.phrasebook.corpus.ROWS_PER_FRAME", 3)
    concepts: dict[str, set[str]] = {split: set() for split in SPLITS}
    for meaning, _, split in sampled.__wrapped__(0):
        kinds = inventory().frames[meaning.frame].kinds
        concepts[split] |= {f"{kinds[slot]} {concept}" for slot, concept in meaning.fillers.items()} | {meaning.frame}
    assert concepts["test"] | concepts["dev"] <= concepts["pretrain"] | concepts["train"]


def test_a_seed_chooses_rows_and_splits() -> None:
    assert {m.id for m, _, _ in sampled(0)} != {m.id for m, _, _ in sampled(1)}
    splits = [{meaning.id: split for meaning, _, split in sampled(seed)} for seed in (0, 1)]
    common = splits[0].keys() & splits[1].keys()
    assert any(splits[0][name] != splits[1][name] for name in common)


def test_the_same_in_another_process() -> None:
    code = (
        "import hashlib; from hexapla.phrasebook.corpus import rows;"
        "print(hashlib.sha256(repr([(r.id, r.texts) for r in rows('test', ['en', 'de'])]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_row() -> None:
    row = next(row for split in SPLITS for row in rows(split, ["en", "cs"]) if row.id == "phrasebook:order:two+coffee")
    assert (row.domain, row.frame) == ("shopping", "order")
    assert row.texts == {"en": "Two coffees, please.", "cs": "Dvě kávy, prosím."}


def test_the_rows_do_not_depend_on_the_languages() -> None:
    assert [row.id for row in rows("dev", ["en"])] == [row.id for row in rows("dev")]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="'test'"):
        rows("tset")
    with pytest.raises(UserError, match="no language 'xx'"):
        rows("test", ["xx"])
    with pytest.raises(UserError, match="missing for phrasebook:order"):
        load("en").realize(Meaning("order", {"number": "two", "order": "gold"}))


def test_show_covers_every_filler(capsys: pytest.CaptureFixture[str]) -> None:
    frame = inventory().frames["goes"]
    shown = {pair for meaning in samples("goes", 99) for pair in meaning.fillers.items()}
    assert shown == {(slot, concept) for slot, concepts in frame.candidates.items() for concept in concepts}
    assert main(["de", "--frame", "order", "--limit", "2"]) == 0
    assert "Einen Kaffee, bitte." in capsys.readouterr().out
