"""Score a file of translations against references; no model is needed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hexapla.cli.metric_arguments import add_metric_arguments, metric_settings_of, metrics_of

EXAMPLE = "hexapla score --hyp output.zh --ref reference.zh --src source.en --to zh"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--hyp, --ref, --src, --to, --metric, --set, --json."""
    parser.add_argument("--hyp", type=Path, required=True, metavar="FILE", help="translations, one a line")
    parser.add_argument("--ref", type=Path, metavar="FILE", help="references, one a line")
    parser.add_argument("--src", type=Path, metavar="FILE", help="sources, one a line")
    parser.add_argument("--to", required=True, metavar="LANGUAGE", help="target language: it decides on the tokenizer")
    add_metric_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, with the errors that xCOMET finds")


def execute(options: argparse.Namespace) -> None:
    """Print one line a metric, with its signature."""
    from dataclasses import asdict

    from hexapla.evaluate.files import Files, score_files

    files = Files(options.hyp, options.ref, options.src, options.to)
    scores = score_files(files, metrics=metrics_of(options), settings=metric_settings_of(options))
    if options.json:
        print(json.dumps([asdict(score) for score in scores], ensure_ascii=False, indent=2))
    else:
        print("\n".join(score.line() for score in scores))
