"""What a reader finds before any judgement (records), and what judgement sets aside, each with a named reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SNIPPET_LENGTH = 80
"""Characters of a faulty text that are kept for people to recognise it (ours)."""


class Reason(StrEnum):
    """Why a record, or one text of it, was set aside."""

    INVALID_UTF8 = "invalid-utf8"
    EMPTY = "empty-side"
    LINE_BREAK = "line-break"
    CONTROL_CHARACTER = "control-character"
    NOT_TEXT = "not-text"
    ENTITY = "entity-reference"
    ALTERNATIVE = "alternative-text"
    MISSING_LANGUAGE = "missing-language"
    TOO_FEW_LANGUAGES = "too-few-languages"
    DUPLICATE_ID = "duplicate-id"
    RAGGED = "ragged"
    NOT_JSON = "not-json"
    NOT_A_RECORD = "not-a-record"
    IN_TEST = "in-test"


@dataclass(frozen=True, slots=True)
class Flaw:
    """A text that cannot be used, as a reader met it.

    Attributes:
        text: as much of it as can be shown.
    """

    reason: Reason
    text: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One position of a corpus as it stands there.

    Attributes:
        line: 1-based line of the file; number of the record in formats without lines (JSON array, TMX, data sets).
        texts: language code → text, unchecked, or the flaw that the reader met.
        id: the corpus's own name of the record; None: the position names it.
        flaw: the whole record is unusable.
        alternatives: further texts for a language that has one already; they are counted and left out.
        synthetic: language code → what translated that text, where the corpus says so.
    """

    line: int
    texts: Mapping[str, str | Flaw]
    id: str | None = None
    document: str | None = None
    flaw: Flaw | None = None
    alternatives: tuple[tuple[str, str], ...] = field(default=())
    synthetic: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetAside:
    """One line of `set-aside.jsonl`.

    Attributes:
        language: the text that was set aside; None: the whole record.
        row_kept: whether a row remains, with its other languages.
    """

    corpus: str
    line: int
    reason: Reason
    language: str | None = None
    text: str = ""
    row_kept: bool = False

    def to_record(self) -> dict[str, Any]:
        """The line as JSON data; broken characters are shown as U+FFFD."""
        snippet = self.text[:SNIPPET_LENGTH].encode("utf-8", "replace").decode("utf-8")
        return {
            "corpus": self.corpus,
            "line": self.line,
            "reason": self.reason.value,
            "language": self.language,
            "row_kept": self.row_kept,
            "text": snippet,
        }
