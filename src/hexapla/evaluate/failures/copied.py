"""Translations that are their source."""

from __future__ import annotations

from hexapla.evaluate.failures.failure import FailureRate, references_or_none
from hexapla.evaluate.metrics.metric import Segments
from hexapla.text.characters import bare


class Copied(FailureRate):
    """The source came back untranslated, but for case and punctuation.

    Where the reference is the source too (names), that is right. A copy with a few words changed is none: between
    close relatives a translation may be just that; `off-target` sees it elsewhere.
    """

    title = "copied"
    needs = ("sources",)

    def describe(self) -> str:
        """What is not compared, and what excuses."""
        return "rule:equals-source|ignored:case,punctuation,space|excused-by:reference"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether letters and digits of the translation are the source's; None of sources without letters."""
        return [
            self._is_copied(bare(hypothesis), bare(source), None if reference is None else bare(reference))
            for hypothesis, source, reference in zip(
                segments.hypotheses, segments.required("sources"), references_or_none(segments), strict=True
            )
        ]

    def _is_copied(self, hypothesis: str, source: str, reference: str | None) -> bool | None:
        if not any(map(str.isalpha, source)):
            return None
        return hypothesis == source and source != reference
