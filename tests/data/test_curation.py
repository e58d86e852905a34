"""Cleaning within the corpus stage: what reaches the files, in which order things happen, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import hexapla.data.filters.engine as engine_module
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.filters.spec import CleanSpec
from hexapla.data.spec import HELD_OUT, DataSpec
from hexapla.data.stage import Corpus, build_corpus, check_corpus, clean_versions, load_corpus, stream_rows
from tests.data.material import data_spec, numbered, write_pairs

PAIR = ("en", "de")


def build(
    spec: DataSpec, folder: Path, *, languages: tuple[str, ...] = PAIR, hubs: tuple[str, ...] = ("en",)
) -> Corpus:
    folder.mkdir()
    build_corpus(spec, languages, folder, seed=0, hubs=hubs)
    return load_corpus(folder)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spec_of(tmp_path: Path, pairs: list[tuple[str, ...]], *filters: Any, **more: Any) -> DataSpec:
    """Training pairs that are cleaned, beside a test set of their own."""
    write_pairs(tmp_path / "train", pairs)
    write_pairs(tmp_path / "news", numbered(500, 503))
    clean = {"filters": filters, "processes": 1, **more.pop("clean", {})}
    sections = {"test": [{"reader": "moses", "path": tmp_path / "news"}], **more}
    if "split" in sections:
        del sections["test"]
    return data_spec(train=[{"reader": "moses", "path": tmp_path / "train"}], clean=clean, **sections)


FAULTS = [("Taxi!", "taxi"), ("House number 1 is red.", "Haus Nummer 1 ist rot."), ("No", "Niemals " * 9)]


def test_filters_in_order_with_counts_samples_and_rejects(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        [*numbered(0, 6), *FAULTS, ("", "leer")],
        "identical",
        "length-ratio",
        "duplicates",
        clean={"rejects": True},
    )
    corpus = build(spec, tmp_path / "out")
    assert [row.id for row in corpus.train] == [f"train:{n:04d}" for n in range(6)]
    assert corpus.summary["train"]["train"] == {
        "rows": 6,
        "texts": {"de": 6, "en": 6},
        "rows_set_aside": {"empty-side": 1},
        "texts_set_aside": {},
    }
    funnel = corpus.summary["clean"]["train"]["corpora"]["train"]
    assert funnel["rows_judged"] == 9
    assert funnel["texts_judged"] == {"de": 9, "en": 9}
    assert [(entry["step"], entry["reason"], entry["rows"]) for entry in funnel["rejected"]] == [
        (0, "identical", 1),
        (1, "length-ratio", 1),
        (2, "duplicate", 1),
    ]
    assert [sum(entry["texts"].values()) + sum(entry["texts_beside"].values()) for entry in funnel["rejected"]] == [
        2,
        2,
        2,
    ]
    (samples,) = [entry for entry in corpus.summary["clean"]["train"]["samples"] if entry["reason"] == "identical"]
    assert samples["texts"] == [
        {"corpus": "train", "row": "train:0006", "language": "de", "text": "taxi", "against": {"en": "Taxi!"}}
    ]
    rejects = records(tmp_path / "out" / "rejects.jsonl")
    assert [(record["row"], record["filter"], record["row_kept"]) for record in rejects] == [
        ("train:0006", "identical", False),
        ("train:0008", "length-ratio", False),
        ("train:0007", "duplicates", False),
    ]
    assert rejects[0]["texts"] == {"en": "Taxi!", "de": "taxi"}
    assert rejects[0]["reasons"] == {"de": "identical"}
    assert check_corpus(spec, PAIR, hubs=("en",)) == corpus.summary
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_wide_row_loses_a_language_and_the_hubs_decide_which(tmp_path: Path) -> None:
    write_pairs(tmp_path / "wide", [("taxi", "taxi", "voiture"), ("a", "b", "c")], "en de fr")
    sections = {"train": [{"reader": "moses", "path": tmp_path / "wide"}]}
    spec = spec_of(tmp_path, numbered(0, 2), "identical").model_copy(
        update={"train": data_spec(**sections, split={"test": 1}).train}
    )
    languages = ("en", "de", "fr")
    of_en = build(spec, tmp_path / "en", languages=languages)
    assert list(of_en.train[0].texts) == ["en", "fr"]
    of_de = build(spec, tmp_path / "de", languages=languages, hubs=("de",))
    assert list(of_de.train[0].texts) == ["de", "fr"]


def test_all_sections_but_tests_are_cleaned_and_streamed(tmp_path: Path) -> None:
    write_pairs(tmp_path / "mono", [("Alone.", "Allein."), ("alone", "anders"), ("Three.", "Drei.")])
    write_pairs(tmp_path / "bi", [*numbered(20, 23), *numbered(20, 21)])
    write_pairs(tmp_path / "dev", [("Taxi", "Taxi"), ("Taxi", "Taxi")])
    spec = spec_of(
        tmp_path,
        [*numbered(0, 5), ("Radio", "Radio")],
        "identical",
        "duplicates",
        monolingual=[{"reader": "moses", "path": tmp_path / "mono"}],
        bilingual=[{"reader": "moses", "path": tmp_path / "bi"}],
        dev=[{"reader": "moses", "path": tmp_path / "dev"}],
    )
    corpus = build(spec, tmp_path / "out")
    assert (len(corpus.train), len(corpus.dev), len(corpus.tests["news"])) == (5, 2, 3)
    assert corpus.monolingual is not None
    assert corpus.bilingual is not None
    alone = [dict(row.texts) for row in stream_rows(corpus.monolingual)]
    assert alone == [{"en": "Alone.", "de": "Allein."}, {"de": "anders"}, {"en": "Three.", "de": "Drei."}]
    assert [row.id for row in stream_rows(corpus.bilingual)] == ["bi:0000", "bi:0001", "bi:0002"]
    assert corpus.summary["bilingual"]["bi"]["rows"] == 3
    assert corpus.summary["monolingual"]["mono"]["texts"] == {"de": 3, "en": 2}
    digest = corpus.pretraining_digest()
    (tmp_path / "bi.en").write_text("x\n" * 4, encoding="utf-8")
    assert build(spec, tmp_path / "other").pretraining_digest() != digest
    corpus.monolingual.unlink()
    with pytest.raises(CorruptArtifactError, match=r"monolingual.jsonl: This file does not exist"):
        load_corpus(tmp_path / "out")


def test_pretraining_text_is_checked_against_tests_and_held_out_rows(tmp_path: Path) -> None:
    write_pairs(tmp_path / "mono", [*numbered(500, 501), ("Three.", "Drei.")])
    sections = {"monolingual": [{"reader": "moses", "path": tmp_path / "mono"}]}
    with pytest.raises(UserError, match=r"1 of 3 rows of 'news' \(by 1 rows of mono"):
        check_corpus(spec_of(tmp_path, numbered(0, 5), "identical", **sections), PAIR)
    write_pairs(tmp_path / "train", numbered(0, 30))
    same = {"monolingual": [{"reader": "moses", "path": tmp_path / "train"}]}
    corpus = build(spec_of(tmp_path, numbered(0, 30), "identical", split={"test": 5}, **same), tmp_path / "out")
    assert corpus.monolingual is not None
    held_out = {row.id for row in corpus.tests[HELD_OUT]}
    assert len(held_out) == 5
    assert not held_out & {row.id for row in stream_rows(corpus.monolingual)}


def test_held_out_rows_do_not_depend_on_the_filters_and_stay(tmp_path: Path) -> None:
    rows = [*numbered(0, 20), *((f"Taxi {n}", f"Taxi {n}") for n in range(100, 120))]
    plain = build(spec_of(tmp_path, rows, split={"test": 10, "dev": 4}), tmp_path / "plain")
    cleaned = build(spec_of(tmp_path, rows, "identical", split={"test": 10, "dev": 4}), tmp_path / "cleaned")
    assert cleaned.tests == plain.tests
    assert cleaned.dev == plain.dev
    num_bad = sum(row.texts["en"] == row.texts["de"] for row in (*plain.tests[HELD_OUT], *plain.dev))
    held_out = cleaned.summary["clean"]["held_out"]
    assert num_bad > 0
    assert (held_out["rows"], held_out["rejected"][0]["rows"]) == (14, num_bad)
    assert not any(row.texts["en"] == row.texts["de"] for row in cleaned.train)


def test_a_row_dropped_for_a_test_sentence_does_not_take_its_duplicate_along(tmp_path: Path) -> None:
    rows = [*numbered(0, 3), ("Same source.", "Haus Nummer 500 ist rot."), ("Same source.", "Neu.")]
    spec = spec_of(tmp_path, rows, {"filter": "duplicates", "by": "source"}, contamination={"action": "drop"})
    assert build(spec, tmp_path / "out").train[-1].texts["de"] == "Neu."


def test_an_empty_corpus_says_which_filter_ate_it(tmp_path: Path) -> None:
    rows = [("Taxi", "taxi")] * 5 + [("No", "Niemals " * 9)] * 2
    with pytest.raises(UserError) as caught:
        check_corpus(spec_of(tmp_path, rows, "length-ratio", "identical"), PAIR, hubs=("en",))
    message = "left none of 7 rows of data.train. Rows taken by: identical (filter 2) 5, length-ratio (filter 1) 2."
    assert message in caught.value.paragraph()
    write_pairs(tmp_path / "french", [("Radio", "Radio")] * 3, "en fr")
    spec = spec_of(tmp_path, numbered(0, 3), "identical")
    wider = data_spec(
        train=[*spec.train, {"reader": "moses", "path": tmp_path / "french"}], test=spec.test, clean=spec.clean
    )
    with pytest.raises(UserError, match=r"no training text in: fr. Texts taken by: fr: identical \(filter 1\) 3 of 3"):
        check_corpus(wider, ("en", "de", "fr"), hubs=("en",))
    write_pairs(tmp_path / "french", [("No. " * 40, "Non"), ("", "Oui")], "fr en")
    with pytest.raises(UserError, match=r"fr. Texts taken by: fr: length-ratio \(filter 1\) 1 of 1"):
        check_corpus(
            wider.model_copy(update={"clean": CleanSpec.model_validate({"filters": ["length-ratio"]})}),
            ("en", "de", "fr"),
            hubs=("fr",),
        )
    write_pairs(tmp_path / "mono", rows)
    section = {"bilingual": [{"reader": "moses", "path": tmp_path / "mono"}]}
    with pytest.raises(UserError, match=r"none of 7 rows of data.bilingual"):
        check_corpus(spec_of(tmp_path, numbered(0, 3), "identical", "length-ratio", **section), PAIR, hubs=("en",))


@pytest.mark.parametrize("name", ["train.jsonl", "monolingual.jsonl", "rejects.jsonl"])
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path / "mono", [(f"One {n}.", f"Eins {n}.") for n in range(600)])
    section = {"monolingual": [{"reader": "moses", "path": tmp_path / "mono"}], "clean": {"rejects": True}}
    spec = spec_of(tmp_path, [*numbered(0, 400), *[("Taxi", "Taxi")] * 500], "identical", "duplicates", **section)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to("/dev/full")
    with pytest.raises(UserError, match="The disk is full"):
        build_corpus(spec, PAIR, folder, seed=0, hubs=("en",))
    assert not (folder / "summary.json").exists()


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, numbered(0, 900), "identical")
    for code in PAIR:
        path = tmp_path / f"train.{code}"
        packed = gzip.compress(path.read_bytes())
        path.unlink()
        Path(f"{path}.gz").write_bytes(packed if code == "en" else packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"train.de.gz: This is not sound gzip data"):
        check_corpus(spec, PAIR)


def test_a_few_broken_lines_are_counted_and_many_are_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, numbered(0, 10), "identical")
    lines = (tmp_path / "train.de").read_bytes().splitlines(keepends=True)
    (tmp_path / "train.de").write_bytes(b"".join([b"Stra\xdfe\n", *lines[1:]]))
    assert check_corpus(spec, PAIR)["train"]["train"]["rows_set_aside"] == {"invalid-utf8": 1}
    (tmp_path / "train.de").write_bytes(b"Stra\xdfe\n" * 6 + b"".join(lines[6:]))
    with pytest.raises(UserError, match=r"6 of 10 texts in de are not valid UTF-8.*iconv"):
        check_corpus(spec, PAIR)


def test_the_same_bytes_in_one_process_and_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CHUNK_TEXTS", 40)
    monkeypatch.setattr(engine_module, "PATIENCE_S", 0.0)
    rows = [(f"House {n % 90}", f"{'House' if n % 4 else 'Haus'} {n % 30}") for n in range(400)]
    chain = ["identical", "duplicates", "length-ratio", {"filter": "near-duplicates", "by": "source"}]
    written = []
    pools = []
    real = engine_module.ProcessPoolExecutor
    monkeypatch.setattr(
        engine_module, "ProcessPoolExecutor", lambda *given, **named: pools.append(1) or real(*given, **named)
    )
    for processes in (1, 2):
        options = {"processes": processes, "rejects": True, "samples": 3}
        build(spec_of(tmp_path, rows, *chain, clean=options), tmp_path / f"out{processes}")
        files = (tmp_path / f"out{processes}").rglob("*")
        written.append({path.name: path.read_bytes() for path in sorted(files) if path.is_file()})
    assert len(pools) == 1
    summaries = [json.loads(files.pop("summary.json")) for files in written]
    for summary in summaries:
        assert summary.pop("files")
    assert summaries[0] == summaries[1]
    assert written[0] == written[1]
    assert {record["filter"] for record in records(tmp_path / "out1" / "rejects.jsonl")} >= {"identical", "duplicates"}


def test_versions_of_the_filters_are_told(tmp_path: Path) -> None:
    assert clean_versions(None) == {}
    spec = CleanSpec.model_validate({"filters": ["identical", "duplicates", "language", "identical"]})
    versions = clean_versions(spec)
    assert set(versions) == {"engine", "1 identical", "2 duplicates", "3 language", "4 identical"}
    assert "py3langid" in versions["3 language"]
