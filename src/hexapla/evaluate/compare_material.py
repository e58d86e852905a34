"""What is compared: segments that several systems translated, with their statistics; here from scores of pools.

Directions that some system did not translate, or translated from other rows, are set aside with the reason; so is a
metric whose signatures differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.errors import CorruptArtifactError, UserError, nearest
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import DirectionScores, ScoreTable
from hexapla.plan import Side

if TYPE_CHECKING:
    import numpy as np

_TEXTS = ("id", "source", "hypothesis", "reference")
# Figures recomputed from the statistics agree with those of scores.json up to rounding in sums of any order.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Track:
    """What one metric says about one place.

    Attributes:
        statistics: of each system [n, k].
        scores: of each system, of each segment; None where there is none.
    """

    signature: str
    statistics: tuple[np.ndarray, ...]
    scores: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, eq=False)
class Place:
    """One test set in one direction, translated by all systems.

    Attributes:
        test: name of the test set; None for plain files.
        direction: written `de-en`; for plain files, whose source language is not known, `→ en`.
        side: of the hubs; None for plain files.
        rows: ids; the same id in the same test set is the same sentence in any direction.
        hypotheses: of each system.
        tracks: metric → what it says; a metric that cannot be compared here is not in it.
    """

    test: str | None
    direction: str
    side: Side | None
    rows: tuple[str, ...]
    sources: tuple[str, ...] | None
    references: tuple[str, ...] | None
    hypotheses: tuple[tuple[str, ...], ...]
    tracks: Mapping[str, Track]


@dataclass(frozen=True)
class Exclusion:
    """What cannot be compared, and why.

    Attributes:
        metric: None: no metric can be compared there.
    """

    test: str | None
    direction: str
    metric: str | None
    reason: str


@dataclass(frozen=True, eq=False)
class Material:
    """All that a comparison needs.

    Attributes:
        systems: their names; the first is the baseline.
        metrics: to compare, in the order in which they are shown.
        notes: what differs between the systems without forbidding the comparison, such as the decoder.
    """

    systems: tuple[str, ...]
    metrics: tuple[str, ...]
    places: tuple[Place, ...]
    excluded: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()


def material_of_tables(tables: Sequence[ScoreTable], metrics: Sequence[str] | None = None) -> Material:
    """What scores of pools have in common.

    Args:
        tables: the baseline first.
        metrics: None: all that every table has.

    Raises:
        UserError: a metric was not measured, or nothing can be compared; the message says why.
        CorruptArtifactError: segments on disk are damaged, with file and line.
    """
    wanted = _wanted(tables, metrics)
    systems = distinct_names([table.pool for table in tables], [table.folder for table in tables])
    places = []
    excluded = []
    for test, direction in dict.fromkeys((entry.test, entry.direction) for table in tables for entry in table.entries):
        entries = [table.entry(test, direction) for table in tables]
        reason = _forbidding(systems, entries)
        if reason is not None:
            excluded.append(Exclusion(test, str(direction), None, reason))
            continue
        found = [entry for entry in entries if entry is not None]
        reasons = {metric: _forbidding_metric(systems, found, metric) for metric in wanted}
        excluded += [Exclusion(test, str(direction), metric, text) for metric, text in reasons.items() if text]
        left = [metric for metric in wanted if reasons[metric] is None]
        if left:
            places.append(_place(tables, found, left))
    lost = [metric for metric in metrics or () if not any(metric in place.tracks for place in places)]
    if lost or not places:
        why = sorted({item.reason for item in excluded if item.metric in (None, *lost)}) or ["No rows were measured."]
        about = f" by {', '.join(lost)}" if lost else ""
        raise UserError(f"{' and '.join(systems)} cannot be compared{about}.", hint=" ".join(why[:3]))
    return Material(systems, tuple(wanted), tuple(places), tuple(excluded), tuple(_notes(systems, tables, wanted)))


def distinct_names(names: Sequence[str], paths: Sequence[Path]) -> tuple[str, ...]:
    """The names, or where they are not distinct what distinguishes the paths, or else a number behind them."""
    if len(set(names)) == len(names):
        return tuple(names)
    parts = [path.parts for path in paths]
    start = next((depth for depth, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), None)
    if start is None:
        return tuple(f"{name} ({number})" for number, name in enumerate(names, start=1))
    levels = [set(level) for level in zip(*parts, strict=False)][start:]
    if len(levels[0]) == len(names):
        return tuple(path[start] for path in parts)
    if len(set(paths)) == len(paths):
        return tuple(str(Path(*path[start:])) for path in parts)
    return tuple(f"{Path(*path[start:])} ({number})" for number, path in enumerate(parts, start=1))


def _wanted(tables: Sequence[ScoreTable], metrics: Sequence[str] | None) -> list[str]:
    """The metrics to compare."""
    if metrics is None:
        first, *others = [table.measured for table in tables]
        common = [metric for metric in first if metric in METRICS and all(metric in other for other in others)]
        if not common:
            raise UserError("These scores have no metric in common.", hint="Measure both with the same metrics.")
        return common
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"There is no metric {metric!r}.", hint=nearest(metric, METRICS))
        for table in tables:
            known = table.measured
            if metric not in known:
                raise UserError(
                    f"The metric {metric!r} was not measured.", where=str(table.folder), hint=nearest(metric, known)
                )
    return list(dict.fromkeys(metrics))


def _forbidding(systems: Sequence[str], entries: Sequence[DirectionScores | None]) -> str | None:
    """Why nothing can be compared on a test set in a direction; None when something can."""
    absent = [system for system, entry in zip(systems, entries, strict=True) if entry is None]
    if absent:
        return f"{' and '.join(absent)}: not measured there."
    found = [entry for entry in entries if entry is not None]
    empty = [system for system, entry in zip(systems, found, strict=True) if entry.num_segments == 0]
    if len(empty) == len(systems):
        return "There are no test rows."
    if empty:
        return f"{' and '.join(empty)}: no test rows there."
    other = [system for system, entry in zip(systems, found, strict=True) if entry.checksum != found[0].checksum]
    return f"{' and '.join(other)}: measured on other rows than {systems[0]}." if other else None


def _forbidding_metric(systems: Sequence[str], entries: Sequence[DirectionScores], metric: str) -> str | None:
    """Why a metric cannot be compared there; the empty string where it was measured for no system, None when it can."""
    signatures = [entry.figures[metric].signature for entry in entries]
    if not any(signatures):
        return ""
    absent = [system for system, signature in zip(systems, signatures, strict=True) if signature is None]
    if absent:
        return f"{metric} was not measured for {' and '.join(absent)}."
    other = [(system, text) for system, text in zip(systems, signatures, strict=True) if text != signatures[0]]
    if not other:
        return None
    return f"The signatures of {metric} differ: {signatures[0]} ({systems[0]}), {other[0][1]} ({other[0][0]})."


def _notes(systems: Sequence[str], tables: Sequence[ScoreTable], wanted: Sequence[str]) -> Iterator[str]:
    """What differs without forbidding the comparison."""
    first = tables[0]
    for system, table in zip(systems[1:], tables[1:], strict=True):
        ours, theirs = (one.identity.get("translate") or {} for one in (first, table))
        differing = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        if differing:
            listed = ", ".join(f"{key} {theirs.get(key)} instead of {ours.get(key)}" for key in differing)
            yield f"{system} was decoded otherwise than {systems[0]}: {listed}."
        if set(table.layout.hubs) != set(first.layout.hubs):
            yield f"{system} has other hubs than {systems[0]}, whose sides are shown."
    others = {metric for table in tables for metric in table.metrics if metric not in wanted}
    unshared = sorted(metric for metric in others if not all(metric in table.metrics for table in tables))
    if unshared:
        yield f"Not measured for all: {', '.join(unshared)}."
    unknown = sorted(others - {*unshared, *METRICS})
    if unknown:
        yield f"Unknown to this version of Hexapla: {', '.join(unknown)}."


def _place(tables: Sequence[ScoreTable], entries: Sequence[DirectionScores], metrics: Sequence[str]) -> Place:
    """Read the segments of one test set in one direction."""
    records = [_read(table, entry) for table, entry in zip(tables, entries, strict=True)]
    tracks = {}
    for metric in metrics:
        signature = entries[0].figures[metric].signature
        assert signature is not None, "a metric without signatures is set aside"
        found = [
            _track(table, entry, metric, read) for table, entry, read in zip(tables, entries, records, strict=True)
        ]
        widths = {statistics.shape[1] for statistics, _ in found}
        if len(widths) > 1:
            raise CorruptArtifactError(
                f"The statistics of {metric} have other lengths here than in {tables[0].folder}.",
                where=str(tables[-1].folder / str(entries[-1].file)),
            )
        tracks[metric] = Track(signature, tuple(item[0] for item in found), tuple(item[1] for item in found))
    test, direction = entries[0].test, entries[0].direction
    first = records[0]
    return Place(
        test=test,
        direction=str(direction),
        side=tables[0].layout.side(direction),
        rows=tuple(record["id"] for record in first),
        sources=tuple(record["source"] for record in first),
        references=tuple(record["reference"] for record in first),
        hypotheses=tuple(tuple(record["hypothesis"] for record in read) for read in records),
        tracks=tracks,
    )


def _read(table: ScoreTable, entry: DirectionScores) -> list[dict[str, Any]]:
    """The segments, as many as scores.json says, each with its texts."""
    where = table.folder / str(entry.file)
    records = table.segments(entry.test, entry.direction)
    if len(records) != entry.num_segments:
        raise CorruptArtifactError(
            f"This file holds {len(records)} segments, scores.json says {entry.num_segments}.", where=str(where)
        )
    for line, record in enumerate(records, start=1):
        if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in _TEXTS):
            raise CorruptArtifactError(f"A text is missing here ({', '.join(_TEXTS)}).", where=f"{where}:{line}")
    return records


def _track(
    table: ScoreTable, entry: DirectionScores, metric: str, records: Sequence[Mapping[str, Any]]
) -> tuple[np.ndarray, tuple[float | None, ...]]:
    """Statistics [n, k] and scores of one system, which are sound and give the figure of scores.json."""
    import numpy as np

    where = table.folder / str(entry.file)
    statistics: list[list[float]] = []
    scores: list[float | None] = []
    for line, record in enumerate(records, start=1):
        try:
            found, score = record["statistics"][metric], record["scores"][metric]
            sound = all(math.isfinite(value) for value in found) and (score is None or math.isfinite(score))
            sound = sound and 0 < len(found) == len(statistics[0] if statistics else found)
        except (KeyError, TypeError):
            found, score, sound = [], None, False
        if not sound:
            raise CorruptArtifactError(
                f"The statistics of {metric} are missing here, or no finite numbers.", where=f"{where}:{line}"
            )
        statistics.append(found)
        scores.append(score)
    try:
        value = METRICS[metric].corpus_score(statistics)
    except (IndexError, ValueError) as error:
        raise CorruptArtifactError(f"These are no statistics of {metric} ({error}).", where=str(where)) from error
    stored = entry.figures[metric].value
    if not _agree(value, stored):
        raise CorruptArtifactError(
            f"These segments give {value} as {metric} of {entry.direction}, scores.json says {stored}.",
            where=str(where),
        )
    return np.asarray(statistics, dtype=np.float64), tuple(scores)


def _agree(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
