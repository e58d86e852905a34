"""Translations caught in a loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments

_MIN_REPEATS = 4
_MIN_CHARACTERS = 24  # "no, no, no, no!" and "ha ha ha ha" are no loops yet
_FEWER_REPEATS = 3  # are enough of ...
_LONG_UNIT = 20  # ... units of so many characters
_MAX_UNIT = 400  # characters; a longer unit is not looked for
_SEPARATOR = 2  # the last round may lack what stands between two rounds
_GRAM = 8
_NUM_GRAMS_AGAIN = _MIN_CHARACTERS - _MIN_CHARACTERS // _FEWER_REPEATS - _GRAM + 1


class Looping(FailureRate):
    """A stretch of text comes four times in a row (three times if it is long), which is not so in source or reference.

    Judged by characters, so that it works in any script; case and the amount of white space do not matter. What
    comes back with other words in between is not seen.
    """

    title = "looping"

    def describe(self) -> str:
        """The limits."""
        return (
            f"rule:repeats>={_MIN_REPEATS}|characters>={_MIN_CHARACTERS}|or:repeats>={_FEWER_REPEATS}"
            f",unit>={_LONG_UNIT}|unit<={_MAX_UNIT}|excused-by:source,reference"
        )

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the translation loops and neither source nor reference does."""
        return [
            loops(text) and not any(loops(excuse[position]) for excuse in _given(segments))
            for position, text in enumerate(segments.hypotheses)
        ]


def loops(text: str) -> bool:
    """Whether some stretch with letters or digits is repeated often enough in immediate succession."""
    import numpy as np

    text = " ".join(text.casefold().split())
    if not _has_repetition(text):
        return False
    characters = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    for unit in range(1, min(_MAX_UNIT, (len(text) + _SEPARATOR) // _FEWER_REPEATS) + 1):
        differs = np.flatnonzero(characters[unit:] != characters[:-unit])
        edges = np.concatenate(([-1], differs, [len(text) - unit]))
        stretches = np.diff(edges) - 1 + unit
        starts = edges[:-1][stretches >= _min_stretch(unit)] + 1
        if any(any(map(str.isalnum, text[start : start + unit])) for start in starts.tolist()):
            return True
    return False


def _has_repetition(text: str) -> bool:
    """Whether enough of the short grams come again for a loop to be possible; rules out nearly all texts fast."""
    num_grams = len(text) - _GRAM + 1
    if num_grams <= 0:
        return False
    return num_grams - len({text[start : start + _GRAM] for start in range(num_grams)}) >= _NUM_GRAMS_AGAIN


def _min_stretch(unit: int) -> int:
    """How many characters repetitions of `unit` characters take together, at least, to be a loop."""
    if unit >= _LONG_UNIT:
        return _FEWER_REPEATS * unit - _SEPARATOR
    return max(_MIN_REPEATS * unit - _SEPARATOR, _MIN_CHARACTERS)


def _given(segments: Segments) -> Iterator[Sequence[str]]:
    return (texts for texts in (segments.sources, segments.references) if texts is not None)
