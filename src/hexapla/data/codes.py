"""Languages as corpora spell them: file endings, columns, keys and `xml:lang`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hexapla import languages as registry
from hexapla.common.errors import UserError


def find_code(spelling: str, wanted: Collection[str]) -> str | None:
    """The one of the wanted languages that a spelling means, or None.

    A regional variant that is not wanted itself counts as its language (`en-US` as `en`), unless the script differs.
    """
    language = registry.find(spelling)
    if language is None or language.code in wanted:
        return language.code if language is not None else None
    general = registry.find(language.iso639_3)
    is_general = general is not None and general.code in wanted and general.script == language.script
    return general.code if general is not None and is_general else None


def match_spellings(
    spellings: Iterable[str], wanted: Collection[str], explicit: Mapping[str, str | int] | None, where: str
) -> dict[str, str]:
    """Canonical code → its spelling in the corpus, for the wanted languages that are found.

    Args:
        spellings: what the corpus has; those that are no wanted language are passed over.
        explicit: what the recipe says, which wins over the registry.

    Raises:
        UserError: two spellings are the same language, and the recipe does not say which one is meant.
    """
    matched = {code: str(spelling) for code, spelling in (explicit or {}).items() if code in wanted}
    named, taken = set(matched), set(matched.values())
    for spelling in spellings:
        code = find_code(spelling, wanted)
        if code is None or code in named or spelling in taken:
            continue
        if code in matched and not _is_more_exact(spelling, matched[code], code):
            if _is_more_exact(matched[code], spelling, code):
                continue
            raise UserError(
                f"Both {matched[code]!r} and {spelling!r} are {code}.",
                where=where,
                hint=f"Say which one is meant, for example with languages: {{{code}: {spelling}}}.",
            )
        matched[code] = spelling
    return matched


def _is_more_exact(spelling: str, other: str, code: str) -> bool:
    """Whether `spelling` is the language itself and `other` a regional variant that merely counts as it."""
    return registry.get(spelling).code == code != registry.get(other).code
