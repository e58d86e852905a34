"""Entry point of `hexapla`.

Exit codes: 0 all went well, 1 our fault, 2 the user's (a paragraph on standard error says what to do), 130 interrupted.
Commands import what they need when they run, so that help answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import hexapla
from hexapla.cli import (
    analyze,
    check,
    compare,
    data,
    doctor,
    evaluate,
    languages,
    merge,
    plan,
    recipes,
    report,
    run,
    score,
    translate,
)
from hexapla.common.errors import HexaplaError, UserError

COMMANDS = (
    run,
    plan,
    check,
    data,
    translate,
    evaluate,
    merge,
    score,
    compare,
    analyze,
    report,
    languages,
    recipes,
    doctor,
)


class _CommandParser(argparse.ArgumentParser):
    """Lets an optional positional argument stand behind options: `translate POOL --from en --to de FILE`."""

    _parsing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, with positional arguments and options in any order."""
        if self._parsing:  # the base class's intermixed parsing calls this method again
            return super().parse_known_args(args, namespace)
        self._parsing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._parsing = False


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="hexapla",
        description="Turn an open language model into a translator between many languages.",
        epilog="example: hexapla run quickstart",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hexapla {hexapla.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser)
    for command in COMMANDS:
        summary = (command.__doc__ or "").splitlines()[0]
        name = command.__name__.rsplit(".", 1)[-1]
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example: {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # a new option must not break a command that abbreviates an old one
        )
        command.add_arguments(subparser)
        subparser.set_defaults(execute=command.execute)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    _quiet_libraries()
    try:
        options.execute(options)
    except UserError as error:
        print(f"hexapla: {error.paragraph()}", file=sys.stderr)
        return error.exit_code
    except HexaplaError as error:
        print(f"hexapla: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nhexapla: interrupted; the same command continues.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left (`| head`): no error. Stdout goes elsewhere so that the flush at exit is silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice out of our output; set before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


if __name__ == "__main__":
    sys.exit(main())
