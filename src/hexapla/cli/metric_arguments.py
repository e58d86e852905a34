"""The arguments of commands that measure."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hexapla.cli.recipe_arguments import add_set_argument

if TYPE_CHECKING:
    from hexapla.evaluate.metrics.settings import MetricSettings


def add_metric_arguments(parser: argparse.ArgumentParser) -> None:
    """--metric, --set."""
    parser.add_argument(
        "--metric", default="bleu,chrf++", metavar="NAMES", help="comma-separated metrics (default: bleu,chrf++)"
    )
    add_set_argument(
        parser, "a setting of metrics as in a recipe's evaluate section, e.g. neural.models.comet22=FOLDER (repeatable)"
    )


def metrics_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The names given."""
    return tuple(name.strip() for name in options.metric.split(","))


def metric_settings_of(options: argparse.Namespace) -> MetricSettings:
    """The settings given, over the defaults."""
    from hexapla.common.documents import parse_settings
    from hexapla.evaluate.metrics.settings import MetricSettings

    return parse_settings(MetricSettings, options.overrides)
