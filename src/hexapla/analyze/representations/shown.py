"""The profiles that a section shows together: which layers stand for each other, in which order languages come.

Shapes: C languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from hexapla import languages
from hexapla.analyze.representations.profile import RepresentationProfile

MOST_COLOURS = 8
"""Languages that can be told apart by colour and shape."""


@dataclass(frozen=True)
class Shown:
    """The profiles, and the layer that is looked at closely, counted in the first of them."""

    profiles: tuple[RepresentationProfile, ...]
    aligned: int | None

    @property
    def first(self) -> RepresentationProfile:
        return self.profiles[0]

    @cached_property
    def layer(self) -> int:
        """The aligned layer, else the block after which the first model retrieves best; the embeddings are no block."""
        if self.aligned is not None:
            return nearest_layer(self.first.layers, self.aligned)
        found = {layer: mean(matrix) for layer, matrix in zip(self.first.layers, self.first.retrieval, strict=True)}
        ranked = [(value, -layer) for layer, value in found.items() if value is not None and layer > 0]
        return -max(ranked)[1] if ranked else self.first.layers[-1]

    @property
    def at(self) -> str:
        """What the layer is, in words."""
        reason = "aligned" if self.aligned is not None else f"where {self.first.name} retrieves best"
        return f"layer {self.layer} of {self.first.depth} ({reason})"

    @property
    def is_of_one_depth(self) -> bool:
        return len({profile.depth for profile in self.profiles}) == 1

    @cached_property
    def codes(self) -> list[str]:
        """All languages; where there are many, relatives beside each other."""
        codes = list(dict.fromkeys(code for profile in self.profiles for code in profile.languages))
        return codes if len(codes) <= MOST_COLOURS else sorted(codes, key=_kin)

    def same(self, profile: RepresentationProfile, layer: int) -> int:
        """The layer of another model at the same share of its depth, as near as one was measured."""
        return nearest_layer(profile.layers, layer / self.first.depth * profile.depth)


def nearest_layer(layers: Iterable[int], wanted: float) -> int:
    """The layer that is nearest to the wanted one, which may lie between two."""
    return min(layers, key=lambda layer: abs(layer - wanted))


def ordered(own: Sequence[str], codes: Sequence[str], matrix: np.ndarray) -> np.ndarray:
    """A matrix [C, C] of a profile over all languages shown; the diagonal, and what it lacks, is NaN."""
    places = {code: place for place, code in enumerate(own)}
    found = np.full((len(codes), len(codes)), np.nan)
    for row, column in product(range(len(codes)), repeat=2):
        if row != column and codes[row] in places and codes[column] in places:
            found[row, column] = matrix[places[codes[row]], places[codes[column]]]
    return found


def position(shown: Shown, profile: RepresentationProfile, layer: int) -> int:
    """Where a profile holds the layer that stands for this one of the first."""
    return profile.layers.index(shown.same(profile, layer))


def mean(values: np.ndarray) -> float | None:
    """The mean of what is known; None where nothing is. The diagonal of a matrix is no pair of languages."""
    if values.ndim == 2:
        values = values[~np.eye(len(values), dtype=bool)]
    found = values[~np.isnan(values)]
    return float(found.mean()) if found.size else None


def known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def branch(code: str) -> str:
    found = languages.find(code)
    return found.subgroup if found is not None else ""


def name_of(code: str) -> str:
    found = languages.find(code)
    return found.name if found is not None else code


def _kin(code: str) -> tuple[str, str, str, str]:
    found = languages.find(code)
    return (found.family, found.subgroup, found.script, code) if found is not None else ("~", "", "", code)
