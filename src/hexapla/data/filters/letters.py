"""Texts that hold hardly any letters: tables, codes, rows of symbols."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import TextFilter
from hexapla.data.filters.thresholds import reasons_at

if TYPE_CHECKING:
    from hexapla.text.arrays import CharacterTable

_IGNORED, _OTHER, _LETTER = 0, 1, 2


class LettersFilter(TextFilter):
    """Rejects texts in which letters and their marks are a small part of what is not white space."""

    filter: Literal["letters"] = Field("letters", description="The text has too few letters.")
    min: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least share of letters and their marks in all but white space. OpusFilter: 0.75, which rejects "
        "sentences with a date and a price.",
    )
    reasons: ClassVar[Mapping[str, str]] = {"few-letters": "digits, punctuation and symbols outweigh letters"}

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The reason of each text, or None."""
        import numpy as np

        from hexapla.text.arrays import Characters

        characters = Characters(texts)
        kinds_C = _kinds()[characters.codes]
        num_letters = characters.sums(kinds_C == _LETTER)
        num_visible = characters.sums(kinds_C != _IGNORED)
        few = (num_letters < self.min * num_visible) | (num_visible == 0)
        return reasons_at(len(texts), ("few-letters", np.flatnonzero(few).tolist()))


@lru_cache(maxsize=1)
def _kinds() -> CharacterTable:
    from hexapla.text.arrays import CharacterTable

    def kind(character: str) -> int:
        category = unicodedata.category(character)
        # Cf holds joiners, which belong to neither side.
        if character.isspace() or category == "Cf":
            return _IGNORED
        return _LETTER if category[0] in "LM" else _OTHER

    return CharacterTable(kind)
