"""Texts that are too short to teach anything, or too long to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from hexapla.data.filters.filter import TextFilter
from hexapla.data.filters.thresholds import reasons_at


class LengthFilter(TextFilter):
    """Rejects texts by their width in characters, in which a letter of a dense script counts as several, or by words.

    The default of `max`: two sides of this width just fill the 1024 tokens of LMT's examples.
    """

    filter: Literal["length"] = Field("length", description="The text is too short or too long.")
    min: float = Field(2.0, ge=0, description="Least width in characters; a Han character counts as 3.2 Latin ones.")
    max: float = Field(2000.0, gt=0, description="Largest width in characters.")
    min_words: int | None = Field(
        None, ge=0, description="Fewest words between spaces; null: not counted, as some scripts have no spaces."
    )
    max_words: int | None = Field(None, ge=1, description="Most words between spaces; null: not counted.")
    reasons: ClassVar[Mapping[str, str]] = {
        "too-short": "the text is shorter than is worth training on",
        "too-long": "the text is longer than the limit",
    }

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is larger than max ({self.max:g})")
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is larger than max_words ({self.max_words})")
        return self

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The reason of each text, or None."""
        import numpy as np

        from hexapla.text.arrays import widths

        widths_N = widths(texts)
        too_short, too_long = widths_N < self.min, widths_N > self.max
        if self.min_words is not None or self.max_words is not None:
            num_words = np.array([len(text.split()) for text in texts], dtype=np.int64)
            too_short |= num_words < (self.min_words or 0)
            too_long |= num_words > (self.max_words or np.inf)
        return reasons_at(
            len(texts),
            ("too-short", np.flatnonzero(too_short).tolist()),
            ("too-long", np.flatnonzero(too_long).tolist()),
        )
