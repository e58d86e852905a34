"""Texts that were damaged on their way through encodings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hexapla.common.errors import require_extra
from hexapla.data.filters.filter import TextFilter
from hexapla.data.filters.thresholds import reasons_at

if TYPE_CHECKING:
    from hexapla.text.arrays import Characters, CharacterTable

_REPLACED, _PRIVATE, _UNASSIGNED = 1, 2, 3
_BESIDE, _ALONE = 2, 3
# Emoji come with every new version of Unicode, sooner than new versions of Python.
_EMOJI = range(0x1F000, 0x1FB00)


class EncodingFilter(TextFilter):
    """Rejects texts with characters that no language has, and text decoded with a wrong encoding ("schÃ¶n")."""

    filter: Literal["encoding"] = Field("encoding", description="The text was damaged by a wrong encoding.")
    mojibake: bool = Field(
        True, description="Also look for text decoded with a wrong encoding; needs the extra `clean` (ftfy)."
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "replaced": "characters were lost and replaced by U+FFFD",
        "private-use": "characters whose meaning a font decides",
        "unassigned": "code points that are no characters",
        "mojibake": "decoded with another encoding than it was written in",
    }

    def require(self) -> None:
        """Refuse to look for mojibake without ftfy."""
        if self.mojibake:
            require_extra("ftfy", "clean", "Finding wrongly decoded text")

    @property
    def version(self) -> str:
        """Of Unicode, and of ftfy."""
        if not self.mojibake:
            return f"unicode-{unicodedata.unidata_version}"
        from importlib import metadata

        return f"unicode-{unicodedata.unidata_version}|ftfy-{metadata.version('ftfy')}"

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The reason of each text, or None."""
        import numpy as np

        from hexapla.text.arrays import Characters

        at = np.array([at for at, text in enumerate(texts) if not text.isascii()], dtype=np.int64)
        suspects = [texts[number] for number in at.tolist()]
        characters = Characters(suspects)
        kinds_C = _kinds()[characters.codes]
        kinds = (("replaced", _REPLACED), ("private-use", _PRIVATE), ("unassigned", _UNASSIGNED))
        found = [(reason, at[characters.sums(kinds_C == kind) > 0].tolist()) for reason, kind in kinds]
        mojibake = _mojibake(suspects, characters) if self.mojibake else []
        return reasons_at(len(texts), *found, ("mojibake", at[mojibake].tolist()))


def _mojibake(texts: Sequence[str], characters: Characters) -> list[int]:
    """Positions of texts that ftfy takes for wrongly decoded."""
    import numpy as np
    from ftfy.badness import is_bad

    # ftfy's expression is slow, but needs certain characters, most of them beside another that is not ASCII.
    signs_C = _signs()[characters.codes]
    signals_C = signs_C == _ALONE
    signals_C[1:] |= (np.maximum(signs_C[1:], signs_C[:-1]) >= _BESIDE) & (np.minimum(signs_C[1:], signs_C[:-1]) > 0)
    return [number for number in np.flatnonzero(characters.sums(signals_C)).tolist() if is_bad(texts[number])]


@lru_cache(maxsize=1)
def _signs() -> CharacterTable:
    from ftfy.badness import MOJIBAKE_CATEGORIES

    from hexapla.text.arrays import CharacterTable

    harmless = ("common", "lower_common", "upper_common")
    classes = "".join(characters for name, characters in MOJIBAKE_CATEGORIES.items() if name not in harmless)
    beside, alone = re.compile(f"[{classes}ÙЂ°]"), re.compile("[\x80-\x9fŒœÂÃ]")

    def sign(character: str) -> int:
        if alone.match(character):
            return _ALONE
        return _BESIDE if beside.match(character) else int(not character.isascii())

    return CharacterTable(sign)


@lru_cache(maxsize=1)
def _kinds() -> CharacterTable:
    from hexapla.text.arrays import CharacterTable

    of_category = {"Co": _PRIVATE, "Cn": _UNASSIGNED, "Cs": _UNASSIGNED}

    def kind(character: str) -> int:
        if character == "\ufffd":
            return _REPLACED
        return 0 if ord(character) in _EMOJI else of_category.get(unicodedata.category(character), 0)

    return CharacterTable(kind)
