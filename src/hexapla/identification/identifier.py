"""The contract of an identifier of languages, and what all of them have in common."""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hexapla.identification.relatives import are_relatives, language_of

if TYPE_CHECKING:
    from hexapla.identification.spec import IdentificationSpec

# Below this even a sure identifier errs: of one or two Han letters of Japanese, one in 14 is "Chinese" (NTREX-128).
MIN_LETTERS = 3
# Texts remembered, so that the references, which many directions share, and the notes cost nothing.
_MEMORY = 100_000
# Neither scripts nor varieties: identifiers' label for text without language.
_NO_LANGUAGE = "zxx"


class Identified(NamedTuple):
    """A language with its probability, that of its close relatives included.

    Attributes:
        code: Hexapla's code of the language, without script or region; the identifier's own where Hexapla has none.
    """

    code: str
    confidence: float


class Identifier(ABC):
    """Identifies the language of short texts. Constructing is cheap: the model is loaded with the first text.

    Attributes:
        name: as in recipes.
        limit: texts below this confidence are unknown; the default of `IdentificationSpec.confidence`.
        version: of the package and its model.
    """

    name: ClassVar[str]
    limit: ClassVar[float]
    version: str

    def __init__(self, spec: IdentificationSpec) -> None:
        self.confidence = self.limit if spec.confidence is None else spec.confidence
        self._known: dict[str, Identified | None] = {}

    @property
    def signature(self) -> str:
        """All that an identification depends on besides the text."""
        return f"id:{self.name}-{self.version}|confidence:{self.confidence:g}|letters:{MIN_LETTERS}"

    @abstractmethod
    def labels(self) -> Sequence[str]:
        """Everything that this identifier can answer, in its own labels."""

    @abstractmethod
    def rank(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Of each text the likeliest labels with their probabilities, best first; texts are single lines."""

    def covers(self, code: str) -> bool:
        """Whether the language of this code of Hexapla, in whatever script or variety, is one it can answer."""
        return language_of(code) in self._languages

    def identify(self, texts: Sequence[str]) -> list[Identified | None]:
        """The language of each text; None where it is unknown: no or few letters, or not sure enough."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > _MEMORY:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        stripped = [_without_items(text) for text in new]
        legible = [position for position, text in enumerate(stripped) if _has_letters(text)]
        found: list[Identified | None] = [None] * len(new)
        for position, ranking in zip(legible, self.rank([stripped[at] for at in legible]), strict=True):
            found[position] = self._judge(ranking)
        self._known.update(zip(new, found, strict=True))
        return [self._known[text] for text in texts]

    def guess(self, texts: Sequence[str]) -> list[Identified | None]:
        """The likeliest language of each text however unsure it is; None of texts with no or few letters.

        For corpora, whose texts come once: unlike `identify` it remembers nothing.
        """
        stripped = [_without_items(text) for text in texts]
        legible = [position for position, text in enumerate(stripped) if _has_letters(text)]
        found: list[Identified | None] = [None] * len(texts)
        for position, guess in zip(legible, self._guess([stripped[at] for at in legible]), strict=True):
            found[position] = guess
        return found

    def _guess(self, texts: Sequence[str]) -> list[Identified | None]:
        """As `guess`, of single lines with letters."""
        return [self._sum_up(ranking) for ranking in self.rank(texts)]

    @cached_property
    def _languages(self) -> frozenset[str]:
        return frozenset(map(language_of, self.labels())) - {_NO_LANGUAGE}

    def _judge(self, ranking: Sequence[tuple[str, float]]) -> Identified | None:
        found = self._sum_up(ranking)
        return found if found is not None and found.confidence >= self.confidence else None

    def _sum_up(self, ranking: Sequence[tuple[str, float]]) -> Identified | None:
        """The best label, as sure as it and its relatives are together: da 0.5, nb 0.4 is surely not German."""
        if not ranking:
            return None
        best = language_of(ranking[0][0])
        if best == _NO_LANGUAGE:
            return None
        named = ((language_of(label), probability) for label, probability in ranking)
        return Identified(best, sum(share for code, share in named if code == best or are_relatives(code, best)))


_ITEMS = r"<[^<>\s][^<>]*>|https?://\S+|www\.\S+|\S+@\S+|\{[^{}\s]*\}|&#?\w+;"
_MARK = re.compile(r"[<@&{]|://|www\.")  # in every item is one of these


def _without_items(text: str) -> str:
    """`text` as one line without web and e-mail addresses, tags and placeholders, which are of no language."""
    import regex

    if _MARK.search(text):
        text = regex.sub(_ITEMS, " ", text)
    return " ".join(text.split())


def _has_letters(text: str) -> bool:
    if text[:MIN_LETTERS].isalpha():
        return len(text) >= MIN_LETTERS
    letters = (character for character in text if character.isalpha())
    return sum(1 for _ in itertools.islice(letters, MIN_LETTERS)) >= MIN_LETTERS
