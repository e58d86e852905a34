"""Settings of mixing sources of text, and the shares that they come to; `hexapla.data.mixer` mixes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from hexapla.common.errors import UserError, nearest
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


def check_mix_names(spec: MixSpec, names: Iterable[str], where: str = "mix.weights") -> None:
    """Refuse weights that do not name the sources.

    Raises:
        UserError: a weight's name is no source, or a source has no weight.
    """
    if spec.weights is None:
        return
    known = list(names)
    for name in spec.weights:
        if name not in known:
            raise UserError(f"There is no source {name!r} to mix.", where=where, hint=nearest(name, known))
    if missing := [name for name in known if name not in spec.weights]:
        raise UserError(
            f"No weight is given for {', '.join(missing)}.", where=where, hint="Give weight 0 to leave a source out."
        )


def mix_shares(spec: MixSpec, sizes: Mapping[str, int], where: str = "mix") -> dict[str, float]:
    """The share of every source; they add up to 1, and what is left out has 0.

    Args:
        sizes: source → rows or tokens of one pass, as `spec.unit` says.

    Raises:
        UserError: as `check_mix_names`, or a source with a weight is empty, or all are.
    """
    check_mix_names(spec, sizes, f"{where}.weights")
    if spec.weights is not None:
        if empty := [name for name, weight in spec.weights.items() if weight and not sizes[name]]:
            raise UserError(
                f"The source {empty[0]!r} is to be mixed in, but holds nothing.",
                where=f"{where}.weights.{empty[0]}",
                hint="Give it text, or weight 0.",
            )
        weights = {name: spec.weights[name] for name in sizes}
    else:
        largest = max(sizes.values(), default=0)
        if not largest:
            raise UserError("No source holds anything to mix.", where=where)
        power = 1 / (spec.temperature or 1.0)
        weights = {name: (size / largest) ** power if size else 0.0 for name, size in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
