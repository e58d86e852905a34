"""Validate everything that can be validated before hours are spent: files, languages, base, tokenizer, disk."""

from __future__ import annotations

import argparse

from hexapla.cli.recipe_arguments import add_out_argument, add_recipe_arguments, load_recipe, out_folder

EXAMPLE = "hexapla check ntrex-datm --set data.train.0.path=corpora/ntrex"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE, --set, --out."""
    add_recipe_arguments(parser)
    add_out_argument(parser)


def execute(options: argparse.Namespace) -> None:
    """Print one line a check; fail with the user's exit code when one of them fails."""
    recipe = load_recipe(options)

    from hexapla.common.errors import UserError
    from hexapla.pipeline.check import check_recipe

    failed = 0
    for finding in check_recipe(recipe, out_folder(options, recipe)):
        failed += finding.verdict == "fail"
        print(finding.line(), flush=True)
    if failed:
        raise UserError(f"{failed} of the checks above failed.", where=options.recipe)
