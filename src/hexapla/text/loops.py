"""Stretches of text that come again and again in immediate succession."""

from __future__ import annotations

MIN_REPEATS = 4
MIN_CHARACTERS = 24  # "no, no, no, no!" and "ha ha ha ha" are no loops yet
FEWER_REPEATS = 3  # are enough of ...
LONG_UNIT = 20  # ... units of so many characters
MAX_UNIT = 400  # characters; a longer unit is not looked for
_SEPARATOR = 2  # the last round may lack what stands between two rounds
_GRAM = 8
_NUM_GRAMS_AGAIN = MIN_CHARACTERS - MIN_CHARACTERS // FEWER_REPEATS - _GRAM + 1


def loops(text: str) -> bool:
    """Whether some stretch with letters or digits is repeated often enough in immediate succession."""
    import numpy as np

    text = " ".join(text.casefold().split())
    if not _has_repetition(text):
        return False
    characters = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    for unit in range(1, min(MAX_UNIT, (len(text) + _SEPARATOR) // FEWER_REPEATS) + 1):
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
    if unit >= LONG_UNIT:
        return FEWER_REPEATS * unit - _SEPARATOR
    return max(MIN_REPEATS * unit - _SEPARATOR, MIN_CHARACTERS)
