"""Score a pool on any corpus, direction by direction; interrupted, the same command continues."""

from __future__ import annotations

import argparse
from pathlib import Path

from hexapla.cli.metric_arguments import add_metric_arguments, metric_settings_of, metrics_of
from hexapla.cli.pool_arguments import add_base_argument, add_decoding_arguments, base_of, decoding_of

EXAMPLE = (
    "hexapla evaluate runs/quickstart/pools/base --data 'reader=ntrex path=corpora/ntrex' --directions de-en,en-de"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """POOL, --data, --directions, --metric, --set, --limit, --base, --beams, --seed, --out."""
    parser.add_argument("pool", metavar="POOL", type=Path, help="folder of a pool")
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="CORPUS",
        help="a test corpus as in a recipe, in one string: 'reader=flores path=flores200 split=devtest' (repeatable)",
    )
    parser.add_argument("--directions", metavar="LIST", help="comma-separated, such as de-en,en-de (default: all)")
    add_metric_arguments(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="at most N rows a direction, chosen by hash")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of that choice")
    add_base_argument(parser)
    add_decoding_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the scores (default: scores/POOL)")


def execute(options: argparse.Namespace) -> None:
    """Translate and score; print the table of directions."""
    from hexapla.pipeline.evaluation import Evaluation, evaluate_corpora

    request = Evaluation(
        corpora=tuple(options.data),
        directions=tuple(options.directions.split(",")) if options.directions else None,
        metrics=metrics_of(options),
        settings=metric_settings_of(options),
        limit=options.limit,
        seed=options.seed,
        decoding=decoding_of(options),
    )
    print(evaluate_corpora(options.pool, request, options.out, base=base_of(options)))
