"""Run all stages of a recipe, skipping what is done: corpus, adapters, pools, merges, scores, report."""

from __future__ import annotations

import argparse

from hexapla.cli.recipe_arguments import add_out_argument, add_recipe_arguments, load_recipe, out_folder

EXAMPLE = "hexapla run quickstart --set train.lora.rank=8 --out runs/rank8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE, --set, --out."""
    add_recipe_arguments(parser)
    add_out_argument(parser)


def execute(options: argparse.Namespace) -> None:
    """Run the recipe and print the comparison of its pools."""
    recipe = load_recipe(options)

    from hexapla.pipeline.run import run_recipe

    outcome = run_recipe(recipe, out_folder(options, recipe))
    print(outcome.summary())
