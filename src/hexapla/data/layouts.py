"""The shapes in which JSON records hold sentences in several languages.

Known shapes: plain `{"en": …, "de": …}`; `{"translation": {"en": …, "de": …}}` (Hugging Face `Translation`, X-ALMA);
`{"translation": {"language": […], "translation": […]}}`, also at the top (`TranslationVariableLanguages`);
`{"text": …, "language": "de"}` (monolingual corpora); and the rows that Hexapla itself writes
(`{"id": …, "corpus": …, "texts": {…}, "synthetic": {…}}`), whose synthetic texts stay marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hexapla.data.codes import find_code
from hexapla.data.records import Flaw, Reason, Record


class Layout:
    """Turns JSON values into records.

    Args:
        wanted: canonical codes to take.
        spellings: canonical code → key in the records, where the recipe says it.
        corpus: name of the corpus; ids of our rows that begin with it are given without, as rows get it anew.
    """

    def __init__(
        self, wanted: tuple[str, ...], spellings: Mapping[str, str | int] | None = None, corpus: str | None = None
    ) -> None:
        self._wanted, self._corpus = set(wanted), corpus
        self._codes: dict[str, str | None] = {str(key): code for code, key in (spellings or {}).items()}
        self._named = set(self._codes.values())

    def record(self, value: Any, line: int) -> Record:
        """The record that a JSON value describes; its flaw when it describes none."""
        if not isinstance(value, Mapping):
            return Record(line, {}, flaw=Flaw(Reason.NOT_A_RECORD, str(value)))
        own = value.get("texts")
        if isinstance(own, Mapping):
            return self._own_row(value, own, line)
        if isinstance(value.get("language"), str) and "text" in value and self._codes.get("text") is None:
            return self._collect([(value["language"], value["text"])], line)
        inner = value.get("translation", value)
        if isinstance(inner, list):
            inner = value
        if not isinstance(inner, Mapping):
            return Record(line, {}, flaw=Flaw(Reason.NOT_A_RECORD, str(value)))
        names, texts = inner.get("language"), inner.get("translation")
        if isinstance(names, list) and isinstance(texts, list):
            if len(names) != len(texts):
                return Record(line, {}, flaw=Flaw(Reason.RAGGED, str(value)))
            return self._collect(list(zip(names, texts, strict=True)), line)
        return self._collect(list(inner.items()), line)

    def _own_row(self, value: Mapping[str, Any], texts: Mapping[str, Any], line: int) -> Record:
        """The record of a row of ours, with all that it is besides its texts."""
        makers = value.get("synthetic") or {}
        if not isinstance(makers, Mapping) or not all(isinstance(maker, str | None) for maker in makers.values()):
            return Record(line, {}, flaw=Flaw(Reason.NOT_A_RECORD, str(value)))
        identity, document = value.get("id"), value.get("document")
        if isinstance(identity, str) and self._corpus is not None and value.get("corpus") == self._corpus:
            identity = identity.removeprefix(f"{self._corpus}:")
        return replace(
            self._collect(list(texts.items()), line),
            id=identity if isinstance(identity, str) else None,
            document=document if isinstance(document, str) else None,
            synthetic={
                code: maker for name, maker in makers.items() if maker is not None and (code := self._code(name))
            },
        )

    def _collect(self, pairs: list[tuple[Any, Any]], line: int) -> Record:
        texts: dict[str, str | Flaw] = {}
        alternatives: list[tuple[str, str]] = []
        for name, text in pairs:
            code = self._code(name)
            if code is None or code not in self._wanted:
                continue
            if code in texts:
                alternatives.append((code, str(text)))
            elif text is None:
                texts[code] = Flaw(Reason.EMPTY)
            else:
                texts[code] = text if isinstance(text, str) else Flaw(Reason.NOT_TEXT, str(text))
        return Record(line, texts, alternatives=tuple(alternatives))

    def _code(self, name: Any) -> str | None:
        """The language of a key: by the recipe, else by the registry unless the recipe has another key for it."""
        if not isinstance(name, str):
            return None
        if name not in self._codes:
            code = find_code(name, self._wanted)
            self._codes[name] = None if code in self._named else code
        return self._codes[name]
