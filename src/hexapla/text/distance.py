"""How many insertions, deletions and replacements of characters lie between texts (Levenshtein).

Shapes: N pairs, B bags of characters, C characters of all texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hexapla.text.arrays import Characters, CharacterTable
from hexapla.text.characters import folded, is_bare

_NUM_BAGS = 64


def distance(first: str, second: str) -> int:
    """The least number of characters to insert, delete or replace that makes one text of the other.

    Bit-parallel (Myers, 1999, in the form of Hyyrö, 2003): a column of the table is two whole numbers, whose bits say
    where it rises and falls, so that a thousand characters on either side take milliseconds.
    """
    if not first or not second:
        return max(len(first), len(second))
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    last, everywhere = 1 << len(first) - 1, (1 << len(first)) - 1
    rises, falls, total = everywhere, 0, len(first)
    for character in second:
        equal = places.get(character, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        across_rises = falls | ~(diagonal | rises) & everywhere
        across_falls = rises & diagonal
        total += bool(across_rises & last) - bool(across_falls & last)
        across_rises = (across_rises << 1 | 1) & everywhere
        across_falls = across_falls << 1 & everywhere
        rises = across_falls | ~(diagonal | across_rises) & everywhere
        falls = across_rises & diagonal
    return total


def least_distances(first: Sequence[str], second: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bounds for pairs of texts, from counts of characters alone, and so for next to no time.

    Returns:
        Of each pair what the distance of its bare texts (`hexapla.text.characters.bare`) cannot be less than, and how
        long the longer of the two is: [N] each.
    """
    first_NB, second_NB = _bags(first), _bags(second)
    surplus_NB = first_NB - second_NB
    least_N = np.maximum(surplus_NB.clip(min=0).sum(axis=1), (-surplus_NB).clip(min=0).sum(axis=1))
    return least_N, np.maximum(first_NB.sum(axis=1), second_NB.sum(axis=1))


def _bags(texts: Sequence[str]) -> NDArray[np.int64]:
    """How many characters of each bare text fall into each of B bags: [N, B]."""
    characters = Characters([text.lower() if text.isascii() else folded(text) for text in texts])
    bags_C = _bag_numbers()[characters.codes]
    owners_C = np.repeat(np.arange(len(texts)), characters.lengths)
    width = _NUM_BAGS + 1
    counts = np.bincount(owners_C * width + bags_C, minlength=len(texts) * width).reshape(len(texts), width)
    return counts[:, :_NUM_BAGS]


@lru_cache(maxsize=1)
def _bag_numbers() -> CharacterTable:
    """The bag of each character; what bare texts lack is in one more."""
    return CharacterTable(lambda character: ord(character) % _NUM_BAGS if is_bare(character) else _NUM_BAGS)
