"""Named sets of languages (`languages: dat`) and named groupings of languages into groups (`groups: dat`).

Group names become part of adapter names and so of file names: lower-case letters, digits and `_`. DAT's eight groups
are `g1` to `g8`, the numbers of the paper (arXiv 2502.11223), which has no names for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hexapla.common.errors import UserError, nearest
from hexapla.languages.registry import Language, all_languages, get

_TIERS = ("high", "mid", "low")

_GROUP_OF: dict[str, Callable[[Language], str | None]] = {
    "dat": lambda language: None if language.dat_group is None else f"g{language.dat_group}",
    "script": lambda language: _file_name(language.script_name),
    "family": lambda language: _file_name(language.family),
}

# DAT's order is the paper's: the hub, then group by group; LMT's is by tier; the test sets are sorted by code.
_SET_ORDER: dict[str, Callable[[Language], tuple[int, str] | None]] = {
    "dat": lambda language: (language.dat_group or 0, language.name) if language.dat else None,
    "lmt": lambda language: (
        None if language.lmt_resource is None else (_TIERS.index(language.lmt_resource), language.code)
    ),
    "ntrex": lambda language: (0, language.code) if language.ntrex is not None else None,
    "flores": lambda language: (0, language.code) if language.flores is not None else None,
}


def grouping_names() -> tuple[str, ...]:
    """The groupings that `grouping` knows."""
    return tuple(_GROUP_OF)


def grouping(name: str, codes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The groups of a named grouping, restricted to `codes` (any spelling; hubs left out by the caller).

    Groups are sorted by name, members (canonical codes) come in the order of `codes`.

    Raises:
        UserError: the grouping or a language is unknown, or the grouping does not cover a language.
    """
    if name not in _GROUP_OF:
        raise UserError(f"There is no grouping {name!r}.", hint=nearest(name, _GROUP_OF))
    groups: dict[str, list[str]] = {}
    for language in dict.fromkeys(get(code) for code in codes):
        group = _GROUP_OF[name](language)
        if group is None:
            raise UserError(
                f"The grouping {name!r} has no group for {language.code!r} ({language.name}).",
                hint="Leave the language out, take another grouping, or write the groups out as a map.",
            )
        groups.setdefault(group, []).append(language.code)
    return {group: tuple(groups[group]) for group in sorted(groups)}


def named_set_names() -> tuple[str, ...]:
    """The sets that `named_set` knows."""
    return tuple(_SET_ORDER)


def named_set(name: str) -> tuple[str, ...]:
    """Codes of a named set: `dat` (50), `lmt` (60), or the languages of a test set, `ntrex` and `flores`.

    Raises:
        UserError: the set is unknown.
    """
    if name not in _SET_ORDER:
        raise UserError(f"There is no set of languages {name!r}.", hint=nearest(name, _SET_ORDER))
    places = {language.code: _SET_ORDER[name](language) for language in all_languages()}
    members = [(place, code) for code, place in places.items() if place is not None]
    return tuple(code for _, code in sorted(members))


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.casefold())
