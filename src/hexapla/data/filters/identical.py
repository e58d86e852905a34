"""Pairs whose two sides are the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import PairFilter
from hexapla.text.characters import bare


class IdenticalFilter(PairFilter):
    """Rejects pairs whose sides do not differ, or differ in case, punctuation and white space only."""

    filter: Literal["identical"] = Field("identical", description="Both sides are the same.")
    reasons: ClassVar[Mapping[str, str]] = {"identical": "both sides are the same text"}

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The reason of each pair, or None."""
        return ["identical" if a == b or bare(a) == bare(b) else None for a, b in zip(first, second, strict=True)]
