"""The command line is frozen: a new option, or a command beside the others, must be wanted and written down.

When a change is wanted, make `command_line.json` again with: python -m tests.cli.test_snapshot
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

import hexapla.cli
from hexapla.cli.main import COMMANDS, build_parser, main

SNAPSHOT = Path(__file__).with_name("command_line.json")
NAMES = [command.__name__.rsplit(".", 1)[-1] for command in COMMANDS]


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """Every command's parser, by the name that a user types."""
    actions = build_parser()._actions
    [choices] = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    return dict(choices.choices)


def described(action: argparse.Action) -> str:
    """All that a user's command depends on: spelling, placeholder, number, whether it must stand, default."""
    spelling = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    words = [spelling]
    if action.option_strings and action.nargs != 0:
        words.append(str(action.metavar or action.dest.upper()))
    if isinstance(action, argparse._AppendAction):
        words.append("(repeatable)")
    if action.nargs == "?":
        words.append("(optional)")
    if action.required and action.option_strings:
        words.append("(required)")
    if action.choices:
        words.append("one of " + "|".join(map(str, action.choices)))
    if action.default not in (None, False, [], argparse.SUPPRESS):
        words.append(f"default {action.default}")
    return " ".join(words)


def command_line() -> dict[str, list[str]]:
    """Command → its arguments; the program's own under its name."""
    own = [described(a) for a in build_parser()._actions if not isinstance(a, argparse._SubParsersAction)]
    return {
        "hexapla": own,
        **{name: [described(action) for action in parser._actions] for name, parser in subparsers().items()},
    }


def example_arguments(example: str) -> list[str]:
    """The words of an example behind `hexapla`, without the shell's redirections."""
    words = shlex.split(example)
    assert words[0] == "hexapla"
    ends = [place for place, word in enumerate(words) if word in ("<", ">", "|")]
    return words[1 : min(ends, default=len(words))]


def test_the_command_line_is_as_frozen() -> None:
    assert command_line() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_no_command_escapes() -> None:
    """Every module of `cli/` that executes something is a command, and no other module of it parses arguments."""
    folder = Path(hexapla.cli.__file__).parent
    sources = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert sorted(NAMES) == sorted(name for name, text in sources.items() if "def execute(" in text)
    assert sorted(NAMES) == sorted(subparsers())
    parsing = sorted(
        str(path.relative_to(folder.parent))
        for path in folder.parent.rglob("*.py")
        if "ArgumentParser(" in path.read_text(encoding="utf-8")
    )
    # The phrasebook's two are for its makers (`python -m`), no part of the product's command line.
    assert parsing == ["cli/main.py", "phrasebook/make_tiny.py", "phrasebook/show.py"]


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help_has_an_example_that_parses(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    name = command.__name__.rsplit(".", 1)[-1]
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert f"example: {command.EXAMPLE}" in shown
    arguments = example_arguments(command.EXAMPLE)
    assert arguments[0] == name
    options = build_parser().parse_args(arguments)
    assert options.execute is command.execute


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_explained(name: str) -> None:
    assert [action.dest for action in subparsers()[name]._actions if not action.help] == []


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert [name for name in NAMES if not re.search(rf"^    {name}\b", shown, re.MULTILINE)] == []
    assert "example: hexapla run quickstart" in shown


@pytest.mark.parametrize("words", ["", "rnu", "run", "run x --ouut y", "run x --ou y", "plan x --json=1", "run x y"])
def test_what_does_not_parse_is_the_users_fault(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    assert exit_.value.code == 2
    assert "error:" in capsys.readouterr().err


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(command_line(), indent=2) + "\n", encoding="utf-8")
