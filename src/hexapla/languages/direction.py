"""A direction of translation: from one language to another, written `de-en`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from hexapla.common.errors import UserError
from hexapla.languages.registry import Language, find, find_exactly, get

_ARROW = re.compile(r"\s*(?:->|→)\s*")


class Direction(NamedTuple):
    """An ordered pair of canonical language codes; sorts by source, then target."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"

    @classmethod
    def parse(cls, text: str) -> Direction:
        """Read `de-en`, `deu_Latn-eng_Latn`, `pt-BR-en`, `German -> English` or `de→en`.

        Where hyphens allow several readings, one in which both sides are listed spellings is preferred over one that
        leaves a region aside; if two readings remain, an arrow is asked for.

        Raises:
            UserError: no direction, an unknown or ambiguous language, or twice the same one.
        """
        sides = _ARROW.split(text.strip())
        if len(sides) == 2:
            return _direction(text, get(sides[0]), get(sides[1]))
        for lookup in (find_exactly, find):
            readings = _readings(text.strip(), lookup)
            if len(readings) == 1:
                return _direction(text, *readings[0])
            if readings:
                raise UserError(
                    f"The direction {text!r} can be read in several ways: "
                    + ", ".join(f"{source.code}->{target.code}" for source, target in readings)
                    + ".",
                    hint="Write an arrow between the languages.",
                )
        if text.count("-") == 1:
            return _direction(text, *(get(side) for side in text.split("-")))
        raise UserError(
            f"{text!r} is not a direction between two known languages.",
            hint="Write source and target, as in 'de-en' or 'de->en'.",
        )


def _readings(text: str, lookup: Callable[[str], Language | None]) -> list[tuple[Language, Language]]:
    """Every way to cut `text` at a hyphen so that `lookup` knows both sides."""
    cuts = [match.start() for match in re.finditer("-", text)]
    pairs = [(lookup(text[:cut]), lookup(text[cut + 1 :])) for cut in cuts]
    return [(source, target) for source, target in pairs if source is not None and target is not None]


def _direction(text: str, source: Language, target: Language) -> Direction:
    if source is target:
        raise UserError(f"The direction {text!r} has {source.name} on both sides.")
    return Direction(source.code, target.code)
