"""Languages so close that identifiers, and hasty readers, take one for the other."""

from __future__ import annotations

from functools import lru_cache

from hexapla import languages

# Codes as in the registry, or as identifiers write them where it has none (`an`, `ext`, `hbo`, ...). Chosen by what
# identifiers confuse on the references of NTREX-128 and of the phrasebook (November 2026), and by Ethnologue's
# macrolanguages and dialect continua. Related scripts alone do not count: be, ru and uk are far enough apart.
_CLOSE = tuple(
    frozenset(group.split())
    for group in (
        "da nb nn",
        "bs hr sr",
        "id ms min bjn",
        "cs sk",
        "gl pt",
        "bg mk",
        "es ast an ext",
        "ca oc",
        "it scn vec lij fur lmo",
        "de gsw lb",
        "lv ltg",
        "en pcm",
        "ht gcf gcr",
        "fa prs",
        "ckb sdh",
        "ps pbt",
        "ar ary arz acm acq aeb ajp apc ars",
        "he hbo",
        "el grc",
        "hi awa bho mai mag hne",
        "mr gom",
        "zh yue",
        "ba tt",
        "az azb",
        "uz uzs",
        "xh zu ss nr",
        "nso st tn",
        "rn rw",
        "ak tw",
        "bm dyu",
    )
)


# Labels that are taken for another. Wu is hardly ever written; py3langid 0.4.0 says so of 5 % of the Chinese sentences
# of NTREX-128 and of 11 % of the phrasebook's.
_TAKEN_FOR = {"wuu": "zh"}


@lru_cache(maxsize=10_000)
def language_of(label: str) -> str:
    """The language in any label of any identifier, without script or region: `srp_Latn` → `sr`, `zh_Hant` → `zh`.

    What the registry does not know keeps its own code.
    """
    bare = _TAKEN_FOR.get(label.split("_")[0], label.split("_")[0])
    language = languages.find(label) or languages.find(bare)
    return bare if language is None else language.code.split("_")[0]


@lru_cache(maxsize=10_000)
def are_relatives(one: str, other: str) -> bool:
    """Whether these are close relatives (not the same language); codes as `language_of` gives them."""
    return one != other and any(one in group and other in group for group in _CLOSE)
