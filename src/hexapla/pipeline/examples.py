"""A recipe's training examples: which rows give which, and with which auxiliary sentence."""

from __future__ import annotations

from pathlib import Path

from hexapla.base import Base, fingerprint
from hexapla.common.artifacts import read_json, write_json
from hexapla.data.auxiliaries import Auxiliaries, choose_auxiliaries
from hexapla.data.examples import ExampleMaker
from hexapla.data.stage import load_corpus
from hexapla.pipeline.workspace import Workspace
from hexapla.recipe import Recipe

_DISTANCES_FILE = "distances.json"


def example_maker(recipe: Recipe, auxiliaries: Auxiliaries | None = None) -> ExampleMaker:
    """What makes the training examples of a recipe's rows.

    Args:
        auxiliaries: languages to show beside the source; None: none, for what only needs directions and targets.
    """
    return ExampleMaker(
        hubs=recipe.hubs,
        seed=recipe.seed,
        downsample=recipe.data.downsample,
        pmp=None if auxiliaries is None else recipe.data.pmp,
        auxiliaries=Auxiliaries() if auxiliaries is None else auxiliaries,
    )


def auxiliaries_of(recipe: Recipe, corpus: Path, base: Base, workspace: Workspace) -> Auxiliaries:
    """The auxiliary languages that the recipe asks for; none where it has no PMP.

    Args:
        corpus: folder of the built corpus, on whose training rows distances between languages are measured.
        base: whose representations are compared, where the recipe chooses by distance.

    Raises:
        UserError: the base cannot be loaded.
    """
    spec = recipe.data.pmp
    if spec is None:
        return Auxiliaries()
    distances = None
    if spec.auxiliary == "distance":
        key = {"base": fingerprint(base), "corpus": corpus.name, "seed": recipe.seed}

        def build(aside: Path, _: Path) -> None:
            from hexapla.data.representations import language_distances

            rows = load_corpus(corpus).train
            write_json(aside / _DISTANCES_FILE, language_distances(base, rows, recipe.languages, seed=recipe.seed))

        distances = read_json(workspace.make("distances", recipe.name, key, build) / _DISTANCES_FILE)
    return choose_auxiliaries(spec, recipe.languages, recipe.hubs, distances=distances, seed=recipe.seed)
