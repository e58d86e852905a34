"""Whether figures of several pools may be held against each other: what forbids it, and what differs on purpose.

A run decodes each of its pools as the recipe or a variant asks. What a variant changes in decoding is what it is there
to show: it is said, and forbids nothing. All else that differs does, since then a figure says more than how good the
pool is: other rows, another signature of the metric, settings of decoding that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import DirectionScores, ScoreTable
from hexapla.languages import Direction

OnPurpose = Mapping[str, Collection[str]]
"""Pool → the settings of decoding that its variant changes."""

_NUM_NAMED = 3
_Places = list[tuple[Direction, str]]  # where something differs, and how; the empty string: there is no more to say


def incomparable(tables: Sequence[ScoreTable], on_purpose: OnPurpose | None = None) -> tuple[str, ...]:
    """What forbids to compare these tables with the first of them, in one sentence for each reason.

    A sentence says which pools, what differs, and in how many directions, of which it names three.

    Args:
        on_purpose: what is no reason; None: nothing.
    """
    first, *others = tables
    reasons: dict[str, dict[str, _Places]] = {}
    for other in others:
        for what, direction, how in _differences(first, other):
            reasons.setdefault(what, {}).setdefault(other.pool, []).append((direction, how))
    sentences = [_sentence(what, by_pool) for what, found in reasons.items() for by_pool in _alike(found)]
    sentences += [
        f"{_pools(pools)} {_was(pools)} decoded with other settings than {first.pool} ({told})."
        for pools, told in _decoders(first, others, on_purpose or {}, is_asked=False)
    ]
    return tuple(sentences)


def decoded_on_purpose(tables: Sequence[ScoreTable], on_purpose: OnPurpose) -> str | None:
    """Which pools are decoded otherwise because that was asked for: `wide (beams 4 instead of 1)`; None: none.

    They are held against the first pool whose decoding nothing changes, or where there is none against the first.
    """
    reference = next((table for table in tables if not on_purpose.get(table.pool)), tables[0])
    found = _decoders(reference, tables, on_purpose, is_asked=True)
    return "; ".join(f"{_pools(pools)} ({told})" for pools, told in found) or None


def signature_difference(ours: str, theirs: str) -> str:
    """The parts of a signature that another one has not, and the reverse: `beams:5 against beams:1`."""
    parts = [ours.split("|"), theirs.split("|")]
    here, there = (
        " ".join(part for part in one if part not in other) or "nothing" for one, other in (parts, parts[::-1])
    )
    return f"{here} against {there}"


def _differences(first: ScoreTable, other: ScoreTable) -> Iterator[tuple[str, Direction, str]]:
    """(what, where, how): what `other` was, such as `measured on other rows of book than base`."""
    ours, theirs = ({(e.test, e.direction): e for e in table.entries if e.num_segments} for table in (first, other))
    for test, direction in dict.fromkeys((*ours, *theirs)):
        mine, its = ours.get((test, direction)), theirs.get((test, direction))
        if mine is None or its is None:
            here, there = ("not ", "") if its is None else ("", " not")
            yield f"{here}measured on {test}, as {first.pool} was{there}", direction, ""
            continue
        if mine.checksum != its.checksum:
            yield f"measured on other rows of {test} than {first.pool}", direction, ""
        for metric in dict.fromkeys((*first.metrics, *other.metrics)):
            if found := _metric_difference(metric, test, first.pool, (mine, its)):
                yield found[0], direction, found[1]


def _metric_difference(
    metric: str, test: str, pool: str, entries: tuple[DirectionScores, DirectionScores]
) -> tuple[str, str] | None:
    """What differs in how a metric was measured, and how; None where nothing does."""
    mine, its = (entry.figures[metric].signature if metric in entry.figures else None for entry in entries)
    if mine == its:
        return None
    title = METRICS[metric].title if metric in METRICS else metric
    if its is None or mine is None:
        here, there = ("not ", "") if its is None else ("", " not")
        return f"{here}measured with {title} on {test}, as {pool} was{there}", ""
    return f"measured with another signature of {title} on {test} than {pool}", signature_difference(its, mine)


def _alike(found: Mapping[str, _Places]) -> Iterator[tuple[list[str], _Places]]:
    """Pools for which the same holds in the same places."""
    alike: dict[tuple[tuple[Direction, str], ...], list[str]] = {}
    for pool, places in found.items():
        alike.setdefault(tuple(places), []).append(pool)
    for where, pools in alike.items():
        yield pools, list(where)


def _sentence(what: str, found: tuple[list[str], _Places]) -> str:
    pools, places = found
    directions = [str(direction) for direction, _ in places]
    number = f"{len(directions)} direction{'s' if len(directions) > 1 else ''} ({_few(directions)})"
    how = f": {places[0][1]} in {directions[0]}" if places[0][1] else ""
    return f"{_pools(pools)} {_was(pools)} {what}, in {number}{how}."


def _decoders(
    reference: ScoreTable, tables: Sequence[ScoreTable], on_purpose: OnPurpose, *, is_asked: bool
) -> Iterator[tuple[list[str], str]]:
    """Pools that differ from `reference` in the same settings, asked for or not: (pools, `beams 2, 4 instead of 1`)."""
    ours = _decoding(reference)
    found: dict[tuple[str, ...], list[ScoreTable]] = {}
    for table in tables:
        theirs = _decoding(table)
        asked = {*on_purpose.get(reference.pool, ()), *on_purpose.get(table.pool, ())}
        differing = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        if keys := tuple(key for key in differing if (key in asked) is is_asked):
            found.setdefault(keys, []).append(table)
    for keys, alike in found.items():
        values = {key: list(dict.fromkeys(str(_decoding(table).get(key)) for table in alike)) for key in keys}
        told = " and ".join(f"{key} {_few(values[key])} instead of {ours.get(key)}" for key in keys)
        yield [table.pool for table in alike], told


def _decoding(table: ScoreTable) -> Mapping[str, Any]:
    return table.identity.get("translate") or {}


def _few(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NUM_NAMED], *(["…"] if len(names) > _NUM_NAMED else [])])


def _pools(names: Sequence[str]) -> str:
    return _few(names) + (f" ({len(names)} pools)" if len(names) > _NUM_NAMED else "")


def _was(pools: Sequence[str]) -> str:
    return "was" if len(pools) == 1 else "were"
