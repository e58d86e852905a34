"""Judges a chunk of rows with a part of a chain of filters: what a worker process does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hexapla.data.filters.corpus import By, CorpusFilter, Fingerprints, Unit
from hexapla.data.filters.filter import Filter, PairFilter, TextFilter


class Terms(NamedTuple):
    """Which part of the chain judges, and how.

    Attributes:
        first: position of the first filter.
        stop: position of the first filter that no longer judges.
        by: what the corpus filter at `stop` compares; None: there is none.
        pairs: whether the texts of a row are translations of each other.
        min_languages: rows with fewer texts are not judged further.
    """

    first: int
    stop: int
    by: By | None
    pairs: bool
    min_languages: int


class Rejection(NamedTuple):
    """A text taken out of its row.

    Attributes:
        step: position of the filter in the chain.
        against: the language whose text it was judged beside; None: it was judged alone.
    """

    step: int
    code: str
    reason: str
    against: str | None


class Judged(NamedTuple):
    """What became of a chunk.

    Attributes:
        rejections: number of the row in the chunk → its rejections, in the order of the chain.
        prints: fingerprints of the units of the rows that are left, in order; None where no corpus filter follows.
        num_units: how many of them each of these rows has.
    """

    rejections: dict[int, list[Rejection]]
    prints: Fingerprints | None
    num_units: list[int]


def judge_chunk(filters: Sequence[Filter], hubs: tuple[str, ...], terms: Terms, rows: list[dict[str, str]]) -> Judged:
    """Judge rows, given as code → text; they are changed to what is left of them."""
    rejections: dict[int, list[Rejection]] = {}
    for step in range(terms.first, terms.stop):
        judge = filters[step]

        def reject(number: int, code: str, reason: str, against: str | None, step: int = step) -> None:
            rejections.setdefault(number, []).append(Rejection(step, code, reason, against))
            del rows[number][code]

        if isinstance(judge, TextFilter):
            _judge_texts(judge, rows, reject)
        elif isinstance(judge, PairFilter) and terms.pairs:
            _judge_pairs(judge, hubs, rows, reject)
        for number in rejections:
            if len(rows[number]) < terms.min_languages:
                rows[number].clear()
    if terms.by is None:
        return Judged(rejections, None, [])
    comparing = filters[terms.stop]
    assert isinstance(comparing, CorpusFilter)
    parts = [(texts, parts_of(tuple(texts), hubs, terms.by)) for texts in rows if texts]
    units = [_unit(texts, part, terms.by) for texts, of_row in parts for part in of_row]
    return Judged(rejections, comparing.fingerprints(units), [len(of_row) for _, of_row in parts])


@lru_cache(maxsize=10_000)
def anchors_of(codes: tuple[str, ...], hubs: tuple[str, ...]) -> tuple[str, ...]:
    """The languages of a row that are paired with every other one: its hubs, or its first language."""
    return tuple(hub for hub in hubs if hub in codes) or codes[:1]


@lru_cache(maxsize=10_000)
def parts_of(codes: tuple[str, ...], hubs: tuple[str, ...], by: By) -> tuple[tuple[str, ...], ...]:
    """What a corpus filter compares of a row: each language alone, or each pair (anchor first)."""
    if by == "text":
        return tuple((code,) for code in codes)
    anchors = anchors_of(codes, hubs)
    return tuple(
        (anchor, code) for number, anchor in enumerate(anchors, 1) for code in codes if code not in anchors[:number]
    )


def _unit(texts: Mapping[str, str], part: tuple[str, ...], by: By) -> Unit:
    if by == "source":
        counting = part[:1]
    elif by == "target":
        counting = part[1:]
    else:
        counting = part
    return Unit("-".join(part), tuple([texts[code] for code in counting]))


Reject = Callable[[int, str, str, str | None], None]


def _judge_texts(judge: TextFilter, rows: Sequence[Mapping[str, str]], reject: Reject) -> None:
    numbers: dict[str, list[int]] = {}
    for number, texts in enumerate(rows):
        for code in texts:
            numbers.setdefault(code, []).append(number)
    for code, places in numbers.items():
        reasons = judge.judge(code, [rows[number][code] for number in places])
        for number, reason in zip(places, reasons, strict=True):
            if reason is not None:
                reject(number, code, reason, None)


def _judge_pairs(judge: PairFilter, hubs: tuple[str, ...], rows: Sequence[Mapping[str, str]], reject: Reject) -> None:
    """Anchor by anchor: what was rejected beside the first hub is not judged beside the second."""
    anchors = [anchors_of(tuple(texts), hubs) for texts in rows]
    for place in range(max(1, len(hubs))):
        numbers: dict[tuple[str, str], list[int]] = {}
        for number, texts in enumerate(rows):
            if place < len(anchors[number]) and (anchor := anchors[number][place]) in texts:
                for code in texts:
                    if code not in anchors[number][: place + 1]:
                        numbers.setdefault((anchor, code), []).append(number)
        for (anchor, code), places in numbers.items():
            first = [rows[number][anchor] for number in places]
            second = [rows[number][code] for number in places]
            for number, reason in zip(places, judge.judge((anchor, code), first, second), strict=True):
                if reason is not None:
                    reject(number, code, reason, anchor)
