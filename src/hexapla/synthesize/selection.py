"""Which scored translations are kept: those above a threshold, and of each language the best share."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from fractions import Fraction

from hexapla.common.seeds import uniform
from hexapla.synthesize.judgement import Drop
from hexapla.synthesize.spec import KeepSpec

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Selection:
    """Takes the scores of one language after the other in the order of the rows; then says what is kept.

    Of equal scores those with the lower hash of their row's id are the better ones: what is kept depends neither on the
    order of the rows nor on chance.
    """

    def __init__(self, spec: KeepSpec) -> None:
        self._spec = spec
        self._scores: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._ties: dict[str, array[float]] = defaultdict(lambda: array("d"))

    def add(self, code: str, row_id: str, score: float) -> None:
        """Take the score of a translation."""
        self._scores[code].append(score)
        self._ties[code].append(uniform(0, "synthesize", row_id))

    def decide(self) -> dict[str, list[Drop | None]]:
        """Language → of each score, in the order in which they came, why it is not kept; None: it is."""
        return {code: self._decide(code) for code in self._scores}

    def quantiles(self, code: str) -> dict[str, float]:
        """Quantiles of the scores of a language, such as `0.5` for the median; none without scores."""
        import numpy as np

        scores = self._scores[code]
        if not scores:
            return {}
        found = np.quantile(np.asarray(scores), QUANTILES)
        return {f"{quantile:g}": round(float(value), 4) for quantile, value in zip(QUANTILES, found, strict=True)}

    def _decide(self, code: str) -> list[Drop | None]:
        import numpy as np

        scores, ties = np.asarray(self._scores[code]), np.asarray(self._ties[code])
        num_best = math.ceil(Fraction(str(self._spec.best)) * len(scores))
        is_best = np.zeros(len(scores), dtype=bool)
        is_best[np.lexsort((ties, -scores))[:num_best]] = True
        threshold = -math.inf if self._spec.threshold is None else self._spec.threshold
        return [
            Drop.LOW_SCORE if low else None if best else Drop.NOT_BEST
            for low, best in zip((scores < threshold).tolist(), is_best.tolist(), strict=True)
        ]
