"""Translations that are their source."""

from __future__ import annotations

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments


class Copied(FailureRate):
    """The source came back untranslated; where the reference is the source too (names, numbers), that is right."""

    title = "copied"
    needs = ("sources",)

    def describe(self) -> str:
        """It has no limits to name."""
        return "rule:equals-source"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the translation is the source, white space at the ends aside, and the reference is not."""
        sources = [text.strip() for text in segments.required("sources")]
        references = [text.strip() for text in segments.references] if segments.references else [None] * len(sources)
        return [
            text.strip() == source and source != reference
            for text, source, reference in zip(segments.hypotheses, sources, references, strict=True)
        ]
