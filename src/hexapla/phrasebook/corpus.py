"""The multi-way corpus of the phrasebook: a bounded sample of all meanings, said in every language, split by row.

Which rows there are and where they go follows from a hash of (seed, id): it depends neither on order nor on the
languages asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from hexapla.common.errors import UserError, nearest
from hexapla.common.seeds import uniform
from hexapla.phrasebook.language import codes, load
from hexapla.phrasebook.meanings import Meaning, inventory

SPLITS = ("pretrain", "train", "dev", "test")

_UPPER_BOUNDS = (("test", 0.15), ("dev", 0.20), ("train", 0.45), ("pretrain", 1.0))
"""Shares 15 / 5 / 25 / 55 %, as upper bounds on a number in [0, 1)."""

ROWS_PER_FRAME = 250
"""No frame gives more rows than this, so that large frames do not drown the small ones."""


@dataclass(frozen=True, slots=True)
class PhrasebookRow:
    """One sentence in many languages; `texts` is keyed by language code."""

    id: str
    domain: str
    frame: str
    texts: dict[str, str]


@cache
def sampled(seed: int = 0) -> tuple[tuple[Meaning, str, str], ...]:
    """The meanings of the corpus with their domain and split, in an order that mixes the frames.

    A dev or test meaning goes to train when one of its concepts, or its frame, is in no pretrain or train meaning:
    tests combine known words.
    """
    placed: list[tuple[Meaning, str, str]] = []
    for frame in inventory().frames.values():
        ranked = sorted(inventory().meanings(frame), key=lambda meaning: uniform(seed, "row", meaning.id))
        for meaning in ranked[:ROWS_PER_FRAME]:
            place = uniform(seed, "split", meaning.id)
            placed.append((meaning, frame.domain, next(split for split, bound in _UPPER_BOUNDS if place < bound)))
    known: set[tuple[str, str]] = set()
    for meaning, _, split in placed:
        if split in ("pretrain", "train"):
            known |= _concepts(meaning)
    placed.sort(key=lambda item: uniform(seed, "order", item[0].id))  # so that any slice holds every kind of sentence
    return tuple(
        (meaning, domain, split if _concepts(meaning) <= known else "train") for meaning, domain, split in placed
    )


def _concepts(meaning: Meaning) -> set[tuple[str, str]]:
    """The concepts of `meaning` with their kind, and its frame."""
    kinds = inventory().frames[meaning.frame].kinds
    return {(kinds[slot], concept) for slot, concept in meaning.fillers.items()} | {("frame", meaning.frame)}


def rows(split: str, languages: Sequence[str] | None = None, seed: int = 0) -> Iterator[PhrasebookRow]:
    """The rows of one split, in an order fixed by the tables and `seed`.

    Args:
        split: one of `SPLITS`.
        languages: codes of the languages wanted (at least one); None: all.
        seed: chooses the sample of meanings and the splits.

    Raises:
        UserError: unknown split or language.
    """
    if split not in SPLITS:
        raise UserError(f"the phrasebook has no split {split!r}.", hint=nearest(split, SPLITS))
    grammars = {code: load(code) for code in (codes() if languages is None else languages)}
    return (
        PhrasebookRow(meaning.id, domain, meaning.frame, {code: g.realize(meaning) for code, g in grammars.items()})
        for meaning, domain, where in sampled(seed)
        if where == split
    )
