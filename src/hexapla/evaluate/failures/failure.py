"""What all failure rates have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from hexapla.evaluate.metrics.metric import MeanMetric, Segments, Text
from hexapla.evaluate.metrics.settings import MetricSettings


class FailureRate(MeanMetric):
    """The share of translations that failed, in percent; statistics are [failed, counted].

    A segment that cannot be judged is not counted: it is neither a failure nor a success.
    """

    higher_is_better: ClassVar[bool] = False
    is_failure: ClassVar[bool] = True
    needs: ClassVar[tuple[Text, ...]] = ()

    def __init__(self, target: str, settings: MetricSettings) -> None:
        self.target = target
        self.signature = self.describe()

    @abstractmethod
    def describe(self) -> str:
        """The rule with its limits, such as `rule:copied|version:1`: the signature."""

    @abstractmethod
    def judge(self, segments: Segments) -> list[bool | None]:
        """Of each segment whether its translation failed; None where that cannot be told."""

    def statistics(self, segments: Segments) -> list[list[float]]:
        """[1, 1] of a failure, [0, 1] of a success, [0, 0] of what cannot be judged."""
        return [[0.0, 0.0] if failed is None else [float(failed), 1.0] for failed in self.judge(segments)]


def references_or_none(segments: Segments) -> Sequence[str | None]:
    """The reference of each segment; None for all where there are none."""
    return segments.references if segments.references is not None else [None] * len(segments.hypotheses)
