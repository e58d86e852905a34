"""Turkish: the capital of the dotted i."""

from __future__ import annotations

from hexapla.phrasebook.language import Grammar as Base


class Grammar(Base):
    """The patterns say everything; only the capital letter differs."""

    def upper(self, letter: str) -> str:
        """The capital of `letter`: i keeps its dot."""
        return "İ" if letter == "i" else letter.upper()
