"""The contract of a metric: statistics per segment, aggregated late, and a signature that is true.

Figures of any set of segments follow from the sums of their statistics alone, so that means over groups, confidence
intervals and paired tests need no second pass over the texts, and no model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hexapla.evaluate.metrics.settings import MetricSettings

if TYPE_CHECKING:
    import numpy as np

    from hexapla.neural.spans import ErrorSpan

Text = Literal["sources", "references"]


@dataclass(frozen=True)
class Segments:
    """What a metric is given of one direction: lists of equal length, the texts of one segment at one position.

    Attributes:
        hypotheses: the translations.
        references: None where there are none.
        sources: None where they are not known.
        source: code of the language of the sources; None where it is not known.
    """

    hypotheses: Sequence[str]
    references: Sequence[str] | None
    sources: Sequence[str] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        for name, texts in (("references", self.references), ("sources", self.sources)):
            if texts is not None and len(texts) != len(self.hypotheses):
                raise ValueError(f"{len(self.hypotheses)} hypotheses, {len(texts)} {name}")

    def has(self, text: Text) -> bool:
        """Whether these texts are here."""
        return getattr(self, text) is not None

    def required(self, text: Text) -> Sequence[str]:
        """Texts that the metric `needs`, which its caller has made sure of."""
        texts: Sequence[str] | None = getattr(self, text)
        if texts is None:
            raise ValueError(f"this metric needs {text}")
        return texts


class Metric(ABC):
    """A metric for one target language. Constructing it raises `UserError` when it cannot be computed here.

    Constructing is cheap: models are loaded when the first statistics are asked for.

    Attributes:
        title: the name as papers write it.
        higher_is_better: False for error rates.
        is_failure: whether it is the share of translations that failed in one way, in percent.
        needs: the texts without which there is no figure, besides the hypotheses.
        signature: all that could change the figure, such as `nrefs:1|case:mixed|...|version:2.6.0`.
    """

    title: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    is_failure: ClassVar[bool] = False
    needs: ClassVar[tuple[Text, ...]] = ("references",)
    signature: str

    @abstractmethod
    def __init__(self, target: str, settings: MetricSettings) -> None:
        """Make the metric for translations into the language with code `target`."""

    @abstractmethod
    def statistics(self, segments: Segments) -> list[list[float]]:
        """Sufficient statistics of each segment; of equal lengths, additive over segments.

        Raises:
            UserError: the metric has no finite figure for a segment; the message names it.
        """

    @classmethod
    @abstractmethod
    def aggregate(cls, sums: np.ndarray) -> np.ndarray:
        """Figures of sets of segments; the same for all target languages, nothing has to be installed for it.

        Args:
            sums: [S, k], the sums of the statistics over each of S sets.

        Returns:
            [S]; NaN where a set holds nothing that counts: there is no figure, and 0 would be a lie.
        """

    @classmethod
    def corpus_score(cls, statistics: Sequence[Sequence[float]]) -> float | None:
        """The figure for a set of segments; None where nothing in it counts.

        Raises:
            ValueError: the set is empty.
        """
        import numpy as np

        if not len(statistics):
            raise ValueError("no segments")
        figure = float(cls.aggregate(np.asarray(statistics, dtype=np.float64).sum(axis=0, keepdims=True))[0])
        return None if math.isnan(figure) else figure

    @classmethod
    def segment_score(cls, statistics: Sequence[float]) -> float | None:
        """The figure for a single segment, made comparable between short segments where the metric needs that."""
        return cls.corpus_score([statistics])

    def notes(self, segments: Segments) -> list[str | None] | None:
        """A word on each segment beside its figure, such as the language that was identified; None: none at all."""
        return None

    def errors(self, segments: Segments) -> Sequence[Sequence[ErrorSpan]] | None:
        """The errors that the metric finds in each hypothesis, in their order; None: it does not look for them."""
        return None


class SacrebleuMetric(Metric):
    """What the metrics computed by sacreBLEU have in common.

    sacreBLEU's own `corpus_score` is `_extract_corpus_statistics` followed by `_aggregate_and_compute`, which sums and
    calls `_compute_score_from_stats`; it does not export these parts, which are the same in all of its releases 2.0 to
    2.6. The tests compare with the whole.

    `corpus_score` and `segment_score` are sacreBLEU's. `aggregate` writes the same formula for many sets at once, which
    makes paired tests a hundred times as fast; the tests hold it to sacreBLEU's.
    """

    def __init__(self, target: str, settings: MetricSettings) -> None:
        self._sacrebleu = self.make(target)
        self._sacrebleu.num_refs = 1
        self.signature = str(self._sacrebleu.get_signature())

    @abstractmethod
    def make(self, target: str) -> Any:
        """The `sacrebleu.metrics` object for a target language."""

    @classmethod
    @abstractmethod
    def aggregator(cls, *, of_segments: bool) -> Any:
        """The `sacrebleu.metrics` object that turns sums into figures: of corpora, or of single segments."""

    def statistics(self, segments: Segments) -> list[list[float]]:
        """Sufficient statistics of each segment against its single reference."""
        references = segments.required("references")
        if not segments.hypotheses:
            return []
        found = self._sacrebleu._extract_corpus_statistics(list(segments.hypotheses), [list(references)])
        return [list(segment) for segment in found]

    @classmethod
    def corpus_score(cls, statistics: Sequence[Sequence[float]]) -> float | None:
        """sacreBLEU's figure; it has one for every set that is not empty."""
        if not len(statistics):
            raise ValueError("no segments")
        sums = [sum(column) for column in zip(*statistics, strict=True)]
        return float(_aggregator(cls, False)._compute_score_from_stats(sums).score)

    @classmethod
    def segment_score(cls, statistics: Sequence[float]) -> float | None:
        """sacreBLEU's sentence-level figure."""
        return float(_aggregator(cls, True)._compute_score_from_stats(list(statistics)).score)


@lru_cache
def _aggregator(metric: type[SacrebleuMetric], of_segments: bool) -> Any:
    return metric.aggregator(of_segments=of_segments)


class MeanMetric(Metric):
    """A metric whose figure is a mean: its statistics are [sum, count], its figure `scale` · sum / count."""

    scale: ClassVar[float] = 100.0

    @classmethod
    def aggregate(cls, sums: np.ndarray) -> np.ndarray:
        """[S, 2] sums and counts (columns beyond these two do not matter) → [S]; NaN where the count is 0."""
        import numpy as np

        counted = sums[:, 1] > 0
        return np.where(counted, cls.scale * sums[:, 0] / np.where(counted, sums[:, 1], 1.0), np.nan)
