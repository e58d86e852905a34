"""Pairs of which one side is much longer than the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import PairFilter
from hexapla.text.characters import width


class RatioFilter(PairFilter):
    """Rejects pairs by the ratio of their widths, in which a letter of a dense script counts as several."""

    filter: Literal["length-ratio"] = Field("length-ratio", description="One side is much longer.")
    max: float = Field(3.0, ge=1, description="Largest ratio of the longer to the shorter side. Default: LMT.")
    reasons: ClassVar[Mapping[str, str]] = {"length-ratio": "one side is much longer than the other"}

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The reason of each pair, or None."""
        return [self._reason(width(a), width(b)) for a, b in zip(first, second, strict=True)]

    def _reason(self, first: float, second: float) -> str | None:
        return "length-ratio" if max(first, second) > self.max * min(first, second) else None
