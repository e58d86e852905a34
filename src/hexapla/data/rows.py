"""The row: one sentence in several languages. Bitext is a row with two languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One multi-way record.

    Attributes:
        id: unique within a recipe and stable over runs, such as `ntrex:0017`.
        texts: language code → sentence; every text is non-empty, without line breaks, stripped at both ends.
        corpus: name of the corpus that it comes from.
        document: id of the document that it belongs to, where the corpus has documents.
        synthetic: language code → what translated that text; texts by people are not named.
    """

    id: str
    texts: Mapping[str, str]
    corpus: str
    document: str | None = None
    synthetic: Mapping[str, str] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """The row as JSON data."""
        record: dict[str, Any] = {"id": self.id, "corpus": self.corpus, "texts": dict(self.texts)}
        if self.document is not None:
            record["document"] = self.document
        if self.synthetic:
            record["synthetic"] = dict(self.synthetic)
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Row:
        """The row that `to_record` wrote."""
        return cls(record["id"], record["texts"], record["corpus"], record.get("document"), record.get("synthetic", {}))
