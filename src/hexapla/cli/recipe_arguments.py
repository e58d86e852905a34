"""The arguments that every command on a recipe has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hexapla.recipe import Recipe


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """A recipe and settings that override it."""
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a bundled recipe")
    add_set_argument(parser, "override one value of the recipe, e.g. train.lora.rank=8 (repeatable)")


def add_set_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Settings written `a.b=value`."""
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="A.B=VALUE", help=what)


def load_recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that the options name."""
    from hexapla.recipe import Recipe

    return Recipe.load(options.recipe, options.overrides)


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """The folder of the run."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME)")


def out_folder(options: argparse.Namespace, recipe: Recipe) -> Path:
    """Where the run keeps its results."""
    return options.out if options.out is not None else Path("runs") / recipe.name
