"""spBLEU: BLEU over the SentencePiece pieces of FLORES-200 (NLLB Team, 2022), one tokenizer for all languages."""

from __future__ import annotations

from typing import Any

from hexapla.evaluate.metrics.bleu import Bleu, make_bleu


class SpBleu(Bleu):
    """BLEU over subwords; needs `hexapla[spbleu]` and the model file of FLORES-200."""

    title = "spBLEU"

    def make(self, target: str) -> Any:
        """BLEU with the tokenizer `flores200`, whatever the language."""
        return make_bleu("flores200")
