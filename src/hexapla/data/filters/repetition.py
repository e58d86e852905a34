"""Texts that say the same again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import TextFilter
from hexapla.data.filters.thresholds import reasons_at
from hexapla.text.loops import loops


class RepetitionFilter(TextFilter):
    """Rejects loops, and characters repeated too often.

    A loop is a stretch of text that comes four times in immediate succession, three times if it is long, and is no
    mere "no, no, no, no!" (`hexapla.text.loops`, which also judges translations).
    """

    filter: Literal["repetition"] = Field("repetition", description="The text repeats words or characters.")
    max_run: int = Field(
        10, ge=1, description="How often one character, other than a space, may stand in succession. Ours."
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "run": "one character is repeated many times",
        "loop": "a stretch of words is repeated in immediate succession",
    }

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The reason of each text, or None."""
        return reasons_at(
            len(texts), ("run", self._runs(texts)), ("loop", [at for at, text in enumerate(texts) if loops(text)])
        )

    def _runs(self, texts: Sequence[str]) -> list[int]:
        """Positions of texts in which more than `max_run` equal characters stand in succession."""
        import numpy as np

        from hexapla.text.arrays import Characters

        characters = Characters(texts)
        if len(characters.codes) <= self.max_run:
            return []
        same_C = characters.codes[1:] == characters.codes[:-1]
        same_C &= characters.codes[1:] != ord(" ")
        starts = characters.bounds[1:-1] - 1
        same_C[starts[(starts >= 0) & (starts < len(same_C))]] = False
        # Positions where `length` pairs in succession are of equal characters; the length grows to twice itself.
        length = 1
        while length < self.max_run and len(same_C):
            step = min(length, self.max_run - length)
            same_C = same_C[step:] & same_C[:-step]
            length += step
        texts_of_runs = np.searchsorted(characters.bounds, np.flatnonzero(same_C), side="right") - 1
        found: list[int] = np.unique(texts_of_runs).tolist()
        return found
