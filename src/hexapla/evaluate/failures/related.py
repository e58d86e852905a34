"""Translations in a close relative of the language that was asked for."""

from __future__ import annotations

from hexapla.evaluate.failures.identified import LanguageRate
from hexapla.evaluate.metrics.metric import Segments


class Related(LanguageRate):
    """The share of translations that look like a close relative of the target: da for nb, hr for sr, sk for cs.

    Identifiers err here, even where references excuse: what a share says it says between systems.
    """

    title = "close relative"

    def describe(self) -> str:
        """The identifier with its version and limits."""
        return f"rule:relative-of-target|{self.identifier.signature}|excused-by:reference"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the translation is identified as a close relative of the target; None where it is unknown."""
        return [None if found is None else self.is_relative(found) for found in self.languages(segments)]

    def notes(self, segments: Segments) -> list[str | None]:
        """The language of each translation in a close relative."""
        return [
            found.code if found is not None and self.is_relative(found) else None for found in self.languages(segments)
        ]
