"""Errors that speak to the user: what is wrong, where, and what to do about it.

`UserError` is the user's to mend (exit code 2); every other `HexaplaError` is ours (exit code 1).
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from types import ModuleType


class HexaplaError(Exception):
    """Base of every error that Hexapla raises on purpose."""

    exit_code = 1


class UserError(HexaplaError):
    """Something the user gave cannot be used.

    Args:
        what: one sentence: what is wrong, with the offending value.
        where: the place: a path in the recipe (`train.lora.rank`), a file, `file:line`.
        hint: what to do; for a mistyped name the nearest valid ones (see `nearest`).
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(self.paragraph())

    def paragraph(self) -> str:
        """The whole message as one paragraph of prose, as the command line prints it."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        # Libraries' messages, which `what` may quote, come in several lines.
        return re.sub(r"\s*\n\s*", " ", f"{text} {self.hint}" if self.hint else text)


class CorruptArtifactError(UserError):
    """A file on disk is not what its record says: changed, cut short, or of another kind."""


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> str:
    """A sentence that names the candidates closest to `name`, or all of them when none is close."""
    names = sorted(set(candidates))
    by_folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=n, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(by_folded[folded]) for folded in close) + "?"
    if len(names) <= 24:
        return "Known: " + ", ".join(names) + "."
    return f"None of the {len(names)} known names is close."


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Raises:
        UserError: the package is not installed; the message holds the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{purpose} needs the package {module!r}, which is not installed.",
            hint=f'Install it with: pip install "hexapla[{extra}]"',
        ) from error
