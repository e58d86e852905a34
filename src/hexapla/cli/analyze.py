"""Analyse finished runs: pools, conflict and synergy, geometry, repetition; or look inside models (representations)."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = (
    "hexapla analyze runs/compare-strategies; "
    "hexapla analyze representations builtin:tiny runs/quickstart/pools/direction-aware --data phrasebook"
)
_REPRESENTATIONS = "representations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, or the word representations and POOL|BASE...; --data, --languages, --rows, --projection, --out."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="folders of finished runs; of one run everything goes into its report, the pools of several are compared; "
        "after the word representations folders of pools, and bases: how they represent the same sentences in several "
        "languages, layer by layer",
    )
    parser.add_argument(
        "--data",
        action="append",
        metavar="CORPUS",
        help="for representations: rows in several languages: a recipe or the folder of a run (its test sets), an "
        "NTREX folder, a file (.jsonl, .json, .tmx, .tsv, .csv), a prefix of plain-text files, phrasebook, or a corpus "
        "as in a recipe: 'reader=flores path=flores200 split=devtest' (repeatable)",
    )
    parser.add_argument(
        "--languages",
        metavar="CODES",
        help="for representations: comma-separated (default: all that data and pools share)",
    )
    parser.add_argument("--rows", type=int, metavar="N", help="for representations: rows at most (default: 200)")
    parser.add_argument(
        "--projection",
        choices=("pca", "tsne", "umap"),
        help="for representations: how the picture is made; tsne and umap need the extra analysis (default: pca)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of tables and figures (default: of several runs analysis, of models representations)",
    )


def execute(options: argparse.Namespace) -> None:
    """Print the tables of differences, and of conflict and synergy; or the summary of representations."""
    first, *others = options.names
    if first == _REPRESENTATIONS:
        _look_inside(options, tuple(others))
        return
    from hexapla.common.errors import UserError
    from hexapla.pipeline.reporting import analyze_runs

    for name in ("data", "languages", "rows", "projection"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name} is for looking inside models.",
                hint="Write the word representations first: hexapla analyze representations POOL --data FILE.",
            )
    print(analyze_runs([Path(name) for name in options.names], options.out))


def _look_inside(options: argparse.Namespace, names: tuple[str, ...]) -> None:
    from pydantic import ValidationError

    from hexapla.analyze.representations.spec import RepresentationsSpec
    from hexapla.common.errors import UserError
    from hexapla.common.spec import validation_message

    if not names or not options.data:
        raise UserError(
            "There is nothing to look into." if not names else "There are no sentences to look at.",
            hint="Give pools or bases, and rows: hexapla analyze representations POOL --data FILE.",
        )
    given = {name: value for name in ("rows", "projection") if (value := getattr(options, name)) is not None}
    try:
        spec = RepresentationsSpec(**given)
    except ValidationError as error:
        raise validation_message(error, RepresentationsSpec, "--rows") from error
    from hexapla.pipeline.representations import LookInside, look_inside

    codes = None if options.languages is None else tuple(options.languages.split(","))
    print(look_inside(LookInside(names, tuple(options.data), codes, spec), options.out))
