"""The arguments that every command on a pool has."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hexapla.base import Base
    from hexapla.translate.spec import TranslateSpec


def add_base_argument(parser: argparse.ArgumentParser) -> None:
    """Where the base lies, when not where the pool says."""
    parser.add_argument("--base", metavar="BASE", help="where the pool's base lies (default: as pool.json says)")


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """How to search."""
    parser.add_argument("--beams", type=int, metavar="N", help="width of the beam search, 1 is greedy (default: 5)")
    parser.add_argument(
        "--pmp",
        choices=("none", "given", "self"),
        default="none",
        help="show the model another translation of the source: none, a given one, or one that it makes first",
    )


def base_of(options: argparse.Namespace) -> Base | None:
    """The base named by the options, or None."""
    from hexapla.base import Base

    return Base(options.base) if options.base is not None else None


def decoding_of(options: argparse.Namespace) -> TranslateSpec:
    """The decoding settings named by the options."""
    from pydantic import ValidationError

    from hexapla.common.spec import validation_message
    from hexapla.translate.spec import TranslateSpec

    given = {name: value for name in ("beams", "pmp") if (value := getattr(options, name)) is not None}
    try:
        return TranslateSpec(**given)
    except ValidationError as error:
        raise validation_message(error, TranslateSpec, "--beams") from error
