"""Text in one language: a plain file with one sentence or document a line, or JSON lines with a key `text`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from hexapla import languages as registry
from hexapla.common.errors import UserError
from hexapla.common.textfiles import read_lines
from hexapla.data.readers.base import PathReader, existing, require_file
from hexapla.data.readers.jsonl import JsonlReader
from hexapla.data.records import Flaw, Reason, Record

TEXT_KEY = "text"
"""Key under which monolingual corpora on the hub keep their documents."""
_JSON_ENDINGS = {".json", ".jsonl"}


class TextReader(PathReader):
    """One file in one language: give several files as several corpora.

    Of a file whose name ends in `.jsonl` or `.json` (before `.gz` or `.zst`) the key `text` of every object is read; a
    document of several lines gives one record a line, all of them with its `document`.
    """

    reader: Literal["text"] = Field("text", description="Text in one language: a line each, or JSON lines with `text`.")
    language: str = Field(description="Language of the text.")

    @field_validator("language")
    @classmethod
    def _is_language(cls, value: str) -> str:
        try:
            return registry.get(value).code
        except UserError as error:
            raise ValueError(error.paragraph()) from error

    @model_validator(mode="after")
    def _has_one_language(self) -> Self:
        if self.languages is not None:
            raise ValueError("languages: this reader reads one language, which `language` names")
        return self

    @property
    def explicit(self) -> tuple[str, ...]:
        """The one language."""
        return (self.language,)

    def wanted(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """The one language, if it is among those of the recipe."""
        return tuple(code for code in languages if code == self.language)

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a line of text, blank ones included, so that positions are those of the lines.

        Raises:
            UserError: the file is missing, damaged or UTF-16, or its language is none of `languages`.
        """
        if self.language not in languages:
            raise UserError(
                f"This text is in {self.language}, which is not asked for ({', '.join(languages)}).",
                where=f"corpus {self.corpus}",
                hint="Correct its `language`, or take the corpus out.",
            )
        path = existing(self.path)
        if _JSON_ENDINGS.isdisjoint(path.suffixes[-2:]):
            yield from self._lines(path)
        else:
            for document in JsonlReader(path=path, languages={self.language: TEXT_KEY}).records((self.language,)):
                yield from self._sentences(document)

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The file."""
        require_file(existing(self.path))
        return (existing(self.path),)

    def _lines(self, path: Path) -> Iterator[Record]:
        for number, line in enumerate(read_lines(path), 1):
            yield Record(number, {self.language: Flaw(Reason.INVALID_UTF8) if line is None else line})

    def _sentences(self, document: Record) -> Iterator[Record]:
        """The lines of a document; blank ones separate its paragraphs and are passed over."""
        text = document.texts.get(self.language)
        lines = [line for line in text.split("\n") if line.strip()] if isinstance(text, str) else []
        if len(lines) < 2:
            yield document
            return
        for line in lines:
            yield replace(document, texts={self.language: line}, document=document.document or str(document.line))
