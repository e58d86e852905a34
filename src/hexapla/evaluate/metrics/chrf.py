"""chrF and chrF++: F-scores of character n-grams (Popović, 2015), and with words and word pairs (Popović, 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hexapla.evaluate.metrics.metric import SacrebleuMetric

if TYPE_CHECKING:
    import numpy as np

_BETA = 2  # how much more recall weighs than precision


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

    @classmethod
    def aggregate(cls, sums: np.ndarray) -> np.ndarray:
        """[S, 3·orders] n-grams of the hypothesis, of the reference, and matches, for each order → [S]."""
        import numpy as np

        hypothesis, reference, matches = (sums[:, kind::3] for kind in range(3))
        counted = (hypothesis > 0) & (reference > 0)
        orders = np.maximum(counted.sum(axis=1), 1)
        precision, recall = (
            np.where(counted, matches / np.where(counted, grams, 1), 0).sum(axis=1) / orders
            for grams in (hypothesis, reference)
        )
        weighted = _BETA**2 * precision + recall
        return 100 * (1 + _BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)


class ChrfPlusPlus(Chrf):
    """chrF++: chrF with words and word bigrams."""

    title = "chrF++"
    word_order = 2
