"""Languages as corpora spell them: file endings, columns, keys and `xml:lang`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hexapla import languages as registry
from hexapla.common.errors import UserError

_REGION = re.compile(r"^([A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?)[-_](?:[A-Za-z]{2}|\d{3})$")


def find_code(spelling: str) -> str | None:
    """The canonical code of a spelling, or None.

    A region that the registry does not know (`de-AT`) is ignored; a script never is, since it is another text.
    """
    language = registry.find(spelling)
    if language is None and (match := _REGION.match(spelling)):
        language = registry.find(match[1])
    return language.code if language is not None else None


def match_spellings(spellings: Iterable[str], explicit: Mapping[str, str | int] | None, where: str) -> dict[str, str]:
    """Canonical code → the spelling in the corpus.

    Args:
        spellings: what the corpus has; those that are no language are passed over.
        explicit: what the recipe says, which wins over the registry.

    Raises:
        UserError: two spellings are the same language, and the recipe does not say which one is meant.
    """
    named = {code: str(spelling) for code, spelling in (explicit or {}).items()}
    taken = set(named.values())
    matched: dict[str, str] = {}
    for spelling in spellings:
        code = find_code(spelling)
        if code is None or code in named or spelling in taken:
            continue
        if code in matched:
            raise UserError(
                f"Both {matched[code]!r} and {spelling!r} are {code}.",
                where=where,
                hint=f"Say which one is meant, for example with languages: {{{code}: {spelling}}}.",
            )
        matched[code] = spelling
    return named | matched
