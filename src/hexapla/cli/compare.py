"""Compare scores, or files of translations, with the first of them: differences, paired tests, telling segments."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLE = "hexapla compare runs/quickstart/scores/base runs/quickstart/scores/direction-aware"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SYSTEM, --ref, --src, --to, --metric, --test, --segments, --json."""
    parser.add_argument(
        "systems",
        nargs="+",
        type=Path,
        metavar="SYSTEM",
        help="two or more folders of scores (RUN/scores/POOL), or files of translations; the first is the baseline",
    )
    parser.add_argument("--ref", type=Path, metavar="FILE", help="of files: references, one a line")
    parser.add_argument("--src", type=Path, metavar="FILE", help="of files: sources, one a line")
    parser.add_argument("--to", metavar="LANGUAGE", help="of files: target language")
    parser.add_argument(
        "--metric",
        metavar="NAMES",
        help="comma-separated metrics (default: all that all scores have; of files bleu,chrf++ and failure rates)",
    )
    parser.add_argument(
        "--test",
        choices=("randomisation", "bootstrap"),
        default="randomisation",
        help="paired test (default: randomisation, which calls no more equal systems different than it should and "
        "whose p is small enough for the correction over hundreds of directions; bootstrap: as sacreBLEU has it)",
    )
    parser.add_argument(
        "--segments", type=int, default=3, metavar="N", help="segments shown that differ most, by metric and system"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, unrounded")


def execute(options: argparse.Namespace) -> None:
    """Print tables, or everything as JSON."""
    from dataclasses import asdict

    from hexapla.common.errors import UserError
    from hexapla.evaluate.compare import compare
    from hexapla.evaluate.compare_files import material_of
    from hexapla.evaluate.compare_text import comparison_text

    if options.segments < 0:
        raise UserError(f"--segments is {options.segments}.", hint="Give 0 or more.")
    metrics = [name.strip() for name in options.metric.split(",")] if options.metric is not None else None
    material = material_of(options.systems, references=options.ref, sources=options.src, to=options.to, metrics=metrics)
    comparison = compare(material, test=options.test, num_segments_shown=options.segments)
    if options.json:
        print(json.dumps(asdict(comparison), ensure_ascii=False, indent=2))
    else:
        print(comparison_text(comparison))
