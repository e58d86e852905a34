"""What it means that two sentences are the same, or share a passage, for the contamination check.

Exact: equal after NFKC, case folding and removal of punctuation and white space (kept between two digits, so that 1.15
and 11.5 differ). Passage: 13 words in a row, as in GPT-3's check (Brown et al., 2020, appendix C). Scripts written
without spaces are cut into as many characters as 13 words take up on average.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

CHARACTERS_PER_WORD = {"han": 2, "southeast": 4}
"""Assumption: a Chinese or Japanese word is about two characters long, a Thai, Lao, Burmese or Khmer one four."""

_HAN = re.compile("[\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_SOUTHEAST = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\uaa60-\uaa7f]")
_DIGIT_SPACE = re.compile(r"\d \d")
_LOOSE_SPACE = re.compile(r"(?<!\d) | (?!\d)")


class _Fold(dict[int, str]):
    """Table for `str.translate` that fills itself: separators become spaces, invisible characters vanish."""

    def __missing__(self, code_point: int) -> str:
        character = chr(code_point)
        category = unicodedata.category(character)
        folded = "" if category == "Cf" else " " if category[0] in "PZC" else character
        self[code_point] = folded
        return folded


_FOLD = _Fold()


def fold(text: str) -> list[str]:
    """The words of a text after NFKC, case folding and removal of punctuation."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_FOLD).split()


def exact_key(words: list[str]) -> str:
    """What two equal sentences have in common; empty when there is no letter, digit or symbol."""
    spaced = " ".join(words)
    return _LOOSE_SPACE.sub("", spaced) if _DIGIT_SPACE.search(spaced) else "".join(words)


def passages(words: list[str], num_words: int) -> Iterator[int]:
    """Hashes of all passages of `num_words` words; none for shorter texts.

    A text of which more than half is written in a script without spaces is cut into characters instead. These are
    Python's 64-bit string hashes: ten times as fast as a cryptographic one, to be compared within one process only. Two
    passages that differ fall together once in 10¹⁹ comparisons.
    """
    key = "".join(words)
    num_han, num_southeast = len(_HAN.findall(key)), len(_SOUTHEAST.findall(key))
    if 2 * (num_han + num_southeast) > len(key):
        per_word = CHARACTERS_PER_WORD["han" if num_han >= num_southeast else "southeast"]
        size = num_words * per_word
        return (hash(key[at : at + size]) for at in range(len(key) - size + 1))
    return (hash(" ".join(words[at : at + num_words])) for at in range(len(words) - num_words + 1))
