"""The corpus stage: reads every corpus, splits, checks for test sentences in training, writes rows and a summary."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from hexapla.common import artifacts
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.cleaning import rows_of
from hexapla.data.contamination import TestIndex, refuse
from hexapla.data.parallel import count_lines
from hexapla.data.readers.base import Reader
from hexapla.data.records import Reason, SetAside
from hexapla.data.rows import Row
from hexapla.data.spec import HELD_OUT, HELD_OUT_DEV, DataSpec
from hexapla.data.splits import HeldOut, hold_out
from hexapla.languages import Direction

TRAIN_FILE, DEV_FILE, TEST_FOLDER = "train.jsonl", "dev.jsonl", "test"
SET_ASIDE_FILE, SUMMARY_FILE = "set-aside.jsonl", "summary.json"


@dataclass(frozen=True)
class Corpus:
    """A built corpus. `summary` holds counts, reasons, the contamination report and the source files' digests."""

    train: list[Row]
    dev: list[Row]
    tests: dict[str, list[Row]]
    summary: dict[str, Any]


def build_corpus(
    spec: DataSpec,
    languages: tuple[str, ...],
    folder: Path,
    *,
    seed: int,
    directions: Iterable[Direction] | None = None,
) -> None:
    """Write train.jsonl, dev.jsonl, test/NAME.jsonl, set-aside.jsonl and summary.json into an existing folder.

    Training rows are streamed; test and development rows are held in memory. The folder becomes visible as a whole only
    through its caller (`artifacts.new_artifact`).

    Args:
        languages: canonical codes; rows keep only these and need at least two of them.
        directions: those that matter for `directions_without_test` in the summary; None: all between the languages.

    Raises:
        UserError: a corpus cannot be used or is empty, a language has no training row, or test sentences occur in
            training.
    """
    with _FolderSink(folder) as sink:
        summary = _process(spec, languages, seed, directions, sink)
    artifacts.write_json(folder / SUMMARY_FILE, summary)


def check_corpus(
    spec: DataSpec, languages: tuple[str, ...], *, seed: int = 0, directions: Iterable[Direction] | None = None
) -> dict[str, Any]:
    """Everything that `build_corpus` does and refuses, but nothing is written; returns the summary."""
    return _process(spec, languages, seed, directions, _NoSink())


def load_corpus(folder: Path) -> Corpus:
    """Read what `build_corpus` wrote.

    Raises:
        CorruptArtifactError: a file is missing or damaged.
    """
    summary = artifacts.read_json(folder / SUMMARY_FILE)
    return Corpus(
        _read_rows(folder / TRAIN_FILE),
        _read_rows(folder / DEV_FILE),
        {name: _read_rows(folder / TEST_FOLDER / f"{name}.jsonl") for name in summary["test"]},
        summary,
    )


def read_corpus_rows(reader: Reader, languages: tuple[str, ...]) -> list[Row]:
    """The rows of one corpus; what must be set aside is left out.

    Raises:
        UserError: the corpus cannot be used or is empty.
    """
    return [item for _, item in rows_of(reader, languages) if isinstance(item, Row)]


def read_training_rows(spec: DataSpec, languages: tuple[str, ...], *, seed: int) -> list[Row]:
    """The training rows before the check against the tests: what planning counts.

    Raises:
        UserError: as `read_corpus_rows`.
    """
    held_out = hold_out(spec, languages, seed=seed).ids
    return [row for reader in spec.train for row in read_corpus_rows(reader, languages) if row.id not in held_out]


def input_digests(spec: DataSpec, languages: tuple[str, ...]) -> dict[str, str]:
    """What decides the corpus besides the recipe: path → sha256 of its bytes, other sources → version or checksum.

    Raises:
        UserError: a file is missing.
    """
    digests: dict[str, str] = {}
    for reader in spec.readers:
        digests.update(reader.fingerprint())
    return digests | {str(path): artifacts.digest_file(path) for path in _files(spec, languages)}


class _NoSink:
    """Takes rows and forgets them."""

    def row(self, file: str, row: Row) -> None:
        """Forget a row."""

    def aside(self, aside: SetAside) -> None:
        """Forget what was set aside."""


class _FolderSink(_NoSink):
    """Writes rows and set-asides as they come; train.jsonl, dev.jsonl and set-aside.jsonl exist even when empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = contextlib.ExitStack()
        self._files: dict[str, TextIO] = {}

    def __enter__(self) -> _FolderSink:
        (self._folder / TEST_FOLDER).mkdir(parents=True, exist_ok=True)
        for name in (TRAIN_FILE, DEV_FILE, SET_ASIDE_FILE):
            self._file(name)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def row(self, file: str, row: Row) -> None:
        """Append a row."""
        self._file(file).write(json.dumps(row.to_record(), ensure_ascii=False) + "\n")

    def aside(self, aside: SetAside) -> None:
        """Append to set-aside.jsonl."""
        self._file(SET_ASIDE_FILE).write(json.dumps(aside.to_record(), ensure_ascii=False) + "\n")

    def _file(self, name: str) -> TextIO:
        if name not in self._files:
            path = self._folder / name
            self._files[name] = self._open.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        return self._files[name]


@dataclass
class _Tally:
    """Counts of one corpus in one section."""

    rows: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    rows_set_aside: Counter[str] = field(default_factory=Counter)
    texts_set_aside: Counter[str] = field(default_factory=Counter)

    def add_row(self, row: Row) -> None:
        self.rows += 1
        self.texts.update(row.texts.keys())

    def add_aside(self, aside: SetAside) -> None:
        (self.texts_set_aside if aside.row_kept else self.rows_set_aside)[aside.reason.value] += 1

    def to_record(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "texts": dict(sorted(self.texts.items())),
            "rows_set_aside": dict(sorted(self.rows_set_aside.items())),
            "texts_set_aside": dict(sorted(self.texts_set_aside.items())),
        }


def _process(
    spec: DataSpec, languages: tuple[str, ...], seed: int, directions: Iterable[Direction] | None, sink: _NoSink
) -> dict[str, Any]:
    files = _files(spec, languages)
    held_out = hold_out(spec, languages, seed=seed)
    tests, test_tallies = _read_tests(spec, languages, held_out, sink)
    guarded = tests | ({HELD_OUT_DEV: held_out.dev} if held_out.dev else {})
    index = TestIndex(spec.contamination, guarded)
    dropping = _dropping(spec, guarded)
    dev = _pass_through(spec.dev, DEV_FILE, languages, index, dropping, frozenset(), sink)
    if held_out.dev:
        dev = {HELD_OUT_DEV: _held_out_dev(held_out.dev, index, dropping, sink)}
    train = _pass_through(spec.train, TRAIN_FILE, languages, index, dropping, held_out.ids, sink)
    report = index.report()
    refuse(report, [name for name in guarded if name not in dropping and name not in spec.contamination.allow])
    _require_languages(train, languages)
    return {
        "languages": list(languages),
        "train": {name: tally.to_record() for name, tally in train.items()},
        "dev": {name: tally.to_record() for name, tally in dev.items()},
        "test": {name: tally.to_record() for name, tally in test_tallies.items()},
        "directions_without_test": _untested(tests, languages, directions),
        "contamination": {"settings": spec.contamination.resolved(), "found": report},
        "files": {
            str(path): {"sha256": artifacts.digest_file(path), "lines": count_lines(path), "bytes": path.stat().st_size}
            for path in files
        },
    }


def _files(spec: DataSpec, languages: tuple[str, ...]) -> list[Path]:
    return list(dict.fromkeys(path for reader in spec.readers for path in reader.files(languages)))


def _dropping(spec: DataSpec, guarded: dict[str, list[Row]]) -> frozenset[str]:
    """Test sets whose sentences are taken out of training: those of an automatic split, others when asked for."""
    automatic = {HELD_OUT, HELD_OUT_DEV} if spec.split is not None else set()
    everything = spec.contamination.action == "drop"
    return frozenset(
        name for name in guarded if (everything or name in automatic) and name not in spec.contamination.allow
    )


def _read_tests(
    spec: DataSpec, languages: tuple[str, ...], held_out: HeldOut, sink: _NoSink
) -> tuple[dict[str, list[Row]], dict[str, _Tally]]:
    tests: dict[str, list[Row]] = {}
    tallies: dict[str, _Tally] = {}
    for reader in spec.test:
        tests[reader.corpus], tallies[reader.corpus] = [], _Tally()
        for _, item in rows_of(reader, languages):
            if isinstance(item, SetAside):
                sink.aside(item)
                tallies[reader.corpus].add_aside(item)
            else:
                tests[reader.corpus].append(item)
    if held_out.test:
        tests[HELD_OUT], tallies[HELD_OUT] = held_out.test, _Tally()
    for name, rows in tests.items():
        for row in rows:
            sink.row(f"{TEST_FOLDER}/{name}.jsonl", row)
            tallies[name].add_row(row)
    return tests, tallies


def _pass_through(
    readers: tuple[Reader, ...],
    file: str,
    languages: tuple[str, ...],
    index: TestIndex,
    dropping: frozenset[str],
    held_out: frozenset[str],
    sink: _NoSink,
) -> dict[str, _Tally]:
    """Stream corpora into a file, each row checked against the tests and left out where that is asked for."""
    tallies: dict[str, _Tally] = {}
    for reader in readers:
        tally = tallies[reader.corpus] = _Tally()
        for line, found in rows_of(reader, languages):
            item = found
            if isinstance(item, Row):
                if item.id in held_out:
                    continue
                if index.check(item) & dropping:
                    item = SetAside(reader.corpus, line, Reason.IN_TEST, text=next(iter(item.texts.values())))
            if isinstance(item, SetAside):
                sink.aside(item)
                tally.add_aside(item)
            else:
                sink.row(file, item)
                tally.add_row(item)
    return tallies


def _held_out_dev(rows: list[Row], index: TestIndex, dropping: frozenset[str], sink: _NoSink) -> _Tally:
    """Write the development rows of an automatic split; those that share a sentence with a test row are left out."""
    tally = _Tally()
    for number, row in enumerate(rows, 1):
        if index.check(row) & (dropping - {HELD_OUT_DEV}):
            aside = SetAside(row.corpus, number, Reason.IN_TEST, text=next(iter(row.texts.values())))
            sink.aside(aside)
            tally.add_aside(aside)
        else:
            sink.row(DEV_FILE, row)
            tally.add_row(row)
    return tally


def _require_languages(train: dict[str, _Tally], languages: tuple[str, ...]) -> None:
    trained = {code for tally in train.values() for code in tally.texts}
    if not trained:
        raise UserError("No training row is left after test sentences were taken out.", where="data.train")
    if absent := [code for code in languages if code not in trained]:
        raise UserError(
            f"No training corpus has a row in: {', '.join(absent)}.",
            where="data.train",
            hint="Add a corpus with these languages, or take them out of languages.",
        )


def _untested(
    tests: dict[str, list[Row]], languages: tuple[str, ...], directions: Iterable[Direction] | None
) -> list[str]:
    pairs = directions
    if pairs is None:
        pairs = [Direction(a, b) for a in languages for b in languages if a != b]
    kinds = {frozenset(row.texts) for rows in tests.values() for row in rows}
    return [str(pair) for pair in pairs if not any({pair.source, pair.target} <= kind for kind in kinds)]


def _read_rows(path: Path) -> list[Row]:
    return list(_stream_rows(path))


def _stream_rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield Row.from_record(json.loads(line))
    except FileNotFoundError as error:
        raise CorruptArtifactError("This file does not exist.", where=str(path)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"This is not a file of rows ({error}).", where=str(path)) from error
