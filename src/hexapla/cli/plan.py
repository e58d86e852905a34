"""Show what a recipe would do and cost; nothing is loaded or trained."""

from __future__ import annotations

import argparse

from hexapla.cli.recipe_arguments import add_out_argument, add_recipe_arguments, load_recipe, out_folder

EXAMPLE = "hexapla plan x-alma-13b-datm --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE, --set, --out, --json."""
    add_recipe_arguments(parser)
    add_out_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")


def execute(options: argparse.Namespace) -> None:
    """Print the plan."""
    recipe = load_recipe(options)

    from hexapla.pipeline.costing import plan_json, plan_text

    make = plan_json if options.json else plan_text
    print(make(recipe, out_folder(options, recipe)))
