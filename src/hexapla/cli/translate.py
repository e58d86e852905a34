"""Translate lines with a pool: one line in, one line out, order and number kept, blank lines kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hexapla.cli.pool_arguments import add_base_argument, add_decoding_arguments, base_of, decoding_of

EXAMPLE = "hexapla translate runs/quickstart/pools/direction-aware --from en --to de < english.txt > german.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """POOL, --from, --to, [FILE], --base, --beams, --pmp, --auxiliary."""
    parser.add_argument("pool", metavar="POOL", type=Path, help="folder of a pool")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="UTF-8 text (default: standard input)")
    parser.add_argument("--from", dest="source", required=True, metavar="LANGUAGE", help="language of the lines")
    parser.add_argument("--to", dest="target", required=True, metavar="LANGUAGE", help="language to translate into")
    add_base_argument(parser)
    add_decoding_arguments(parser)
    parser.add_argument(
        "--auxiliary",
        type=Path,
        metavar="FILE",
        help="for --pmp given: the lines in the pool's auxiliary language of this direction, blank where there is none",
    )


def execute(options: argparse.Namespace) -> None:
    """Translate line by line, in windows: a file of any length streams."""
    from hexapla import languages
    from hexapla.common.errors import UserError
    from hexapla.common.textfiles import read_valid_lines
    from hexapla.languages import Direction
    from hexapla.pool import Pool
    from hexapla.translate.lines import translate_lines
    from hexapla.translate.translator import Translator

    if (options.auxiliary is not None) != (options.pmp == "given"):
        raise UserError("--pmp given and --auxiliary FILE go together.", hint="Give both or neither.")
    pool = Pool.load(options.pool)
    direction = Direction(languages.get(options.source).code, languages.get(options.target).code)
    pool.route(direction)
    translator = Translator(pool, decoding_of(options), base=base_of(options))
    auxiliary = None if options.auxiliary is None else read_valid_lines(options.auxiliary)
    for line in translate_lines(translator, read_valid_lines(options.file), direction, auxiliary):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
