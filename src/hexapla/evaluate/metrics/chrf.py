"""chrF and chrF++: F-scores of character n-grams (Popović, 2015), and with words and word pairs (Popović, 2017)."""

from __future__ import annotations

from typing import Any, ClassVar

from hexapla.evaluate.metrics.metric import SacrebleuMetric


class Chrf(SacrebleuMetric):
    """chrF: character n-grams up to 6, β = 2."""

    title = "chrF"
    word_order: ClassVar[int] = 0

    def make(self, target: str) -> Any:
        """chrF; the same for every language."""
        from sacrebleu.metrics import CHRF

        return CHRF(word_order=self.word_order)

    @classmethod
    def aggregator(cls, *, of_segments: bool) -> Any:
        """The same for corpora and segments."""
        from sacrebleu.metrics import CHRF

        return CHRF(word_order=cls.word_order)


class ChrfPlusPlus(Chrf):
    """chrF++: chrF with words and word bigrams."""

    title = "chrF++"
    word_order = 2
