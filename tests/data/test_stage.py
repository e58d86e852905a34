"""The corpus stage: whole corpora in, rows and summary out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.matching import exact_key, fold
from hexapla.data.rows import Row
from hexapla.data.spec import HELD_OUT, DataSpec
from hexapla.data.stage import Corpus, build_corpus, check_corpus, input_digests, load_corpus
from hexapla.languages import Direction
from tests.data.material import data_spec, numbered, write_pairs

PAIR = ("en", "de")


def build(spec: DataSpec, folder: Path, *, languages: tuple[str, ...] = PAIR, seed: int = 0) -> Corpus:
    folder.mkdir()
    build_corpus(spec, languages, folder, seed=seed)
    return load_corpus(folder)


def two_sections(tmp_path: Path, train: list[tuple[str, ...]], test: list[tuple[str, ...]], **more: Any) -> DataSpec:
    write_pairs(tmp_path / "train", train)
    write_pairs(tmp_path / "news", test)
    return data_spec(
        train=[{"reader": "moses", "path": tmp_path / "train"}],
        test=[{"reader": "moses", "path": tmp_path / "news"}],
        **more,
    )


def test_build_and_load(tmp_path: Path) -> None:
    spec = two_sections(tmp_path, [*numbered(0, 20), ("", "leer")], numbered(20, 25))
    corpus = build(spec, tmp_path / "out")
    assert [row.id for row in corpus.train[:2]] == ["train:0000", "train:0001"]
    assert len(corpus.train) == 20
    assert corpus.dev == []
    assert list(corpus.tests) == ["news"]
    assert corpus.tests["news"][0] == Row(
        "news:0000", {"en": "House number 20 is red.", "de": "Haus Nummer 20 ist rot."}, "news"
    )
    summary = corpus.summary
    assert summary["train"]["train"] == {
        "rows": 20,
        "texts": {"de": 20, "en": 20},
        "rows_set_aside": {"empty-side": 1},
        "texts_set_aside": {},
    }
    source = tmp_path / "train.en"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert summary["files"][str(source)] == {"sha256": digest, "lines": 21, "bytes": source.stat().st_size}
    assert summary["directions_without_test"] == []
    aside = [
        json.loads(line) for line in (tmp_path / "out" / "set-aside.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert aside == [
        {"corpus": "train", "line": 21, "reason": "empty-side", "language": "en", "row_kept": False, "text": ""}
    ]


def test_check_gives_the_same_summary_and_writes_nothing(tmp_path: Path) -> None:
    spec = two_sections(tmp_path, numbered(0, 20), numbered(20, 25))
    before = sorted(tmp_path.rglob("*"))
    summary = check_corpus(spec, PAIR)
    assert sorted(tmp_path.rglob("*")) == before
    assert summary == build(spec, tmp_path / "out").summary


def test_languages_without_training_or_test_rows(tmp_path: Path) -> None:
    spec = two_sections(tmp_path, numbered(0, 5), numbered(5, 8))
    with pytest.raises(UserError, match="No training corpus has a row in: fr"):
        check_corpus(spec, ("en", "de", "fr"))
    write_pairs(tmp_path / "french", [("House.", "Maison.")], "en fr")
    wider = data_spec(train=[*spec.train, {"reader": "moses", "path": tmp_path / "french"}], test=spec.test)
    untested = check_corpus(wider, ("en", "de", "fr"))["directions_without_test"]
    assert untested == ["en-fr", "de-fr", "fr-en", "fr-de"]
    of_recipe = (Direction("en", "fr"), Direction("en", "de"))
    assert check_corpus(wider, ("en", "de", "fr"), directions=of_recipe)["directions_without_test"] == ["en-fr"]


def test_rows_keep_only_the_recipes_languages(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", [(f"a{n}", f"b{n}", f"c{n}") for n in range(9)], "en de fr")
    spec = data_spec(train=[{"reader": "moses", "path": tmp_path / "x"}], split={"test": 2})
    corpus = build(spec, tmp_path / "out")
    assert {code for row in (*corpus.train, *corpus.tests[HELD_OUT]) for code in row.texts} == {"en", "de"}


def test_contamination_is_refused_dropped_or_allowed(tmp_path: Path) -> None:
    train, test = numbered(0, 10), [("HOUSE number 3 is red", "Anders."), *numbered(20, 22)]
    with pytest.raises(UserError, match=r"1 of 3 rows of 'news' \(by 1 rows of train"):
        check_corpus(two_sections(tmp_path, train, test), PAIR)
    dropped = build(two_sections(tmp_path, train, test, contamination={"action": "drop"}), tmp_path / "dropped")
    assert [row.id for row in dropped.train] == [f"train:{n:04d}" for n in range(10) if n != 3]
    assert dropped.summary["train"]["train"]["rows_set_aside"] == {"in-test": 1}
    line = json.loads((tmp_path / "dropped" / "set-aside.jsonl").read_text(encoding="utf-8"))
    assert (line["line"], line["reason"]) == (4, "in-test")
    for action in ("refuse", "drop"):
        spec = two_sections(tmp_path, train, test, contamination={"action": action, "allow": ["news"]})
        allowed = build(spec, tmp_path / f"allowed-{action}")
        assert len(allowed.train) == 10
        assert allowed.summary["contamination"]["found"]["news"]["exact"] == {"en": 1}


def test_development_rows_are_checked_too(tmp_path: Path) -> None:
    write_pairs(tmp_path / "dev", numbered(20, 21))
    spec = two_sections(tmp_path, numbered(0, 5), numbered(20, 22))
    with pytest.raises(UserError, match="rows of dev"):
        check_corpus(
            data_spec(train=spec.train, test=spec.test, dev=[{"reader": "moses", "path": tmp_path / "dev"}]), PAIR
        )


def test_overlapping_slices_are_caught(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", numbered(0, 30))
    corpus = {"reader": "moses", "path": tmp_path / "x"}
    with pytest.raises(UserError, match="2 of 12 rows of 'x'"):
        check_corpus(data_spec(train=[{**corpus, "rows": "0:20"}], test=[{**corpus, "rows": "18:"}]), PAIR)
    check_corpus(data_spec(train=[{**corpus, "rows": "0:20"}], test=[{**corpus, "rows": "20:"}]), PAIR)


def split_spec(prefix: Path, dev: int, test: int) -> DataSpec:
    return data_spec(train=[{"reader": "moses", "path": prefix}], split={"dev": dev, "test": test})


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(*[st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"])] * 2), min_size=12, max_size=40
    ),
    num_dev=st.integers(0, 3),
    num_test=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_no_held_out_sentence_in_any_language_is_trained_on(
    pairs: list[tuple[str, str]], num_dev: int, num_test: int, seed: int
) -> None:
    unique = [(f"{a} {n}", f"{b}. {n}") for n, (a, b) in enumerate(pairs)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "x", pairs + unique)
        corpus = build(split_spec(folder / "x", num_dev, num_test), folder / "out", seed=seed)
    assert len(corpus.tests[HELD_OUT]) == num_test
    kept_apart = [corpus.train, corpus.dev, corpus.tests[HELD_OUT]]
    for position, rows in enumerate(kept_apart):
        for others in kept_apart[position + 1 :]:
            assert not {row.id for row in rows} & {row.id for row in others}
            assert not _sentences(rows) & _sentences(others)


def _sentences(rows: list[Row]) -> set[tuple[str, str]]:
    return {(code, exact_key(fold(text))) for row in rows for code, text in row.texts.items()}


def test_split_depends_on_seed_but_not_on_other_rows_or_dev(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", numbered(0, 60))

    def test_ids(name: str, dev: int, seed: int) -> list[str]:
        return [
            row.id for row in build(split_spec(tmp_path / "x", dev, 10), tmp_path / name, seed=seed).tests[HELD_OUT]
        ]

    first = test_ids("a", 0, 0)
    assert first == sorted(first)
    assert test_ids("b", 5, 0) == first
    assert test_ids("c", 0, 1) != first
    write_pairs(tmp_path / "x", numbered(0, 70))
    assert len(set(test_ids("d", 0, 0)) & set(first)) >= 7


def test_a_clean_split_loses_nothing(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", numbered(0, 60))
    corpus = build(split_spec(tmp_path / "x", 5, 10), tmp_path / "out")
    assert (len(corpus.train), len(corpus.dev), len(corpus.tests[HELD_OUT])) == (45, 5, 10)
    assert corpus.summary["train"]["x"]["rows_set_aside"] == {}
    assert corpus.summary["contamination"]["found"][HELD_OUT]["rows_concerned"] == 0


def test_split_needs_enough_rows(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", numbered(0, 10))
    with pytest.raises(UserError, match="10 rows are to be held out, but the training corpora have only 10"):
        check_corpus(split_spec(tmp_path / "x", 5, 5), PAIR)


def test_input_digests_follow_the_bytes(tmp_path: Path) -> None:
    spec = two_sections(tmp_path, numbered(0, 5), numbered(5, 8))
    before = input_digests(spec, PAIR)
    assert set(before) == {str(tmp_path / f"{name}.{code}") for name in ("train", "news") for code in PAIR}
    (tmp_path / "train.de").write_text("anders\n" * 5, encoding="utf-8")
    changed = input_digests(spec, PAIR)
    assert [path for path in before if before[path] != changed[path]] == [str(tmp_path / "train.de")]
    (tmp_path / "news.de").unlink()
    with pytest.raises(UserError, match="no file for de"):
        input_digests(spec, PAIR)


def test_damaged_artifact_is_named(tmp_path: Path) -> None:
    build(two_sections(tmp_path, numbered(0, 5), numbered(5, 8)), tmp_path / "out")
    (tmp_path / "out" / "train.jsonl").write_text('{"id": "x"}\n', encoding="utf-8")
    with pytest.raises(CorruptArtifactError, match=r"train.jsonl: This is not a file of rows"):
        load_corpus(tmp_path / "out")
    (tmp_path / "out" / "test" / "news.jsonl").unlink()
    (tmp_path / "out" / "train.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(CorruptArtifactError, match=r"news.jsonl: This file does not exist"):
        load_corpus(tmp_path / "out")


def test_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", [*numbered(0, 60), *numbered(0, 10)])
    code = (
        "import sys; from pathlib import Path; from hexapla.data.stage import build_corpus; "
        "from tests.data.test_stage import split_spec; folder = Path(sys.argv[2]); folder.mkdir(); "
        "build_corpus(split_spec(Path(sys.argv[1]), 5, 10), ('en', 'de'), folder, seed=3)"
    )
    written = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / f"out{hash_seed}"
        command = [sys.executable, "-c", code, str(tmp_path / "x"), str(folder)]
        subprocess.run(
            command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=Path(__file__).parents[2]
        )
        written.append({str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
    assert set(written[0]) == {"train.jsonl", "dev.jsonl", "test/held-out.jsonl", "set-aside.jsonl", "summary.json"}
    assert written[0] == written[1]
