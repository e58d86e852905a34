"""Pairs of which one side holds numbers, addresses, tags or placeholders that the other side lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import PairFilter
from hexapla.text.items import found_in, items_in

Kind = Literal["number", "address", "tag", "placeholder"]


class ItemsFilter(PairFilter):
    """Rejects pairs by the items that must be the same in every language; the first kind that is lost names the reason.

    Numbers may be written in any digits, with any separators, and below 13 as words (`hexapla.text.items`).
    """

    filter: Literal["items"] = Field("items", description="Numbers, addresses, tags or placeholders do not match.")
    kinds: tuple[Kind, ...] = Field(
        ("placeholder", "tag", "address", "number"), min_length=1, description="What must stand on both sides."
    )
    min_numbers: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least share of a side's numbers that the other side has too; translators convert units and "
        "calendars, and write numbers as words. Default: that of OpusFilter's NonZeroNumeralsFilter.",
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "lost-number": "one side has numbers that the other lacks",
        "lost-address": "one side has a web or e-mail address that the other lacks",
        "lost-tag": "one side has a tag or an entity that the other lacks",
        "lost-placeholder": "one side has a placeholder that the other lacks",
    }

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The reason of each pair, or None."""
        items = [list(map(items_in, side)) for side in (first, second)]
        return [
            self._reason(one, other, first[at], second[at]) if one or other else None
            for at, (one, other) in enumerate(zip(*items, strict=True))
        ]

    def _reason(self, one: Mapping[str, str], other: Mapping[str, str], first: str, second: str) -> str | None:
        sides = [(one, found_in(one, second)), (other, found_in(other, first))]
        for kind in self.kinds:
            for wanted, found in sides:
                num_wanted, num_found = (sum(each == kind for each in items.values()) for items in (wanted, found))
                least = self.min_numbers if kind == "number" else 1.0
                if num_found < least * num_wanted:
                    return f"lost-{kind}"
        return None
