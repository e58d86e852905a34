"""The registry of filters. A new one is a file here and a line below."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hexapla.common.spec import kinds_of, require_kind
from hexapla.data.filters.duplicates import DuplicatesFilter
from hexapla.data.filters.encoding import EncodingFilter
from hexapla.data.filters.identical import IdenticalFilter
from hexapla.data.filters.items import ItemsFilter
from hexapla.data.filters.language import LanguageFilter
from hexapla.data.filters.length import LengthFilter
from hexapla.data.filters.letters import LettersFilter
from hexapla.data.filters.near_duplicates import NearDuplicatesFilter
from hexapla.data.filters.quality import QualityFilter
from hexapla.data.filters.ratio import RatioFilter
from hexapla.data.filters.repetition import RepetitionFilter
from hexapla.data.filters.script import ScriptFilter

AnyFilter = (
    DuplicatesFilter
    | EncodingFilter
    | IdenticalFilter
    | ItemsFilter
    | LanguageFilter
    | LengthFilter
    | LettersFilter
    | NearDuplicatesFilter
    | QualityFilter
    | RatioFilter
    | RepetitionFilter
    | ScriptFilter
)


def filter_names() -> tuple[str, ...]:
    """Every value that `filter` may have."""
    return kinds_of(AnyFilter, "filter")


def _known_filter(value: Any) -> Any:
    """A bare name is a filter with its defaults; say it in our words when the filter is missing or unknown."""
    if isinstance(value, str):
        value = {"filter": value}
    require_kind(value, "filter", "an entry", filter_names())
    return value


FilterSpec = Annotated[AnyFilter, Field(discriminator="filter"), BeforeValidator(_known_filter)]
