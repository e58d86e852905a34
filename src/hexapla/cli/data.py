"""Show what becomes of a recipe's data before training, or what corpora hold (hexapla data inspect)."""

from __future__ import annotations

import argparse

from hexapla.cli.recipe_arguments import add_set_argument

EXAMPLE = "hexapla data quickstart; hexapla data inspect corpora/news.jsonl.gz --hubs en,zh"
_INSPECT = "inspect"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE, or the word inspect and RECIPE|FILE...; --set, --hubs, --json."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a recipe: its cleaning funnel and training examples; after the word inspect recipes, files (.jsonl, "
        ".json, .tmx, .tsv, .csv) or prefixes of plain-text files: what each corpus holds",
    )
    add_set_argument(parser, "override one value of the recipe, e.g. data.downsample.to_hub=0.1 (repeatable)")
    parser.add_argument(
        "--hubs", default="en", metavar="CODES", help="of files: pivot languages, comma-separated (default: en)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, unrounded")


def execute(options: argparse.Namespace) -> None:
    """Print tables, or everything as JSON."""
    from hexapla.common.errors import UserError
    from hexapla.data.inspection_text import inspection_text
    from hexapla.pipeline.data import inspect_sources, measure_data, records_json
    from hexapla.recipe import Recipe

    first, *others = options.names
    if first == _INSPECT:
        if not others:
            raise UserError("There is nothing to inspect.", hint="Give recipes or files: hexapla data inspect FILE.")
        found = inspect_sources(others, overrides=options.overrides, hubs=options.hubs.split(","))
        if options.json:
            print(records_json(record.to_record() for record in found))
        else:
            for number, record in enumerate(found):
                print(("\n\n" if number else "") + inspection_text(record), flush=True)
        return
    if others:
        raise UserError(f"One recipe at a time, not {' and '.join(options.names)}.")
    reports = measure_data(Recipe.load(first, options.overrides))
    if options.json:
        print(records_json(report.to_record() for report in reports))
    else:
        print("\n\n".join(report.to_text() for report in reports))
