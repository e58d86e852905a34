"""Small corpora that tests write and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hexapla.data.cleaning import rows_of
from hexapla.data.readers import CorpusSpec
from hexapla.data.readers.base import Reader
from hexapla.data.records import SetAside
from hexapla.data.rows import Row
from hexapla.data.spec import DataSpec

ADAPTER: TypeAdapter[Any] = TypeAdapter(CorpusSpec)


def reader(**settings: Any) -> Reader:
    """A reader from plain settings, as a recipe gives them."""
    found: Reader = ADAPTER.validate_python(settings)
    return found


def harvest(codes: str, /, **settings: Any) -> tuple[list[Row], list[SetAside]]:
    """Rows and set-asides of a corpus for languages such as `en de`."""
    items = [item for _, item in rows_of(reader(**settings), tuple(codes.split()))]
    return [item for item in items if isinstance(item, Row)], [item for item in items if isinstance(item, SetAside)]


def texts(codes: str, /, **settings: Any) -> list[dict[str, str]]:
    """Texts of the rows of a corpus from which nothing is set aside."""
    rows, asides = harvest(codes, **settings)
    assert asides == []
    return [dict(row.texts) for row in rows]


def reasons(asides: list[SetAside]) -> list[tuple[int, str, str | None, bool]]:
    """Line, reason, language and whether a row is left."""
    return [(aside.line, aside.reason.value, aside.language, aside.row_kept) for aside in asides]


def data_spec(**settings: Any) -> DataSpec:
    """A data section from plain settings."""
    return DataSpec.model_validate(settings)


def write_pairs(prefix: Path, pairs: list[tuple[str, ...]], codes: str = "en de") -> Path:
    """Plain-text files `prefix.CODE`, one line a sentence."""
    for position, code in enumerate(codes.split()):
        lines = "".join(f"{pair[position]}\n" for pair in pairs)
        Path(f"{prefix}.{code}").write_text(lines, encoding="utf-8", newline="\n")
    return prefix


def numbered(start: int, stop: int) -> list[tuple[str, ...]]:
    """Distinct English-German pairs."""
    return [(f"House number {n} is red.", f"Haus Nummer {n} ist rot.") for n in range(start, stop)]
