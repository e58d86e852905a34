"""Texts in another script than their language's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import TextFilter
from hexapla.data.filters.thresholds import reasons_at
from hexapla.text.characters import scripts_of

_OF_NAMES = "Latin"  # names and terms stand in Latin letters within every script, but in no other


class ScriptFilter(TextFilter):
    """Rejects texts with too few letters of their language's scripts, or too many that are neither those nor Latin.

    Shares are of widths, in which a Chinese character counts as the three letters that it replaces. Texts without
    letters are kept.
    """

    filter: Literal["script"] = Field("script", description="The text is in another script than its language's.")
    min: float = Field(
        0.25, ge=0, le=1, description="Least share of letters of the language's scripts; names in Latin take the rest."
    )
    max_other: float = Field(
        0.25, ge=0, le=1, description="Largest share of letters of scripts that are neither the language's nor Latin."
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "wrong-script": "too few letters are of the language's script",
        "mixed-script": "many letters are of a script that is neither the language's nor Latin",
    }

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The reason of each text, or None."""
        import numpy as np

        from hexapla.text.arrays import widths_by_script

        own_scripts = scripts_of(code)
        # Every letter of ASCII is Latin.
        at = np.array(
            [at for at, text in enumerate(texts) if _OF_NAMES not in own_scripts or not text.isascii()], dtype=np.int64
        )
        groups = [own_scripts, (*own_scripts, _OF_NAMES)]
        all_N, own_N, tolerated_N = widths_by_script([texts[number] for number in at.tolist()], *groups)
        return reasons_at(
            len(texts),
            ("wrong-script", at[own_N < self.min * all_N].tolist()),
            ("mixed-script", at[all_N - tolerated_N > self.max_other * all_N].tolist()),
        )
