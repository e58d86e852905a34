"""Profiles as a model gives them: languages apart at first, near each other in the middle, apart again at the end."""

from __future__ import annotations

import numpy as np

from hexapla.analyze.representations.profile import RepresentationProfile


def profile(
    name: str,
    codes: tuple[str, ...],
    *,
    depth: int = 8,
    height: float = 0.5,
    num_rows: int = 40,
    adapters: dict[str, str | None] | None = None,
    seed: int = 1,
) -> RepresentationProfile:
    """A profile whose retrieval rises to about `height` in the middle layer."""
    random = np.random.default_rng(seed)
    layers = tuple(range(depth + 1))
    count = len(codes)
    reach = height * np.sin(np.pi * np.arange(depth + 1) / depth) ** 2 + 0.05  # [L]
    likeness = 1 - 0.4 * np.abs(np.subtract.outer(np.arange(count), np.arange(count))) / max(count, 1)
    likeness = likeness * random.uniform(0.85, 1.0, (count, count))

    def matrices(values: np.ndarray) -> np.ndarray:
        found = values[:, None, None] * likeness
        found[:, np.arange(count), np.arange(count)] = np.nan
        return found

    places = {layer: _places(random, count, num_rows, reach[layer]) for layer in layers}
    return RepresentationProfile(
        name=name,
        depth=depth,
        layers=layers,
        languages=codes,
        num_rows=num_rows,
        num_shared=np.full((count, count), num_rows),
        retrieval=matrices(reach),
        retrieval_centred=matrices(np.minimum(1.2 * reach, 1.0)),
        cosine_translations=matrices(0.5 + reach / 2),
        cosine_others=matrices(0.45 + reach / 5),
        auc=matrices(0.5 + reach / 2.2),
        cka=matrices(0.2 + 0.7 * reach),
        probe=1.0 - reach / 3,
        probe_by_language=1.0 - reach[:, None] / 3 * random.uniform(0.5, 1.0, (depth + 1, count)),
        probe_chance=1 / count,
        anisotropy=0.2 + 0.6 * np.linspace(0, 1, depth + 1) ** 2,
        projection=places,
        projected=tuple((row, code) for code in codes for row in range(num_rows)),
        projection_method="pca",
        explained=dict.fromkeys(layers, (0.31, 0.12)),
        adapters=dict.fromkeys(codes) if adapters is None else adapters,
        seconds=75.0,
    )


def _places(random: np.random.Generator, count: int, num_rows: int, reach: float) -> np.ndarray:
    """[count · num_rows, 2]: by language where `reach` is low, by sentence where it is high."""
    by_language = np.repeat(random.normal(size=(count, 2)), num_rows, axis=0) * (1 - reach)
    by_row = np.tile(random.normal(size=(num_rows, 2)), (count, 1)) * reach
    return by_language + by_row + 0.12 * random.normal(size=(count * num_rows, 2))
