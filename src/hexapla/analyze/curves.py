"""Curves of losses, small enough to stand in a row of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hexapla.common.artifacts import read_jsonl

NUM_POINTS = 60  # of a curve some hundred pixels wide
_WIDTH, _HEIGHT = 100.0, 24.0


@dataclass(frozen=True)
class Course:
    """An adapter's losses as SVG points in a box of 100 × 24; empty where there are none.

    Attributes:
        label: for those who do not see it.
    """

    training: str
    development: str
    label: str

    @classmethod
    def of(
        cls, training: Sequence[Sequence[float]], development: Sequence[Sequence[float]], num_steps: int | None
    ) -> Course | None:
        """From [step, loss] of both; None where neither has two finite ones.

        Args:
            num_steps: updates in the adapter, where the axis ends at the earliest; None: unknown.
        """
        lines = [_finite(training), _finite(development)]
        if max(map(len, lines)) < 2:
            return None
        points = [point for line in lines for point in line]
        last = max(num_steps or 0, *(step for step, _ in points), 1)
        least, greatest = min(loss for _, loss in points), max(loss for _, loss in points)
        height = greatest - least

        def drawn(line: list[tuple[float, float]]) -> str:
            if len(line) < 2:
                return ""
            return " ".join(
                f"{_WIDTH * step / last:.1f},{_HEIGHT * (greatest - loss) / height if height > 0 else _HEIGHT / 2:.1f}"
                for step, loss in line
            )

        labels = [
            f"{name} loss from {line[0][1]:.3f} to {line[-1][1]:.3f}"
            for name, line in zip(("training", "development"), lines, strict=True)
            if len(line) > 1
        ]
        return cls(drawn(lines[0]), drawn(lines[1]), ", ".join(labels))


def loss_curve(log: Path, num_points: int = NUM_POINTS) -> list[list[float]]:
    """[step, loss] of a `log.jsonl`, each the mean of neighbouring steps, at most `num_points`; none without a log."""
    if not log.is_file():
        return []
    points = _finite([(record["step"], record["loss"]) for record in read_jsonl(log)])
    size = max(1, math.ceil(len(points) / num_points))
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [[_mean([step for step, _ in part]), _mean([loss for _, loss in part])] for part in parts]


def _finite(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(step, loss) for step, loss in points if math.isfinite(loss)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
