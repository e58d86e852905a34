"""Facts about languages: one row per language, script and regional variant, looked up by any spelling."""

from hexapla.languages.direction import Direction
from hexapla.languages.groupings import grouping, grouping_names, named_set, named_set_names
from hexapla.languages.registry import Language, all_languages, find, get, search

__all__ = [
    "Direction",
    "Language",
    "all_languages",
    "find",
    "get",
    "grouping",
    "grouping_names",
    "named_set",
    "named_set_names",
    "search",
]
