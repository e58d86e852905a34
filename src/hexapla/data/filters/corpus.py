"""The contract of filters that compare rows with each other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from hexapla.data.filters.filter import Filter

if TYPE_CHECKING:
    import numpy as np

By = Literal["pair", "source", "target", "text"]


class Unit(NamedTuple):
    """What a corpus filter compares: units of one scope with each other.

    Attributes:
        scope: a language, or a pair of languages such as `en-de`.
        texts: those that count: one, or both sides.
    """

    scope: str
    texts: tuple[str, ...]


class Fingerprints(NamedTuple):
    """What decides whether units repeat each other; N units.

    Attributes:
        keys: uint64 [N, num_keys]; units that share a key are compared.
        signatures: uint16 [N, num_values] that they are compared by; no values: sharing a key is enough.
    """

    keys: np.ndarray
    signatures: np.ndarray


class CorpusFilter(Filter):
    """Judges what all rows of a section decide together: whether a text or a pair repeats an earlier one.

    A text goes when everything that it takes part in repeats something: of a row with several hubs no pair is lost that
    is new. In monolingual corpora, whose texts stand alone, `by` is `text` whatever it says. There is one reason.
    """

    by: By = Field(
        "pair",
        description="What is compared within one pair of languages: both sides of a pair, its source (the hub's text), "
        "its target (the other text); or text: every text with all others of its language.",
    )

    @abstractmethod
    def fingerprints(self, units: Sequence[Unit]) -> Fingerprints:
        """What the units are compared by."""

    def agree(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether units that share a key are the same, by their signatures [N, num_values]; bool [N]."""
        raise NotImplementedError(f"{self.filter} makes no signatures")
