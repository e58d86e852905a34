"""The language registry: a table of facts, and the lookup of a language by any of its spellings.

The facts are in `_data/languages.csv`; `_data/README.md` says where each column comes from and what an ambiguous
spelling (`zho`, `no`, `ku`) means.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hexapla.common.errors import UserError

DATA = Path(__file__).parent / "_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language in one script and regional variant. `None` means: has none, or is not covered."""

    code: str  # the key used everywhere in Hexapla; never holds a hyphen, so that `de-en` is a direction
    name: str  # English, as X-ALMA writes it in prompts where it covers the language
    lmt_name: str  # English, as LMT writes it in prompts; `name` where LMT does not differ
    iso639_1: str | None
    iso639_3: str
    bcp47: str
    flores: str | None  # FLORES-200
    ntrex: str | None  # NTREX-128
    libretranslate: str | None
    deepl: str | None  # the code as a target language
    script: str  # ISO 15924
    script_name: str
    family: str
    subgroup: str
    resource: str  # high, mid or low
    dat_group: int | None  # 1 to 8; English, the hub, has none
    dat_resource: str | None
    lmt_resource: str | None
    auxiliary: str | None  # code of LMT's auxiliary language for prompts between English and this language
    aliases: tuple[str, ...]

    @property
    def dat(self) -> bool:
        """Whether the language is one of DAT's 50."""
        return self.dat_resource is not None

    @property
    def lmt(self) -> bool:
        """Whether the language is one of LMT's 60."""
        return self.lmt_resource is not None

    @property
    def is_default(self) -> bool:
        """Whether the bare ISO codes mean this row rather than one in another script or of another region."""
        return "_" not in self.code

    @property
    def spellings(self) -> tuple[str, ...]:
        """Everything that names this row, without repetition."""
        bare = (self.iso639_1, self.iso639_3) if self.is_default else ()
        external = (self.bcp47, self.flores, self.ntrex, self.libretranslate, self.deepl)
        everything = (self.code, *bare, *external, self.name, self.lmt_name, *self.aliases)
        return tuple(dict.fromkeys(spelling for spelling in everything if spelling is not None))


def get(spelling: str) -> Language:
    """The language that `spelling` names: any code, tag or English name, in any case, with `-` or `_`.

    Raises:
        UserError: no language is spelled like that; the hint holds the nearest ones.
    """
    language = find(spelling)
    if language is None:
        raise UserError(f"There is no language {spelling!r}.", hint=_nearest(spelling))
    return language


def find(spelling: str) -> Language | None:
    """The language that `spelling` names, or None."""
    return find_exactly(spelling) or _find_by_subtags(spelling)


def find_exactly(spelling: str) -> Language | None:
    """The language one of whose listed spellings is `spelling`; no subtag of it is left aside."""
    return _index().get(_folded(spelling))


def search(query: str) -> list[Language]:
    """Languages with `query` in a spelling, family, subgroup, script or resource level; an exact match comes first."""
    part = _folded(query)
    exact = find(query)
    return ([exact] if exact is not None else []) + [
        language
        for language in all_languages()
        if language is not exact and any(part in text for text in _searchable(language))
    ]


@cache
def all_languages() -> tuple[Language, ...]:
    """Every row of the registry, sorted by code."""
    scripts = {row["code"]: row["name"] for row in _rows("scripts.csv")}
    return tuple(_language(row, scripts) for row in _rows("languages.csv"))


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _language(row: dict[str, str], scripts: dict[str, str]) -> Language:
    return Language(
        code=row["code"],
        name=row["name"],
        lmt_name=row["lmt_name"] or row["name"],
        iso639_1=row["iso639_1"] or None,
        iso639_3=row["iso639_3"],
        bcp47=row["bcp47"],
        flores=row["flores"] or None,
        ntrex=row["ntrex"] or None,
        libretranslate=row["libretranslate"] or None,
        deepl=row["deepl"] or None,
        script=row["script"],
        script_name=scripts[row["script"]],
        family=row["family"],
        subgroup=row["subgroup"],
        resource=row["resource"],
        dat_group=int(row["dat_group"]) if row["dat_group"] else None,
        dat_resource=row["dat_resource"] or None,
        lmt_resource=row["lmt_resource"] or None,
        auxiliary=row["auxiliary"] or None,
        aliases=tuple(row["aliases"].split(";")) if row["aliases"] else (),
    )


@cache
def _index() -> dict[str, Language]:
    index: dict[str, Language] = {}
    for language in all_languages():
        for spelling in language.spellings:
            first = index.setdefault(_folded(spelling), language)
            assert first is language, f"{spelling!r} names both {first.code} and {language.code}"
    return index


def _folded(spelling: str) -> str:
    """`spelling` without case, diacritics and punctuation: `Norwegian (Bokmål)` and `norwegian_bokmal` are one."""
    letters = spelling.casefold()
    if not letters.isascii():
        decomposed = unicodedata.normalize("NFKD", letters)
        letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return re.sub(r"[\s\-_(),.'’]+", "-", letters).strip("-")


def _find_by_subtags(spelling: str) -> Language | None:
    """Read a BCP 47 tag of language, script and region whose region, or redundant script, has no row of its own.

    `de-AT` is German and `zh-Hans-CN` Chinese; a script that the language's rows do not have (`ru-Latn`) is no match.
    A region is in capitals, or the same as the language (`de-de`): `de-en` is a direction, not German.
    """
    tag = re.fullmatch(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Z]{2}|[0-9]{3}|\1))?", spelling.strip())
    if tag is None:
        return None
    language, script, region = (subtag and subtag.casefold() for subtag in tag.groups())
    for rest in (script, region, None):
        candidate = _index().get(f"{language}-{rest}" if rest else language)
        if candidate is not None and script in (None, candidate.script.casefold()):
            return candidate
    return None


def _searchable(language: Language) -> Iterator[str]:
    facts = (language.family, language.subgroup, language.script, language.script_name, language.resource)
    return (_folded(text) for text in (*language.spellings, *facts))


def _nearest(spelling: str) -> str:
    from difflib import get_close_matches

    keys = get_close_matches(_folded(spelling), list(_index()), n=9, cutoff=0.6)
    close = list(dict.fromkeys(_index()[key] for key in keys))[:3]
    if not close:
        return "No known language is spelled nearly so; `hexapla languages` lists them all."
    return "Did you mean " + " or ".join(f"{language.code} ({language.name})" for language in close) + "?"
