"""Texts in another language than they are said to be in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.filter import TextFilter
from hexapla.data.filters.thresholds import Tiers
from hexapla.identification import Identified, are_relatives, language_of, make_identifier
from hexapla.identification.spec import IdentificationSpec


class LanguageFilter(TextFilter):
    """Rejects texts whose likeliest language is another, or whose own language is not likely enough for its tier.

    As in LMT, a high-resource language must be as likely as its threshold, while of a low-resource one, of which
    identifiers are never sure, it is enough to be the likeliest. Texts with hardly any letters, and languages that the
    identifier does not know, are kept.
    """

    filter: Literal["language"] = Field("language", description="The text is in another language.")
    confidence: Annotated[float, Field(ge=0, le=1)] | Tiers = Field(
        Tiers(high=0.5, mid=0.5, low=0.0),
        description="Least probability of the text's own language, or one for each tier; with 0 it must be the "
        "likeliest. Defaults: LMT's, which does not speak of the middle tier.",
    )
    relatives: bool = Field(
        True, description="Take close relatives (da and nb) for one language, as identifiers confuse them."
    )
    identification: IdentificationSpec = Field(
        IdentificationSpec.model_validate({}), description="Which identifier; its own confidence is not used here."
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "wrong-language": "another language is likelier",
        "unsure-language": "its language is the likeliest, but not as likely as the threshold",
    }

    def require(self) -> None:
        """Refuse a missing package or model of the identifier."""
        make_identifier(self.identification)

    @property
    def version(self) -> str:
        """Of the identifier and its model."""
        return make_identifier(self.identification).signature

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The reason of each text, or None."""
        identifier = make_identifier(self.identification)
        if not identifier.covers(code):
            return [None] * len(texts)
        limit = self.confidence.of(code) if isinstance(self.confidence, Tiers) else self.confidence
        own = language_of(code)
        return [self._reason(own, limit, found) for found in identifier.guess(texts)]

    def release(self) -> None:
        """Forget the identifier's model."""
        make_identifier.cache_clear()

    def _reason(self, own: str, limit: float, found: Identified | None) -> str | None:
        if found is None:
            return None
        if found.code != own and not (self.relatives and are_relatives(found.code, own)):
            return "wrong-language"
        return "unsure-language" if found.confidence < limit else None
