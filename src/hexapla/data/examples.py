"""From rows to examples: one sentence pair in one direction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from hexapla.data.rows import Row
from hexapla.languages import Direction


class Auxiliary(NamedTuple):
    """The source's translation into a third language, shown in the prompt (PMP)."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn: translate `source` to `target`. The prompt is rendered where it is tokenised.

    Attributes:
        id: `ROW DIRECTION`; what data order and sampling hash.
        auxiliary: what the prompt shows beside the source; None: nothing.
    """

    id: str
    direction: Direction
    source: str
    target: str
    auxiliary: Auxiliary | None = None


def make_examples(rows: Iterable[Row], directions: Iterable[Direction]) -> list[Example]:
    """Every row in every direction of which it has both sides, rows outermost."""
    wanted = tuple(directions)
    return [
        Example(f"{row.id} {direction}", direction, row.texts[direction.source], row.texts[direction.target])
        for row in rows
        for direction in wanted
        if direction.source in row.texts and direction.target in row.texts
    ]
