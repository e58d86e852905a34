"""Merge the experts of a pool into a smaller pool, and report what was lost."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = "hexapla merge runs/quickstart/pools/direction-aware --operator ties --set density=0.3 --out pools/merged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """POOL, --operator, --set, --seed, --out."""
    parser.add_argument("pool", metavar="POOL", type=Path, help="folder of a pool")
    parser.add_argument("--operator", metavar="NAME", help="linear, ties, dare or dare-ties (default: ties)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="any other key of a recipe's merge section, e.g. density=0.3, by=all (repeatable)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of operators that drop at random")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new pool")


def execute(options: argparse.Namespace) -> None:
    """Merge, and print the report."""
    from pydantic import ValidationError

    from hexapla.common.documents import apply_override
    from hexapla.common.errors import UserError
    from hexapla.common.spec import validation_message
    from hexapla.merge.spec import MergeSpec
    from hexapla.merge.stage import merge_pool, merge_report, remove_leftovers
    from hexapla.pool import Pool

    section: dict[str, object] = {}
    for override in options.overrides:
        apply_override(section, override)
    if options.operator is not None:
        section["operator"] = options.operator
    try:
        spec = MergeSpec.model_validate(section)
    except ValidationError as error:
        raise validation_message(error, MergeSpec, "merge") from error
    remove_leftovers(options.out)
    if options.out.exists() and not (options.out.is_dir() and not any(options.out.iterdir())):
        raise UserError("This is no empty folder.", where=str(options.out), hint="Give a new folder with --out.")
    merged = merge_pool(Pool.load(options.pool), spec, options.out, name=options.out.name, seed=options.seed)
    print(merge_report(merged))
    print(f"pool    {options.out} ({len(merged.adapters)} adapters, {merged.num_parameters:,} parameters)")
