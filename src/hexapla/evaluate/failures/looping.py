"""Translations caught in a loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments
from hexapla.text.loops import FEWER_REPEATS, LONG_UNIT, MAX_UNIT, MIN_CHARACTERS, MIN_REPEATS, loops


class Looping(FailureRate):
    """A stretch of text comes four times in a row (three times if it is long), which is not so in source or reference.

    Judged by characters, so that it works in any script; case and the amount of white space do not matter. What
    comes back with other words in between is not seen.
    """

    title = "looping"

    def describe(self) -> str:
        """The limits."""
        return (
            f"rule:repeats>={MIN_REPEATS}|characters>={MIN_CHARACTERS}|or:repeats>={FEWER_REPEATS}"
            f",unit>={LONG_UNIT}|unit<={MAX_UNIT}|excused-by:source,reference"
        )

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the translation loops and neither source nor reference does."""
        return [
            loops(text) and not any(loops(excuse[position]) for excuse in _given(segments))
            for position, text in enumerate(segments.hypotheses)
        ]


def _given(segments: Segments) -> Iterator[Sequence[str]]:
    return (texts for texts in (segments.sources, segments.references) if texts is not None)
