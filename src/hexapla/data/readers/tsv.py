"""Tables with one column a language: tab-separated (no quoting) or comma-separated (quoted fields)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from hexapla.common.errors import UserError, nearest
from hexapla.common.textfiles import open_binary, read_lines
from hexapla.data.codes import match_spellings
from hexapla.data.readers.base import PathReader, existing, require_file
from hexapla.data.records import Flaw, Reason, Record

MAX_FIELD_CHARACTERS = 131_072
"""The limit of Python's csv module; a longer field is a quote that was never closed."""


class TsvReader(PathReader):
    """A table. Columns are found by the header, or by `languages: {en: 0, de: 1}` (counting from 0, no header)."""

    reader: Literal["tsv"] = Field("tsv", description="Tab- or comma-separated table, one column a language.")
    separator: Literal["tab", "comma"] | None = Field(
        None,
        description="Between columns; None: comma for .csv, otherwise tab. Only comma-separated fields are quoted.",
    )
    header: bool | None = Field(
        None, description="Whether the first line names columns; None: unless languages gives numbers."
    )

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a line below the header.

        Raises:
            UserError: the file is missing or empty, or a column is not there.
        """
        lines = self._lines()
        number, first = next(lines, (0, None))
        if number == 0:
            raise UserError("This file is empty.", where=str(self._file()))
        if first is None:
            raise UserError("The first line is not valid UTF-8.", where=str(self._file()))
        columns = self._columns(first, self.wanted(languages))
        if not self._has_header():
            yield _record(1, first, len(first), columns)
        for line, fields in lines:
            yield _record(line, fields, len(first), columns)

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The table."""
        require_file(self._file())
        return (self._file(),)

    def _file(self) -> Path:
        return existing(self.path)

    def _has_header(self) -> bool:
        if self.header is not None:
            return self.header
        return not (isinstance(self.languages, dict) and all(isinstance(v, int) for v in self.languages.values()))

    def _lines(self) -> Iterator[tuple[int, list[str] | None]]:
        """Line number and fields; None for a line that is not UTF-8."""
        path = self._file()
        separator = self.separator or ("comma" if ".csv" in path.suffixes[-2:] else "tab")
        if separator == "tab":
            for number, line in enumerate(read_lines(path), 1):
                yield number, line.split("\t") if line is not None else None
        else:
            yield from _comma_separated(path)

    def _columns(self, first: list[str], wanted: tuple[str, ...]) -> dict[str, int]:
        """Canonical code → position."""
        explicit = self.languages if isinstance(self.languages, dict) else None
        columns = {code: at for code, at in (explicit or {}).items() if isinstance(at, int) and code in wanted}
        if self._has_header():
            names = [name.strip() for name in first]
            if repeated := sorted({name for name in names if name and names.count(name) > 1}):
                raise UserError(f"The header names a column twice: {', '.join(repeated)}.", where=str(self._file()))
            spellings = {code: name for code, name in (explicit or {}).items() if isinstance(name, str)}
            for code, name in match_spellings(names, wanted, spellings, str(self._file())).items():
                if code not in columns:
                    columns[code] = _position(name, names, self._file())
        for code, at in columns.items():
            if not 0 <= at < len(first):
                raise UserError(f"There is no column {at} for {code}; there are {len(first)}.", where=str(self._file()))
        if len(columns) < min(2, len(wanted)) or any(code not in columns for code in self.explicit if code in wanted):
            absent = ", ".join(code for code in wanted if code not in columns)
            raise UserError(
                f"There is no column for {absent}; the first line is: {' | '.join(first)[:200]}",
                where=str(self._file()),
                hint="Name the columns with languages: {en: English, de: German}, or by number without a header.",
            )
        return columns


def _position(name: str, names: list[str], path: Path) -> int:
    if name not in names:
        raise UserError(f"There is no column {name!r}.", where=str(path), hint=nearest(name, [n for n in names if n]))
    return names.index(name)


def _record(line: int, fields: list[str] | None, num_columns: int, columns: dict[str, int]) -> Record:
    if fields is None:
        return Record(line, {}, flaw=Flaw(Reason.INVALID_UTF8))
    if len(fields) != num_columns:
        return Record(line, {}, flaw=Flaw(Reason.RAGGED, "\t".join(fields)))
    return Record(line, {code: fields[at] for code, at in columns.items()})


def _comma_separated(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Fields of a quoted file; bytes that are no UTF-8 become lone surrogates, which no text may hold."""
    with open_binary(path) as file:
        head = file.read(2)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError("This file is UTF-16, UTF-8 is needed.", where=str(path))
    with open_binary(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        table = csv.reader(text, strict=True)
        line = 1
        try:
            for fields in table:
                yield line, fields
                line = table.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"This is not sound CSV ({error}); a record begins here that cannot be read.",
                where=f"{path}:{line}",
                hint='Look for a quote that is never closed; inside a quoted field a quote is written twice ("").',
            ) from error
