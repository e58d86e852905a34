"""Translations that run on: explanations, other languages, hallucinated continuations."""

from __future__ import annotations

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments
from hexapla.text.characters import width

# Of the 4.9 million pairs of references of NTREX-128 (every ordered pair of 50 languages) 0.008 % are that long.
_RATIO = 2.0
_SLACK = 20


class OverLong(FailureRate):
    """More than twice as long as source and reference, whichever of them is longer, with 20 characters to spare.

    Lengths are in Latin characters: letters of Han, kana and Hangul count as the two or three that they stand for.
    """

    title = "over-long"

    def describe(self) -> str:
        """The limit, and against what."""
        return f"rule:width>{_RATIO:g}*(longest+{_SLACK})|against:source,reference|han:3.2|kana:1.7|hangul:2.2"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the translation is too long; None where there is neither source nor reference."""
        limits = [
            [_RATIO * (width(text) + _SLACK) for text in texts]
            for texts in (segments.sources, segments.references)
            if texts is not None
        ]
        if not limits:
            return [None] * len(segments.hypotheses)
        return [
            width(text) > max(allowed)
            for text, allowed in zip(segments.hypotheses, zip(*limits, strict=True), strict=True)
        ]
