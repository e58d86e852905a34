"""What a built corpus is on disk: files of rows as they are written and read, set-asides, rejects, the summary."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hexapla.common import artifacts
from hexapla.common.errors import CorruptArtifactError
from hexapla.data.records import SetAside
from hexapla.data.rows import Row

TRAIN_FILE, DEV_FILE, TEST_FOLDER = "train.jsonl", "dev.jsonl", "test"
MONOLINGUAL_FILE, BILINGUAL_FILE = "monolingual.jsonl", "bilingual.jsonl"
SET_ASIDE_FILE, REJECTS_FILE, SUMMARY_FILE = "set-aside.jsonl", "rejects.jsonl", "summary.json"


@dataclass(frozen=True)
class Corpus:
    """A built corpus. `summary` holds counts, reasons, the contamination report and the source files' digests.

    Attributes:
        monolingual: file of rows for continued pre-training, of any size, to be read by `stream_rows`; None: the recipe
            has none. A row may have one language only.
        bilingual: the same of sentence pairs.
    """

    train: list[Row]
    dev: list[Row]
    tests: dict[str, list[Row]]
    summary: dict[str, Any]
    monolingual: Path | None = None
    bilingual: Path | None = None

    def pretraining_digest(self) -> str:
        """What decides continued pre-training: a digest of the bytes of both files."""
        files = (self.monolingual, self.bilingual)
        return artifacts.digest_of([None if path is None else artifacts.digest_file(path) for path in files])


def load_corpus(folder: Path) -> Corpus:
    """Read what `build_corpus` wrote; text for continued pre-training is not read.

    Raises:
        CorruptArtifactError: a file is missing or damaged.
    """
    summary = artifacts.read_json(folder / SUMMARY_FILE)
    return Corpus(
        list(stream_rows(folder / TRAIN_FILE)),
        list(stream_rows(folder / DEV_FILE)),
        {name: list(stream_rows(folder / TEST_FOLDER / f"{name}.jsonl")) for name in summary["test"]},
        summary,
        _written(folder / MONOLINGUAL_FILE, summary.get("monolingual")),
        _written(folder / BILINGUAL_FILE, summary.get("bilingual")),
    )


def stream_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that `build_corpus` wrote, one at a time.

    Raises:
        CorruptArtifactError: the file is missing or damaged.
    """
    return (row for row, _ in rows_from(path))


def rows_from(path: Path, offset: int = 0) -> Iterator[tuple[Row, int]]:
    """The rows of such a file from a byte offset on, each with the offset behind it; this is how a reader goes on.

    Raises:
        CorruptArtifactError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                offset += len(line)
                yield Row.from_record(json.loads(line)), offset
    except FileNotFoundError as error:
        raise CorruptArtifactError("This file does not exist.", where=str(path)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(
            f"This is not a file of rows: the line that ends at byte {offset} is none ({error}).", where=str(path)
        ) from error


class NoSink:
    """Takes rows and forgets them."""

    def row(self, file: str, row: Row) -> None:
        """Forget a row."""

    def aside(self, aside: SetAside) -> None:
        """Forget what was set aside."""

    def reject(self, record: dict[str, Any]) -> None:
        """Forget what a filter rejected."""


class FolderSink(NoSink):
    """Writes rows and set-asides as they come; train.jsonl, dev.jsonl and set-aside.jsonl exist even when empty.

    Args:
        rejects: whether rejects.jsonl exists even when empty.
    """

    def __init__(self, folder: Path, *, rejects: bool) -> None:
        self._folder, self._rejects = folder, rejects
        self._open = contextlib.ExitStack()
        self._files: dict[str, TextIO] = {}

    def __enter__(self) -> FolderSink:
        (self._folder / TEST_FOLDER).mkdir(parents=True, exist_ok=True)
        for name in (TRAIN_FILE, DEV_FILE, SET_ASIDE_FILE, *([REJECTS_FILE] if self._rejects else [])):
            self._file(name)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def row(self, file: str, row: Row) -> None:
        """Append a row."""
        self._append(file, row.to_record())

    def aside(self, aside: SetAside) -> None:
        """Append to set-aside.jsonl."""
        self._append(SET_ASIDE_FILE, aside.to_record())

    def reject(self, record: dict[str, Any]) -> None:
        """Append to rejects.jsonl."""
        self._append(REJECTS_FILE, record)

    def _append(self, file: str, record: dict[str, Any]) -> None:
        self._file(file).write(json.dumps(record, ensure_ascii=False) + "\n")

    def _file(self, name: str) -> TextIO:
        if name not in self._files:
            path = self._folder / name
            self._files[name] = self._open.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        return self._files[name]


def _written(path: Path, tallies: dict[str, Any] | None) -> Path | None:
    """The file of a section that has corpora.

    Raises:
        CorruptArtifactError: it is not there.
    """
    if not tallies:
        return None
    if not path.is_file():
        raise CorruptArtifactError("This file does not exist.", where=str(path))
    return path
