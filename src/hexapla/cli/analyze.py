"""Analyse finished runs: differences between pools, conflict and synergy, geometry of adapters, target repetition."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = "hexapla analyze runs/compare-strategies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --out."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=Path,
        help="folders of finished runs; of one run everything goes into its report, the pools of several are compared",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of several runs: folder of tables and figures (default: analysis)"
    )


def execute(options: argparse.Namespace) -> None:
    """Print the tables of differences, and of conflict and synergy."""
    from hexapla.pipeline.reporting import analyze_runs

    print(analyze_runs(options.runs, options.out))
