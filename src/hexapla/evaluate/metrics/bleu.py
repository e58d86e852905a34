"""BLEU (Papineni et al., 2002) as sacreBLEU computes it (Post, 2018), tokenized by the rules of the target language."""

from __future__ import annotations

from typing import Any

from hexapla.evaluate.metrics.metric import SacrebleuMetric
from hexapla.evaluate.metrics.tokenizers import require_tokenizer, tokenizer_for


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


def make_bleu(tokenizer: str) -> Any:
    """sacreBLEU's BLEU with a tokenizer that is known to be here.

    Raises:
        UserError: the tokenizer needs a package or a file that is missing.
    """
    require_tokenizer(tokenizer)
    from sacrebleu.metrics import BLEU

    # force: the warning about tokenized-looking hypotheses is not wanted, sentences may end in " ."
    return BLEU(tokenize=tokenizer, force=True)
