"""Settings of evaluation: what is measured and on how much."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from hexapla.common.errors import UserError, nearest
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.languages import Direction


def _parse_direction(value: object) -> object:
    """Let a recipe write `de-en`; pydantic collects our error with its path."""
    if not isinstance(value, str):
        return value
    try:
        return Direction.parse(value)
    except UserError as error:
        raise ValueError(error.paragraph()) from error


_Direction = Annotated[Direction, BeforeValidator(_parse_direction), PlainSerializer(str, return_type=str)]


class EvaluateSpec(MetricSettings):
    """The section `evaluate` of a recipe."""

    metrics: tuple[str, ...] = Field(
        ("bleu", "chrf++"),
        min_length=1,
        description=f"Metrics to compute; known: {', '.join(METRICS)}. Failure rates are measured in any case.",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="At most this many rows a test set and direction, chosen by a stable hash of the row's id, "
        "the same rows in all directions; None: all.",
    )
    directions: tuple[_Direction, ...] | None = Field(
        None, min_length=1, description="Measure only these directions, written de-en; None: all of the recipe."
    )
    baseline: bool = Field(True, description="Whether the untrained base is measured too.")

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in METRICS:
                raise ValueError(f"there is no metric {name!r}. {nearest(name, METRICS)}")
        if len(set(value)) < len(value):
            raise ValueError("a metric is named twice")
        return value
