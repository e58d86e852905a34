"""The corpus stage: reads every corpus, splits, checks for test sentences in training, cleans, and writes rows.

Order: faulty records are set aside; rows of an automatic split are held out; what is left is checked against the tests;
then it is cleaned. So held-out rows do not depend on the filters (variants of a recipe are measured on the same ones)
and are never cleaned away; the summary says how many of them the filters would take texts out of. And a row that is
dropped for a test sentence cannot have taken away its duplicate before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexapla.common import artifacts
from hexapla.common.errors import UserError
from hexapla.data.cleaning import MIN_LANGUAGES, rows_of
from hexapla.data.contamination import TestIndex, refuse
from hexapla.data.curation import Curation, clean_versions
from hexapla.data.filters.engine import Item
from hexapla.data.funnel import num_texts
from hexapla.data.parallel import count_lines
from hexapla.data.readers.base import Reader
from hexapla.data.records import Reason, SetAside
from hexapla.data.rows import Row
from hexapla.data.spec import HELD_OUT, HELD_OUT_DEV, DataSpec
from hexapla.data.splits import HeldOut, hold_out
from hexapla.data.storage import (
    BILINGUAL_FILE,
    DEV_FILE,
    MONOLINGUAL_FILE,
    SUMMARY_FILE,
    TEST_FOLDER,
    TRAIN_FILE,
    Corpus,
    FolderSink,
    NoSink,
    load_corpus,
    stream_rows,
)
from hexapla.languages import Direction

__all__ = [
    "Corpus",
    "build_corpus",
    "check_corpus",
    "clean_versions",
    "input_digests",
    "load_corpus",
    "read_corpus_rows",
    "read_training_rows",
    "stream_rows",
]


def build_corpus(
    spec: DataSpec,
    languages: tuple[str, ...],
    folder: Path,
    *,
    seed: int,
    hubs: tuple[str, ...] = (),
    directions: Iterable[Direction] | None = None,
) -> None:
    """Write the files of `storage`, summary.json last, into an existing folder.

    Rows for training and pre-training are streamed; test and development rows are held in memory. The folder becomes
    visible as a whole only through its caller (`artifacts.new_artifact`).

    Args:
        languages: canonical codes; rows keep only these and need at least two of them.
        hubs: filters of pairs judge every hub with every other language; of a row without one its first language.
        directions: those that matter for `directions_without_test` in the summary; None: all between the languages.

    Raises:
        UserError: a corpus cannot be used or is empty, before the filters or behind them; a language has no training
            row; test sentences occur in training; a filter cannot work here; the disk is full.
    """
    rejects = spec.clean is not None and spec.clean.rejects
    with artifacts.explain_os_errors(folder):
        with FolderSink(folder, rejects=rejects) as sink:
            summary = _Stage(spec, languages, hubs, seed, sink, folder).summary(directions)
        artifacts.write_json(folder / SUMMARY_FILE, summary)


def check_corpus(
    spec: DataSpec,
    languages: tuple[str, ...],
    *,
    seed: int = 0,
    hubs: tuple[str, ...] = (),
    directions: Iterable[Direction] | None = None,
) -> dict[str, Any]:
    """Everything that `build_corpus` does and refuses, but no corpus is written; returns the summary.

    Filters that compare rows with each other need room for temporary files.
    """
    return _Stage(spec, languages, hubs, seed, NoSink(), None).summary(directions)


def read_corpus_rows(reader: Reader, languages: tuple[str, ...]) -> list[Row]:
    """The rows of one corpus; what must be set aside is left out.

    Raises:
        UserError: the corpus cannot be used or is empty.
    """
    return [item for _, item in rows_of(reader, languages) if isinstance(item, Row)]


def read_training_rows(spec: DataSpec, languages: tuple[str, ...], *, seed: int) -> list[Row]:
    """The training rows before the check against the tests and before cleaning: what planning counts.

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


@dataclass
class _Tally:
    """Counts of one corpus in one section."""

    shapes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    rows_set_aside: Counter[str] = field(default_factory=Counter)
    texts_set_aside: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.shapes.total()

    @property
    def texts(self) -> Counter[str]:
        """How many texts there are of each language."""
        return num_texts(self.shapes)

    def add_row(self, row: Row) -> None:
        self.shapes[tuple(row.texts)] += 1

    def add_aside(self, aside: SetAside) -> None:
        (self.texts_set_aside if aside.row_kept else self.rows_set_aside)[aside.reason.value] += 1

    def to_record(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "texts": dict(sorted(self.texts.items())),
            "rows_set_aside": dict(sorted(self.rows_set_aside.items())),
            "texts_set_aside": dict(sorted(self.texts_set_aside.items())),
        }


class _Stage:
    """One pass over all corpora."""

    def __init__(
        self,
        spec: DataSpec,
        languages: tuple[str, ...],
        hubs: tuple[str, ...],
        seed: int,
        sink: NoSink,
        folder: Path | None,
    ) -> None:
        self._spec, self._languages, self._sink = spec, languages, sink
        clean_versions(spec.clean)  # refuses what cannot work here
        self._curation = Curation(spec.clean, hubs, sink, folder)
        self._paths = _files(spec, languages)
        self._held_out = hold_out(spec, languages, seed=seed)

    def summary(self, directions: Iterable[Direction] | None) -> dict[str, Any]:
        """Process everything."""
        spec, held_out = self._spec, self._held_out
        tests, test_tallies = _read_tests(spec, self._languages, held_out, self._sink)
        guarded = tests | ({HELD_OUT_DEV: held_out.dev} if held_out.dev else {})
        index = TestIndex(spec.contamination, guarded)
        dropping = _dropping(spec, guarded)
        if held_out.dev:
            dev = {HELD_OUT_DEV: _held_out_dev(held_out.dev, index, dropping, self._sink)}
        else:
            dev = self._copy(spec.dev, DEV_FILE, index, dropping)
        tallies = self._cleaned(index, dropping)
        report = index.report()
        refuse(report, [name for name in guarded if name not in dropping and name not in spec.contamination.allow])
        for section, of_section in tallies.items():
            if of_section and not any(tally.rows for tally in of_section.values()):
                raise self._curation.emptiness(section)
        self._require_languages(tallies["train"])
        found: dict[str, dict[str, _Tally]] = {
            "train": tallies["train"],
            "dev": dev,
            "test": test_tallies,
            "monolingual": tallies["monolingual"],
            "bilingual": tallies["bilingual"],
        }
        return {
            "languages": list(self._languages),
            **{
                section: {name: tally.to_record() for name, tally in of_section.items()}
                for section, of_section in found.items()
            },
            "held_out": dict(Counter(row.corpus for row in (*held_out.dev, *held_out.test))),
            **self._curation.to_record([*held_out.test, *held_out.dev]),
            "directions_without_test": _untested(tests, self._languages, directions),
            "contamination": {"settings": spec.contamination.resolved(), "found": report},
            "files": {
                str(path): {
                    "sha256": artifacts.digest_file(path),
                    "lines": count_lines(path),
                    "bytes": path.stat().st_size,
                }
                for path in self._paths
            },
        }

    def _cleaned(self, index: TestIndex, dropping: frozenset[str]) -> dict[str, dict[str, _Tally]]:
        """Stream the sections for training through the check and the filters into their files."""
        tallies: dict[str, dict[str, _Tally]] = {}
        with self._curation as curation:
            for section, (readers, file) in {
                "train": (self._spec.train, TRAIN_FILE),
                "monolingual": (self._spec.monolingual, MONOLINGUAL_FILE),
                "bilingual": (self._spec.bilingual, BILINGUAL_FILE),
            }.items():
                pairs = section != "monolingual"
                of_section = tallies[section] = {reader.corpus: _Tally() for reader in readers}
                rows = self._checked(readers, of_section, index, dropping, MIN_LANGUAGES if pairs else 1)
                for _, row in curation.clean(section, rows, pairs=pairs):
                    self._sink.row(file, row)
                    of_section[row.corpus].add_row(row)
        return tallies

    def _copy(
        self, readers: tuple[Reader, ...], file: str, index: TestIndex, dropping: frozenset[str]
    ) -> dict[str, _Tally]:
        tallies = {reader.corpus: _Tally() for reader in readers}
        for _, row in self._checked(readers, tallies, index, dropping, MIN_LANGUAGES):
            self._sink.row(file, row)
            tallies[row.corpus].add_row(row)
        return tallies

    def _checked(
        self,
        readers: tuple[Reader, ...],
        tallies: dict[str, _Tally],
        index: TestIndex,
        dropping: frozenset[str],
        min_languages: int,
    ) -> Iterator[Item]:
        """Rows but for held-out ones, each checked against the tests and left out where that is asked for."""
        held_out = self._held_out.ids
        for reader in readers:
            for line, found in rows_of(reader, self._languages, min_languages=min_languages):
                item = found
                if isinstance(item, Row):
                    if item.id in held_out:
                        continue
                    if index.check(item) & dropping:
                        item = SetAside(reader.corpus, line, Reason.IN_TEST, text=next(iter(item.texts.values())))
                if isinstance(item, SetAside):
                    self._sink.aside(item)
                    tallies[reader.corpus].add_aside(item)
                else:
                    yield line, item

    def _require_languages(self, train: dict[str, _Tally]) -> None:
        trained = {code for tally in train.values() for code in tally.texts}
        if absent := [code for code in self._languages if code not in trained]:
            self._curation.require_languages(absent)
            raise UserError(
                f"No training corpus has a row in: {', '.join(absent)}.",
                where="data.train",
                hint="Add a corpus with these languages, or take them out of languages.",
            )


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
    spec: DataSpec, languages: tuple[str, ...], held_out: HeldOut, sink: NoSink
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


def _held_out_dev(rows: list[Row], index: TestIndex, dropping: frozenset[str], sink: NoSink) -> _Tally:
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


def _untested(
    tests: dict[str, list[Row]], languages: tuple[str, ...], directions: Iterable[Direction] | None
) -> list[str]:
    pairs = directions
    if pairs is None:
        pairs = [Direction(a, b) for a in languages for b in languages if a != b]
    kinds = {frozenset(row.texts) for rows in tests.values() for row in rows}
    return [str(pair) for pair in pairs if not any({pair.source, pair.target} <= kind for kind in kinds)]
