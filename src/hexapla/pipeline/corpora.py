"""Corpora of a recipe's parts: what decides them, and one copy in memory for all that read the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexapla.data.spec import DataSpec
from hexapla.data.stage import Corpus, clean_versions, input_digests, load_corpus
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


def corpus_key(recipe: Recipe, data: DataSpec | None = None) -> dict[str, Any]:
    """What a recipe's corpus depends on, its files and filters among it, as JSON data.

    Args:
        data: as in `corpus_settings`.

    Raises:
        UserError: a file is missing; a filter cannot work here.
    """
    data = recipe.data if data is None else data
    return {
        **corpus_settings(recipe, data),
        "filters": clean_versions(data.clean),
        "inputs": input_digests(data, recipe.languages),
    }


class Corpora:
    """Corpora by folder, whose name is the digest of what made them; the latest is held, and no other.

    Parts that read through the same object thus hold one copy, however many of them were made of the same corpus.
    """

    def __init__(self) -> None:
        self._latest: tuple[Path, Corpus] | None = None

    def read(self, folder: Path) -> Corpus:
        """The corpus in a folder.

        Raises:
            CorruptArtifactError: it is damaged.
        """
        if self._latest is None or self._latest[0] != folder:
            self._latest = None  # let go before the next is read
            self._latest = folder, load_corpus(folder)
        return self._latest[1]
