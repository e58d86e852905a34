"""The contract of a filter: what it is told, what it is shown, and how it names what it rejects.

A filter judges texts of one language (`TextFilter`) or the two sides of a pair (`PairFilter`), many at once. What a
corpus as a whole decides (duplicates) is judged in two passes (`hexapla.data.filters.corpus`). A filter that rejects a
text takes it out of its row; the engine (`hexapla.data.filters.engine`) counts, samples and drops rows that became too
small.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from hexapla.common.spec import Spec


class Filter(Spec):
    """Settings of one filter. Each subclass fixes `filter`, its name in recipes.

    A filter is sent to worker processes: it holds settings only; models are loaded with the first text. Its judgement
    of a text does not depend on the texts that it is shown together with.

    Attributes:
        reasons: every reason it can give → what a reader of the funnel is told about it.
        one_process: whether it should judge in one process only, as its model takes all cores or the GPU by itself.
    """

    filter: str
    reasons: ClassVar[Mapping[str, str]]
    one_process: ClassVar[bool] = False

    def require(self) -> None:
        """Refuse, before anything is read, what cannot work here.

        Raises:
            UserError: a package or a model is missing.
        """

    def release(self) -> None:
        """Give the memory back that models take; the next text loads them again."""

    @property
    def version(self) -> str:
        """What its judgement depends on besides its settings: versions of packages and models."""
        return "1"


class TextFilter(Filter):
    """Judges single texts."""

    @abstractmethod
    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """Of each text of the language `code` the reason to reject it, or None."""


class PairFilter(Filter):
    """Judges pairs of texts that should be translations of each other."""

    @abstractmethod
    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """Of each pair the reason to reject it, or None; `codes` are the languages of the two sides."""
