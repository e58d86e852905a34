"""What filters have in common: thresholds by tier of resources, and lists of reasons."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from hexapla import languages
from hexapla.common.spec import Spec


class Tiers(Spec):
    """A threshold for each tier of resources that a language may be in."""

    high: float = Field(ge=0, le=1, description="Of high-resource languages.")
    mid: float = Field(ge=0, le=1, description="Of mid-resource languages.")
    low: float = Field(ge=0, le=1, description="Of low-resource languages.")

    def of(self, *codes: str) -> float:
        """The threshold of the language with the fewest resources: LMT's tier where it has one, or the registry's."""
        tiers = {language.lmt_resource or language.resource for language in map(languages.get, codes)}
        return self.low if "low" in tiers else self.mid if "mid" in tiers else self.high


def reasons_at(num_texts: int, *found: tuple[str, Iterable[int]]) -> list[str | None]:
    """A list of reasons; `found` are reasons with the positions of their texts, of which the first counts."""
    reasons: list[str | None] = [None] * num_texts
    for reason, positions in reversed(found):
        for position in positions:
            reasons[position] = reason
    return reasons
