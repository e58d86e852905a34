"""List the bundled recipes."""

from __future__ import annotations

import argparse

EXAMPLE = "hexapla recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def execute(options: argparse.Namespace) -> None:
    """Print name and first comment line of each bundled recipe."""
    from hexapla.recipe import bundled_recipes

    recipes = bundled_recipes()
    width = max(len(name) for name in recipes)
    for name, path in recipes.items():
        first_line = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
        print(f"{name:<{width}}  {first_line}")
