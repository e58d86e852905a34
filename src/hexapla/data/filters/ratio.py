"""Pairs of which one side is much longer than the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import PairFilter
from hexapla.data.filters.thresholds import reasons_at


class RatioFilter(PairFilter):
    """Rejects pairs by the ratio of their widths, in which a letter of a dense script counts as several."""

    filter: Literal["length-ratio"] = Field("length-ratio", description="One side is much longer.")
    max: float = Field(
        3.0, ge=1, description="Largest ratio of the longer to the shorter side. Default: LMT's, and OpusFilter's."
    )
    reasons: ClassVar[Mapping[str, str]] = {"length-ratio": "one side is much longer than the other"}

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The reason of each pair, or None."""
        import numpy as np

        from hexapla.text.arrays import widths

        first_N, second_N = widths(first), widths(second)
        uneven = np.maximum(first_N, second_N) > self.max * np.minimum(first_N, second_N)
        return reasons_at(len(first), ("length-ratio", np.flatnonzero(uneven).tolist()))
