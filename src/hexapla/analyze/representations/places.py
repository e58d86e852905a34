"""Which sentence each vector is of: language by language, in the order of the rows.

Shapes: N sentences, C languages, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Places:
    """The order of the N sentences of R rows in C languages.

    Attributes:
        num_rows: R.
        rows: per language the numbers of the rows that have it, rising; the sentences lie one language after another.
    """

    num_rows: int
    rows: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, has: np.ndarray) -> Places:
        """The order of sentences of which `has` [R, C] (bool) says whether they are there."""
        return cls(len(has), tuple(np.flatnonzero(column) for column in has.T))

    @property
    def num_languages(self) -> int:
        """C."""
        return len(self.rows)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """[C + 1] where each language begins; the last one is N."""
        return (0, *(int(end) for end in np.cumsum([len(rows) for rows in self.rows])))

    @property
    def num_sentences(self) -> int:
        """N."""
        return self.starts[-1]

    def of_language(self, language: int) -> slice:
        """Where the sentences of a language are."""
        return slice(self.starts[language], self.starts[language + 1])

    def shared(self, one: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the rows in both languages: their positions among the sentences of each."""
        _, in_one, in_other = np.intersect1d(self.rows[one], self.rows[other], assume_unique=True, return_indices=True)
        return in_one, in_other

    @cached_property
    def num_shared(self) -> np.ndarray:
        """[C, C] how many rows two languages share; on the diagonal how many one has."""
        has = np.zeros((self.num_rows, self.num_languages), dtype=np.int64)
        for language, rows in enumerate(self.rows):
            has[rows, language] = 1
        return has.T @ has
