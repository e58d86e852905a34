"""How sure a figure is: confidence intervals and paired tests, from the statistics of segments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from hexapla.evaluate.metrics.metric import Metric

if TYPE_CHECKING:
    import numpy as np

NUM_RESAMPLES = 1000
SEED = 12345  # sacreBLEU's, so that the figures agree


def interval(
    metric: Metric | type[Metric],
    statistics: Sequence[Sequence[float]],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float]:
    """The 95 % confidence interval of a corpus figure by bootstrap over segments (Koehn, 2004).

    Args:
        statistics: of each segment; at least one.
    """
    import numpy as np

    figures = np.sort(metric.aggregate(_counts(len(statistics), num_resamples, seed) @ np.asarray(statistics)))
    figures = figures[~np.isnan(figures)]
    cut = len(figures) // 40
    return float(figures[cut]), float(figures[len(figures) - cut - 1])


@lru_cache(maxsize=8)
def _counts(num_segments: int, num_resamples: int, seed: int) -> np.ndarray:
    """[num_resamples, num_segments]: how often each segment is in each resample; the draws are sacreBLEU's."""
    import numpy as np

    drawn = np.random.default_rng(seed).choice(num_segments, size=(num_resamples, num_segments), replace=True)
    counts = np.zeros((num_resamples, num_segments))
    np.add.at(counts, (np.arange(num_resamples)[:, None], drawn), 1)
    return counts
