"""Pairs whose two sides are the same text, or nearly: the source was copied instead of translated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import PairFilter
from hexapla.data.filters.thresholds import reasons_at
from hexapla.identification import are_relatives, language_of
from hexapla.text.characters import bare

_MAX_COMPARED = 1000  # characters of each side; two texts that begin like that and then differ are not met with


class IdenticalFilter(PairFilter):
    """Rejects pairs whose sides are the same but for case, punctuation, symbols and white space, or nearly the same.

    Nearness is the Levenshtein distance of what is left, divided by the longer side's length. Close relatives (da and
    nb) and varieties of one language, whose translations may well be near, must be the same to be rejected.
    """

    filter: Literal["identical"] = Field("identical", description="Both sides are the same, or nearly.")
    similarity: float | None = Field(
        0.9,
        gt=0,
        lt=1,
        description="Sides at least this similar are near-identical; null: only identical ones are rejected. Default: "
        "that of OpusFilter's SimilarityFilter.",
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "identical": "both sides are the same text",
        "near-identical": "both sides are the same text but for a few characters",
    }

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The reason of each pair, or None."""
        import numpy as np

        from hexapla.text.distance import distance, least_distances

        one, other = (language_of(code) for code in codes)
        similarity = None if one == other or are_relatives(one, other) else self.similarity
        least_N, longer_N = least_distances(first, second)
        suspects = np.flatnonzero(least_N <= _largest_distance(longer_N, similarity)).tolist()
        pairs = [(at, bare(first[at]), bare(second[at])) for at in suspects]
        identical = [at for at, a, b in pairs if a == b]
        near = []
        for at, a, b in pairs if similarity is not None else ():
            begins = a[:_MAX_COMPARED], b[:_MAX_COMPARED]
            if a != b and distance(*begins) <= _largest_distance(max(map(len, begins)), similarity):
                near.append(at)
        return reasons_at(len(first), ("identical", identical), ("near-identical", near))


def _largest_distance(length: Any, similarity: float | None) -> Any:
    """How far texts of this length may be from each other to be similar enough, and no rounding in between."""
    return 0 if similarity is None else (1 - similarity) * length + 1e-6
