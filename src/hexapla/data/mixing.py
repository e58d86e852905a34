"""Settings of mixing sources of text."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hexapla.common.spec import Spec


class MixSpec(Spec):
    """How much of each source goes into the training text, and what happens when a source ends."""

    weights: dict[str, float] | None = Field(
        default=None, description="Source → weight; sources with weight 0 are left out. null: by size, see temperature."
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="Without weights: a source weighs its size to the power 1/temperature (1: as it is, large: alike).",
    )
    unit: Literal["rows", "tokens"] = Field(default="tokens", description="What weights, sizes and shares count.")
    exhaustion: Literal["stop", "repeat", "drop"] = Field(
        default="repeat",
        description="When a source ends: stop the mix; repeat the source in a new order; drop it, the others go on.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.weights is not None and self.temperature is not None:
            raise ValueError("give weights or a temperature, not both")
        if self.weights is not None:
            if negative := [name for name, weight in self.weights.items() if not 0 <= weight < float("inf")]:
                raise ValueError(f"weights: not a finite number of at least 0: {', '.join(negative)}")
            if not any(self.weights.values()):
                raise ValueError("weights: at least one must be above 0")
        return self
