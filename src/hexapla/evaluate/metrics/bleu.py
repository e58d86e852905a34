"""BLEU (Papineni et al., 2002) as sacreBLEU computes it (Post, 2018), tokenized by the rules of the target language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexapla.evaluate.metrics.metric import SacrebleuMetric
from hexapla.evaluate.metrics.tokenizers import require_tokenizer, tokenizer_for

if TYPE_CHECKING:
    import numpy as np


class Bleu(SacrebleuMetric):
    """Corpus BLEU. Segments are scored with effective order, without which most short ones would be near 0."""

    title = "BLEU"

    def make(self, target: str) -> Any:
        """BLEU with the tokenizer of the target language."""
        return make_bleu(tokenizer_for(target))

    @classmethod
    def aggregator(cls, *, of_segments: bool) -> Any:
        """BLEU without a tokenizer: the statistics are counted already."""
        from sacrebleu.metrics import BLEU

        return BLEU(tokenize="none", effective_order=of_segments)

    @classmethod
    def aggregate(cls, sums: np.ndarray) -> np.ndarray:
        """[S, 10] lengths of hypothesis and reference, then matches and n-grams of orders 1 to 4 → [S]."""
        import numpy as np

        hypothesis, reference = sums[:, 0], sums[:, 1]
        matches, total = sums[:, 2:6], sums[:, 6:10]
        none = matches == 0
        # the k-th order without matches counts as 1 / 2^k of a match (exponential smoothing, Chen and Cherry, 2014)
        smoothed = np.where(none, 0.5 ** none.cumsum(axis=1), matches)
        is_zero = none.all(axis=1) | (total == 0).any(axis=1)
        precisions = smoothed / np.where(total > 0, total, 1)
        brevity = np.minimum(0.0, 1 - reference / np.where(hypothesis > 0, hypothesis, 1))
        return np.where(is_zero, 0.0, 100 * np.exp(brevity + np.log(precisions).mean(axis=1)))


def make_bleu(tokenizer: str) -> Any:
    """sacreBLEU's BLEU with a tokenizer that is known to be here.

    Raises:
        UserError: the tokenizer needs a package or a file that is missing.
    """
    require_tokenizer(tokenizer)
    from sacrebleu.metrics import BLEU

    # force: the warning about tokenized-looking hypotheses is not wanted, sentences may end in " ."
    return BLEU(tokenize=tokenizer, force=True)
