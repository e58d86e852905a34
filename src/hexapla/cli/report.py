"""Write the report of a finished run again, from what it left; nothing is trained, translated or scored."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = "hexapla report runs/quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN."""
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")


def execute(options: argparse.Namespace) -> None:
    """Print the comparison of the run's pools and where the report lies."""
    from hexapla.pipeline.reporting import report_again

    outcome, _ = report_again(options.run)
    print(outcome.summary())
