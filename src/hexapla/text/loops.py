"""Stretches of text that come again and again in immediate succession."""

from __future__ import annotations

from collections.abc import Iterator

MIN_REPEATS = 4
MIN_CHARACTERS = 24  # "no, no, no, no!" and "ha ha ha ha" are no loops yet
FEWER_REPEATS = 3  # are enough of ...
LONG_UNIT = 20  # ... units of so many characters
MAX_UNIT = 400  # characters; a longer unit is not looked for
_SEPARATOR = 2  # the last round may lack what stands between two rounds
# A loop without its last round has at least 18 characters, all of which come again at the distance of a unit; so in
# every 9 successive grams of 10 there one does.
_GRAM, _STEP = 10, 9


def loops(text: str) -> bool:
    """Whether some stretch with letters or digits is repeated often enough in immediate succession."""
    text = " ".join(text.casefold().split())
    tried = set()
    for unit in _distances(text):
        if unit not in tried:
            tried.add(unit)
            if _is_repeated(text, unit):
                return True
    return False


def _distances(text: str) -> Iterator[int]:
    """How far from each other equal grams lie, of enough grams to meet the unit of every loop; for most texts none."""
    for start in range(0, len(text) - _GRAM, _STEP):
        gram = text[start : start + _GRAM]
        found = text.find(gram, start + 1, start + MAX_UNIT + _GRAM)
        if found < 0 or not any(map(str.isalnum, gram)):
            continue
        while found >= 0:
            yield found - start
            found = text.find(gram, found + 1, start + MAX_UNIT + _GRAM)


def _is_repeated(text: str, unit: int) -> bool:
    """Whether a loop has a unit of so many characters."""
    import numpy as np

    characters = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    differs = np.flatnonzero(characters[unit:] != characters[:-unit])
    edges = np.concatenate(([-1], differs, [len(text) - unit]))
    stretches = np.diff(edges) - 1 + unit
    starts = edges[:-1][stretches >= _min_stretch(unit)] + 1
    return any(any(map(str.isalnum, text[start : start + unit])) for start in starts.tolist())


def _min_stretch(unit: int) -> int:
    """How many characters repetitions of `unit` characters take together, at least, to be a loop."""
    if unit >= LONG_UNIT:
        return FEWER_REPEATS * unit - _SEPARATOR
    return max(MIN_REPEATS * unit - _SEPARATOR, MIN_CHARACTERS)
