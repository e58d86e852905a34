"""Translations without any text."""

from __future__ import annotations

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments


class Empty(FailureRate):
    """Nothing but white space."""

    title = "empty"

    def describe(self) -> str:
        """It has no limits to name."""
        return "rule:no-text"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether nothing is left without white space."""
        return [not text.strip() for text in segments.hypotheses]
