"""What of a recipe decides its corpus: variants that agree in it share one."""

from __future__ import annotations

from typing import Any

from hexapla.data.spec import DataSpec
from hexapla.recipe import Recipe


def corpus_settings(recipe: Recipe, data: DataSpec | None = None) -> dict[str, Any]:
    """The settings that a recipe's rows depend on, as JSON data: all of `data` but what shapes examples.

    Args:
        data: the recipe's corpora with those made for it; None: as the recipe has them.
    """
    settings = (recipe.data if data is None else data).resolved()
    for shaping in ("downsample", "pmp"):  # of examples, which are made of the rows
        del settings[shaping]
    if settings["clean"] is not None:
        del settings["clean"]["processes"]
    return {
        "data": settings,
        "languages": list(recipe.languages),
        "hubs": list(recipe.hubs),
        "seed": recipe.seed,
    }
