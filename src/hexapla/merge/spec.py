"""Settings of merging.

Three published implementations of TIES differ in six choices and give different numbers. Each choice is a field of
`TiesChoices`; a dialect, named after the source, sets them all.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from hexapla.common.spec import Spec

OperatorName = Literal["ties", "linear", "dare", "dare-ties"]
Dialect = Literal["reference", "peft", "mergekit"]


class TiesChoices(Spec):
    """What the implementations of TIES do differently. A choice that is not given is the dialect's."""

    trim: Literal["vector", "tensor"] | None = Field(
        "vector",
        description="Unit in which the largest entries are kept: all modules together, or each one. None: dare-ties.",
    )
    kept: Literal["floor-plus-one", "floor"] | None = Field(
        "floor-plus-one",
        description="How many of n entries are kept at density p: floor(p·n) + 1 or floor(p·n). None: dare-ties.",
    )
    majority_sign: Literal["total", "frequency"] = Field(
        "total", description="Sign of the sum of the values, or of the number of positive against negative ones."
    )
    weighting: Literal["none", "before-election", "after-election"] = Field(
        "none",
        description="Whether the sign is elected from weighted values, from plain ones, or there are no weights.",
    )
    divisor: Literal["count", "weight-sum", "one"] = Field(
        "count",
        description="What the sum of agreeing values is divided by: their number, the sum of their weights, or 1.",
    )
    zero_sum: Literal["majority", "positive"] = Field(
        "majority",
        description="Sign where the election is a draw: the sign of most entries of the whole vector, or plus.",
    )


_DIALECTS: dict[str, dict[str, str]] = {
    "reference": {
        "trim": "vector",
        "kept": "floor-plus-one",
        "majority_sign": "total",
        "weighting": "none",
        "divisor": "count",
        "zero_sum": "majority",
    },
    "peft": {
        "trim": "tensor",
        "kept": "floor",
        "majority_sign": "total",
        "weighting": "after-election",
        "divisor": "count",
        "zero_sum": "positive",
    },
    "mergekit": {
        "trim": "tensor",
        "kept": "floor",
        "majority_sign": "total",
        "weighting": "before-election",
        "divisor": "weight-sum",
        "zero_sum": "positive",
    },
}


class MergeSpec(Spec):
    """How the experts of a pool become fewer adapters."""

    operator: OperatorName = Field("ties", description="Which operator joins the experts' updates.")
    density: float | None = Field(
        None, ge=0, le=1, description="Share of entries kept by trimming or dropping; None: 0.2 (linear keeps all)."
    )
    scale: FiniteFloat = Field(1.0, description="Factor λ of the merged update.")
    weights: dict[str, FiniteFloat] | None = Field(
        None, description="Weight by adapter name, 1 for the names not given; None: equal weights."
    )
    normalize: bool | None = Field(
        None,
        description="Divide the weights of a merge by their sum first; None: yes for linear and dare (a mean), "
        "no for ties and dare-ties, which divide by themselves.",
    )
    dialect: Dialect | None = Field(
        None,
        description="Whose TIES: reference (the authors'), peft or mergekit; None: reference, in space factors peft.",
    )
    ties: TiesChoices | None = Field(None, description="Single choices that depart from the dialect.")
    space: Literal["delta", "factors"] = Field(
        "delta",
        description="Merge the updates scale·B·A and compress back to low rank, or A and B separately as peft does "
        "(which depends on the basis of the factors).",
    )
    scope: Literal["to-hub", "from-hub", "all"] = Field(
        "to-hub", description="Side of the hubs whose experts are merged."
    )
    by: Literal["group", "all"] = Field(
        "group", description="Merge within each group, or all groups of a side together."
    )
    rank: int | Literal["full"] | None = Field(
        None, description="Rank of merged adapters; None: the largest among the experts; full: no compression."
    )

    @model_validator(mode="before")
    @classmethod
    def _write_out_defaults(cls, data: Any) -> Any:
        """Resolve what depends on the operator and the dialect, so that the saved settings say all."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        operator = data.get("operator", "ties")
        elects = operator in ("ties", "dare-ties")
        if data.get("density") is None and operator != "linear":
            data["density"] = 0.2
        if data.get("normalize") is None:
            data["normalize"] = not elects
        if elects and data.get("dialect") is None:
            data["dialect"] = "peft" if data.get("space") == "factors" else "reference"
        given = data.get("ties")
        if elects and data["dialect"] in _DIALECTS and (given is None or isinstance(given, dict)):
            data["ties"] = {**_preset(operator, data["dialect"]), **_not_none(given or {})}
        return data

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.operator == "linear" and self.density is not None:
            raise ValueError("the operator linear keeps every entry; leave density out")
        if self.operator in ("dare", "dare-ties") and self.density == 0:
            raise ValueError("density must be above 0, for DARE divides by it")
        if isinstance(self.rank, int) and self.rank < 1:
            raise ValueError("rank must be at least 1")
        if self.space == "factors" and self.rank is not None:
            raise ValueError("in the space factors the rank is that of the experts; leave rank out")
        if self.operator in ("ties", "dare-ties"):
            self._possible_election()
        elif self.dialect is not None or self.ties is not None:
            raise ValueError(f"only ties and dare-ties elect signs, not {self.operator}; leave dialect and ties out")
        return self

    def _possible_election(self) -> None:
        choices = self.choices
        if self.space == "factors" and self.dialect != "peft":
            raise ValueError(
                f"factors are merged as peft does; the dialect {self.dialect} is for whole updates (space: delta)"
            )
        if self.space == "factors" and choices.trim == "vector":
            raise ValueError("in the space factors each factor is trimmed by itself; set ties.trim to tensor")
        if self.operator == "dare-ties" and (choices.trim is not None or choices.kept is not None):
            raise ValueError("dare-ties drops entries at random and trims none; leave ties.trim and ties.kept out")
        if self.operator == "ties" and (choices.trim is None or choices.kept is None):
            raise ValueError("the operator ties needs ties.trim and ties.kept")
        if choices.weighting == "none":
            if self.weights is not None:
                raise ValueError(
                    f"the dialect {self.dialect} has no weights; leave weights out, "
                    "or set ties.weighting to before-election or after-election"
                )
            if self.normalize:
                raise ValueError("there are no weights to normalize (ties.weighting is none); leave normalize out")
            if choices.divisor == "weight-sum":
                raise ValueError("ties.divisor weight-sum needs weights, and ties.weighting is none")

    @property
    def choices(self) -> TiesChoices:
        """The six choices, for the operators that elect signs."""
        assert self.ties is not None, f"{self.operator} elects no signs"
        return self.ties


def _preset(operator: str, dialect: str) -> dict[str, str | None]:
    preset: dict[str, str | None] = dict(_DIALECTS[dialect])
    if operator == "dare-ties":
        preset["trim"] = preset["kept"] = None
        if dialect == "mergekit":
            preset["divisor"] = "one"  # mergekit's default for dare_ties is normalize: false, for ties true
    return preset


def _not_none(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}
