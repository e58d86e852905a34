"""The contract of a metric: statistics per segment, aggregated late, and a signature that is true.

Figures of any set of segments follow from their statistics alone, so that means over groups, confidence
intervals and paired tests need no second pass over the texts.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar


class Metric(ABC):
    """A metric for one target language. Constructing it raises `UserError` when it cannot be computed here.

    Attributes:
        title: the name as papers write it.
        higher_is_better: False for error rates.
        signature: all that could change the figure, such as `nrefs:1|case:mixed|...|version:2.6.0`.
    """

    title: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    signature: str

    @abstractmethod
    def __init__(self, target: str) -> None:
        """Make the metric for translations into the language with code `target`."""

    @abstractmethod
    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> list[list[float]]:
        """Sufficient statistics of each segment; of equal lengths, additive over segments."""

    @abstractmethod
    def corpus_score(self, statistics: Sequence[Sequence[float]]) -> float:
        """The figure for a set of segments.

        Raises:
            ValueError: the set is empty: there is no figure, and 0 would be a lie.
        """

    @abstractmethod
    def segment_score(self, statistics: Sequence[float]) -> float:
        """The figure for a single segment, made comparable between short segments where the metric needs that."""


class SacrebleuMetric(Metric):
    """What the metrics computed by sacreBLEU have in common.

    sacreBLEU's own `corpus_score` is `_extract_corpus_statistics` followed by `_aggregate_and_compute`; it does not
    export the two halves, which are the same in all of its releases 2.0 to 2.6. The tests compare with the whole.
    """

    def __init__(self, target: str) -> None:
        self._corpus = self.make(target)
        self._corpus.num_refs = 1
        self.signature = str(self._corpus.get_signature())
        self._segment = copy.copy(self._corpus)

    @abstractmethod
    def make(self, target: str) -> Any:
        """The `sacrebleu.metrics` object for a target language."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> list[list[float]]:
        """Sufficient statistics of each segment against its single reference."""
        if len(hypotheses) != len(references):
            raise ValueError(f"{len(hypotheses)} hypotheses, {len(references)} references")
        if not hypotheses:
            return []
        found = self._corpus._extract_corpus_statistics(list(hypotheses), [list(references)])
        return [list(segment) for segment in found]

    def corpus_score(self, statistics: Sequence[Sequence[float]]) -> float:
        """sacreBLEU's figure for these segments."""
        if not statistics:
            raise ValueError("no segments")
        return float(self._corpus._aggregate_and_compute([list(segment) for segment in statistics]).score)

    def segment_score(self, statistics: Sequence[float]) -> float:
        """sacreBLEU's sentence-level figure."""
        return float(self._segment._aggregate_and_compute([list(statistics)]).score)
