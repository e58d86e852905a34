"""Translation edit rate (Snover et al., 2006): edits and shifts per reference word, in percent; lower is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexapla.evaluate.metrics.metric import SacrebleuMetric

if TYPE_CHECKING:
    import numpy as np


class Ter(SacrebleuMetric):
    """TER with tercom's tokenizer, which splits Chinese and Japanese into characters."""

    title = "TER"
    higher_is_better = False

    def make(self, target: str) -> Any:
        """TER, whose signature says whether characters or words were edited."""
        from sacrebleu.metrics import TER

        by_character = target.split("_")[0] in {"zh", "yue", "wuu", "lzh", "ja"}
        # tercom's support for Asian scripts has no effect without its normalisation
        return TER(asian_support=by_character, normalized=by_character)

    @classmethod
    def aggregator(cls, *, of_segments: bool) -> Any:
        """The same for corpora and segments."""
        from sacrebleu.metrics import TER

        return TER()

    @classmethod
    def aggregate(cls, sums: np.ndarray) -> np.ndarray:
        """[S, 2] edits and words of the references → [S]; edits without any reference are an error rate of 100."""
        import numpy as np

        edits, words = sums[:, 0], sums[:, 1]
        return 100 * np.where(words > 0, edits / np.where(words > 0, words, 1), edits > 0)
