"""Azerbaijani: the copula and the plural of predicates by vowel harmony, and the capital of the dotted i."""

from __future__ import annotations

from hexapla.phrasebook.language import Grammar as Base
from hexapla.phrasebook.patterns import Forms

_COPULA = {"a": "dır", "ı": "dır", "e": "dir", "ə": "dir", "i": "dir", "o": "dur", "u": "dur", "ö": "dür", "ü": "dür"}
"""The copula after the last vowel of the predicate."""

_BACK = "aıou"
"""The vowels after which the plural is -lar, not -lər."""

_PREDICATES = {
    "adjective": "",
    "clock": "",
    "comparison": "",
    "item": "his",
    "month": "in",
    "name": "",
    "place": "at",
    "price": "",
    "spot": "",
    "state": "",
    "weekday": "",
}
"""The form that a concept of each kind takes as a predicate; the empty name is the first form."""


class Grammar(Base):
    """Derives `is` and `are` of predicates and the plural ending `pl` of verbs; the lexicon lists the rest."""

    def derive(self, kind: str, concept: str, forms: Forms) -> Forms:
        """`is` (vağzalda: vağzaldadır) and `are` (vağzaldadırlar) of predicates, `pl` (-lar, -lər) of activities."""
        if kind == "activity":
            return {"pl": _plural(forms["inf"])}
        if kind not in _PREDICATES:
            return {}
        predicate = forms[_PREDICATES[kind]]
        singular = predicate + _COPULA[_last_vowel(predicate)]
        return {"is": singular, "are": singular + _plural(singular)}

    def upper(self, letter: str) -> str:
        """The capital of `letter`: i keeps its dot."""
        return "İ" if letter == "i" else letter.upper()


def _last_vowel(text: str) -> str:
    return next(letter for letter in reversed(text) if letter in _COPULA)


def _plural(text: str) -> str:
    return "lar" if _last_vowel(text) in _BACK else "lər"
