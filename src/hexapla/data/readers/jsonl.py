"""JSON lines, or one JSON array of records; the shapes of a record are in `hexapla.data.layouts`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hexapla.common.errors import UserError
from hexapla.common.textfiles import open_binary, read_lines
from hexapla.data.layouts import Layout
from hexapla.data.readers.base import PathReader, existing, require_file
from hexapla.data.records import Flaw, Reason, Record


class JsonlReader(PathReader):
    """One JSON object a line, or an array of them in one file (which is held in memory)."""

    reader: Literal["jsonl"] = Field(
        "jsonl", description="JSON lines or a JSON array: plain, Hugging Face, X-ALMA, monolingual, or our rows."
    )

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record an object.

        Raises:
            UserError: the file is missing, or it is an array that is no sound JSON.
        """
        path = existing(self.path)
        spellings = self.languages if isinstance(self.languages, dict) else None
        layout = Layout(self.wanted(languages), spellings, self.corpus)
        if _is_array(path):
            for number, value in enumerate(_array(path), 1):
                yield layout.record(value, number)
            return
        for number, line in enumerate(read_lines(path), 1):
            if line is None:
                yield Record(number, {}, flaw=Flaw(Reason.INVALID_UTF8))
            elif line.strip():
                yield _parse(line, number, layout)

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The file."""
        require_file(existing(self.path))
        return (existing(self.path),)


def _parse(line: str, number: int, layout: Layout) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Record(number, {}, flaw=Flaw(Reason.NOT_JSON, line))
    return layout.record(value, number)


def _is_array(path: Path) -> bool:
    with open_binary(path) as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith(b"[")


def _array(path: Path) -> list[Any]:
    """The items; bytes that are no UTF-8 become lone surrogates, which no text may hold."""
    with open_binary(path) as file:
        text = file.read().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    try:
        value: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"This JSON array cannot be read ({error}).", where=str(path)) from error
    return value
