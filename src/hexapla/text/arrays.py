"""Characters of many texts at once, as numpy arrays: what corpora of millions of texts are judged by.

Shapes: N texts, C characters of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hexapla.text.characters import extra_width, script_names, script_of

_NUM_CODE_POINTS = 0x110000
_UNSEEN = np.iinfo(np.int16).min
_TENTHS = 10  # widths are sums of whole tenths, so that no sum depends on its order


class Characters:
    """The characters of texts, one text after the other.

    Attributes:
        codes: code points, [C].
        lengths: characters of each text, [N].
        bounds: where each text begins, and where the last one ends, [N + 1].
    """

    def __init__(self, texts: Sequence[str]) -> None:
        joined = "".join(texts).encode("utf-32-le", errors="surrogatepass")
        self.codes: NDArray[np.uint32] = np.frombuffer(joined, dtype=np.uint32)
        self.lengths: NDArray[np.int64] = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        self.bounds: NDArray[np.int64] = np.concatenate(([0], np.cumsum(self.lengths)))

    def sums(self, values_C: NDArray[Any]) -> NDArray[np.int64]:
        """Of each text the sum over its characters of whole numbers: [N]."""
        total_C = np.concatenate(([0], np.cumsum(values_C, dtype=np.int64)))
        return np.diff(total_C[self.bounds])


class CharacterTable:
    """A whole number for each character, computed when the character is first met.

    Args:
        value_of: the number, within 16 bits, of a character.
    """

    def __init__(self, value_of: Callable[[str], int]) -> None:
        self._value_of = value_of
        self._values = np.full(_NUM_CODE_POINTS, _UNSEEN, dtype=np.int16)

    def __getitem__(self, codes_C: NDArray[np.uint32]) -> NDArray[np.int16]:
        values_C: NDArray[np.int16] = self._values[codes_C]
        unseen_C = values_C == _UNSEEN
        if unseen_C.any():
            for code in np.unique(codes_C[unseen_C]).tolist():
                self._values[code] = self._value_of(chr(code))
            values_C = self._values[codes_C]
        return values_C


def widths(texts: Sequence[str]) -> NDArray[np.float64]:
    """`hexapla.text.characters.width` of each text: [N]."""
    characters = Characters(texts)
    if all(map(str.isascii, texts)):
        return characters.lengths.astype(np.float64)
    return characters.lengths + characters.sums(_extra_tenths()[characters.codes]) / _TENTHS


def widths_by_script(texts: Sequence[str], *groups: Sequence[str]) -> list[NDArray[np.int64]]:
    """How wide the letters of texts are together, in tenths of a Latin letter.

    Args:
        groups: names of scripts in Unicode.

    Returns:
        An array [N] for the letters of all scripts, and one for those of each group.
    """
    characters = Characters(texts)
    scripts_C = _scripts()[characters.codes]
    tenths_C = np.where(scripts_C < 0, 0, _extra_tenths()[characters.codes] + _TENTHS)
    found = [characters.sums(tenths_C)]
    for group in groups:
        is_wanted = np.zeros(len(_script_numbers()) + 1, dtype=bool)  # the last: of no script, whose number is -1
        is_wanted[[_script_numbers()[name] for name in group]] = True
        found.append(characters.sums(np.where(is_wanted[scripts_C], tenths_C, 0)))
    return found


@lru_cache(maxsize=1)
def _extra_tenths() -> CharacterTable:
    return CharacterTable(lambda character: round(extra_width(character) * _TENTHS))


@lru_cache(maxsize=1)
def _scripts() -> CharacterTable:
    """The number of a letter's script; -1 of anything else."""
    return CharacterTable(lambda character: _script_numbers().get(script_of(character) or "", -1))


@lru_cache(maxsize=1)
def _script_numbers() -> dict[str, int]:
    return {name: number for number, name in enumerate(script_names())}
