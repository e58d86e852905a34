"""Texts and pairs that occurred before, character by character or but for case, punctuation and white space."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.corpus import CorpusFilter, Fingerprints, Unit
from hexapla.data.matching import exact_key, fold


class DuplicatesFilter(CorpusFilter):
    """Rejects what is equal to something earlier in the corpora of its section.

    Units are compared by 64-bit hashes: among 100 million of them two different ones are taken for equal with a
    probability of 0.0003.
    """

    filter: Literal["duplicates"] = Field("duplicates", description="The same occurred before.")
    exact: bool = Field(
        False, description="Compare character by character; false: without case, punctuation and white space."
    )
    reasons: ClassVar[Mapping[str, str]] = {"duplicate": "the same occurred before"}

    def fingerprints(self, units: Sequence[Unit]) -> Fingerprints:
        """One key a unit, no signatures."""
        import numpy as np

        content = b"".join(self._digest(unit) for unit in units)
        keys = np.frombuffer(content, dtype="<u8").astype(np.uint64, copy=False).reshape(-1, 1)
        return Fingerprints(keys, np.empty((len(units), 0), dtype=np.uint16))

    def _digest(self, unit: Unit) -> bytes:
        compared = unit.texts if self.exact else map(_folded, unit.texts)
        return hashlib.blake2b("\x1f".join((unit.scope, *compared)).encode("utf-8"), digest_size=8).digest()


def _folded(text: str) -> str:
    """As the contamination check compares; texts of punctuation only are compared as they are."""
    return exact_key(fold(text)) or text
