"""Ukrainian: the euphonic alternations у/в, з/із, йде/іде and вчитель/учитель, by the sounds on both sides."""

from __future__ import annotations

from hexapla.phrasebook.language import Grammar as Base

_VOWELS = tuple("аеиоуіяюєї")
_INITIAL_VOWELS = tuple("аеиоуі")
"""Letters for a vowel at the beginning of a word; я, ю, є, ї begin with a consonant there."""

_KEEPS_U = ("в", "ф", "хв", "св", "тв", "льв")
"""Beginnings of words before which the preposition is у whatever precedes."""


class Grammar(Base):
    """The lexicon writes у, з, йде and вчитель; `finish` chooses the variant that the neighbours ask for."""

    def finish(self, text: str) -> str:
        """The sentence with its euphonic variants, then as for every language."""
        words = text.split()
        for position, word in enumerate(words):
            before = words[position - 1] if position else ""
            after = words[position + 1] if position + 1 < len(words) else ""
            words[position] = _variant(before.lower(), word, after.lower())
        return super().finish(" ".join(words))


def _variant(before: str, word: str, after: str) -> str:
    """The form of `word` between the words `before` and `after` (nothing before it is a pause)."""
    follows_vowel = before.endswith(_VOWELS)
    follows_consonant = before[-1:].isalpha() and not follows_vowel
    if word == "у":
        v_fits = after.startswith(_INITIAL_VOWELS) or (follows_vowel and not after.startswith(_KEEPS_U))
        return "в" if v_fits else "у"
    if word == "з":
        return "із" if follows_consonant and not after.startswith(_INITIAL_VOWELS) else "з"
    if word in ("йде", "йдуть") and follows_consonant:
        return "і" + word[1:]
    if word.startswith("вчител") and not follows_vowel:
        return "у" + word[1:]
    return word
