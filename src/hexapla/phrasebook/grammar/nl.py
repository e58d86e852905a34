"""Dutch: the stressed numeral één loses the accent of its first letter when that is a capital."""

from __future__ import annotations

from hexapla.phrasebook.language import Grammar as Base


class Grammar(Base):
    """Patterns do the rest."""

    def upper(self, letter: str) -> str:
        """The capital of `letter`: one writes Eén, not Één, at the beginning of a sentence."""
        return "E" if letter == "é" else super().upper(letter)
