"""Scores of one pool: on disk one JSONL file a direction and `scores.json`, in memory a `ScoreTable`.

    scores.json                    figures with signatures, means, counts; what was measured and on what
    segments/TEST/de-en.jsonl      source, hypothesis, reference, finish, statistics and scores of each segment,
                                   and where a metric looks for them, the errors in the hypothesis

A direction without test rows stands in the table as missing: its figures are None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexapla.common.artifacts import read_json, read_jsonl, write_json
from hexapla.common.errors import CorruptArtifactError, UserError, nearest
from hexapla.languages import Direction
from hexapla.plan import Layout, Side

SCORES_FILE = "scores.json"
_FORMAT = 2


@dataclass(frozen=True)
class Figure:
    """A corpus figure and the metric's signature; both None when it could not be measured.

    Attributes:
        interval: the 95 % confidence interval by bootstrap; None when it could not be measured.
    """

    value: float | None
    signature: str | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class DirectionScores:
    """What was measured on one test set in one direction.

    Attributes:
        checksum: sha256 of the ids, sources and references that were translated.
        finish: how many translations ended how (`stop`, `length`, `loop`, ...).
        notes: metric → note → in how many segments, such as off-target → language identified → how often.
        file: the segments, relative to the folder of the scores; None when there are none.
    """

    test: str
    direction: Direction
    num_segments: int
    figures: Mapping[str, Figure]
    checksum: str | None = None
    finish: Mapping[str, int] | None = None
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    file: str | None = None


@dataclass(frozen=True)
class ScoreTable:
    """All scores of one pool.

    Attributes:
        metrics: those that were asked for.
        failures: failure rates measured besides; `figures` of the entries hold both.
        identity: what the translations depend on; its entry `translate` holds the decoder settings.
    """

    folder: Path
    pool: str
    metrics: tuple[str, ...]
    failures: tuple[str, ...]
    layout: Layout
    identity: Mapping[str, Any]
    entries: tuple[DirectionScores, ...]

    @classmethod
    def load(cls, folder: Path | str) -> ScoreTable:
        """Read `scores.json`.

        Raises:
            UserError: there is none, or a newer Hexapla wrote it.
            CorruptArtifactError: it is damaged.
        """
        folder = Path(folder)
        where = folder / SCORES_FILE
        if not where.is_file():
            raise UserError("This folder holds no scores.json.", where=str(folder), hint="Give a folder under scores/.")
        record = read_json(where)
        try:
            if record["format"] != _FORMAT:
                age, remedy = (
                    ("A newer", "upgrade to read them") if record["format"] > _FORMAT else ("An older", "measure again")
                )
                raise UserError(f"{age} Hexapla wrote these scores; {remedy}.", where=str(where))
            return _from_record(folder, record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CorruptArtifactError(
                f"A field is missing or of the wrong kind ({error}).", where=str(where)
            ) from error

    def save(self) -> None:
        """Write `scores.json`, with the means for people who read it as it is."""
        write_json(self.folder / SCORES_FILE, _to_record(self))

    @property
    def measured(self) -> tuple[str, ...]:
        """Every metric that `figures` may hold: those asked for, then the other failure rates."""
        return (*self.metrics, *self.failures)

    @property
    def tests(self) -> tuple[str, ...]:
        """Names of the test sets."""
        return tuple(dict.fromkeys(entry.test for entry in self.entries))

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction that was asked for, measured or missing."""
        return tuple(dict.fromkeys(entry.direction for entry in self.entries))

    @property
    def missing(self) -> tuple[DirectionScores, ...]:
        """The directions and test sets that had no rows."""
        return tuple(entry for entry in self.entries if entry.num_segments == 0)

    def group(self, direction: Direction) -> str | None:
        """The group of the language that is no hub; None between hubs."""
        if self.layout.side(direction) is Side.BETWEEN_HUBS:
            return None
        return self.layout.group_of(direction.source if direction.target in self.layout.hubs else direction.target)

    def by_direction(self, metric: str, test: str | None = None) -> dict[Direction, float | None]:
        """Direction → figure; over several test sets the mean of those that have rows in the direction."""
        self._require_metric(metric)
        values: dict[Direction, list[float]] = {direction: [] for direction in self.directions}
        for entry in self.entries:
            value = entry.figures[metric].value
            if value is not None and test in (None, entry.test):
                values[entry.direction].append(value)
        return {direction: _mean(found) for direction, found in values.items()}

    def mean(
        self, metric: str, side: Side | None = None, group: str | None = None, test: str | None = None
    ) -> float | None:
        """Mean over the measured directions of a side and a group (None: of all); None when none was measured."""
        chosen = [
            value
            for direction, value in self.by_direction(metric, test).items()
            if value is not None
            and (side is None or self.layout.side(direction) is side)
            and (group is None or self.group(direction) == group)
        ]
        return _mean(chosen)

    def entry(self, test: str, direction: Direction) -> DirectionScores | None:
        """What was measured on a test set in a direction; None when it was not asked for."""
        return next((entry for entry in self.entries if (entry.test, entry.direction) == (test, direction)), None)

    def signature(self, metric: str, test: str, direction: Direction) -> str | None:
        """Everything that the figure depends on: metric, test set with checksum, and decoder; None when missing."""
        self._require_metric(metric)
        entry = self.entry(test, direction)
        if entry is None or entry.checksum is None:
            return None
        decoder = self.identity.get("translate") or {}
        parts = [
            str(entry.figures[metric].signature),
            f"test:{test}@{entry.checksum[:12]}",
            f"segments:{entry.num_segments}",
            f"lang:{direction}",
            *(f"{key}:{value}" for key, value in sorted(decoder.items())),
        ]
        return "|".join(parts)

    def finish_counts(self) -> dict[str, int]:
        """How many translations ended how, over all directions."""
        totals: dict[str, int] = {}
        for entry in self.entries:
            for finish, count in (entry.finish or {}).items():
                totals[finish] = totals.get(finish, 0) + count
        return totals

    def segments(self, test: str, direction: Direction) -> list[dict[str, Any]]:
        """The segments of a test set in a direction, in the order of the test set; empty when there are none."""
        entry = self.entry(test, direction)
        return read_jsonl(self.folder / entry.file) if entry is not None and entry.file is not None else []

    def _require_metric(self, metric: str) -> None:
        if metric not in self.measured:
            raise UserError(
                f"The metric {metric!r} was not measured.", where=str(self.folder), hint=nearest(metric, self.measured)
            )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _to_record(table: ScoreTable) -> dict[str, Any]:
    layout = table.layout
    groups = {table.group(direction): None for direction in table.directions}
    return {
        "format": _FORMAT,
        "pool": table.pool,
        "metrics": list(table.metrics),
        "failures": list(table.failures),
        "languages": list(layout.languages),
        "hubs": list(layout.hubs),
        "groups": {group: list(members) for group, members in layout.groups.items()},
        "means": {
            metric: {
                "all": table.mean(metric),
                "sides": {side.value: table.mean(metric, side) for side in Side},
                "groups": {
                    group: {side.value: table.mean(metric, side, group) for side in (Side.TO_HUB, Side.FROM_HUB)}
                    for group in groups
                    if group is not None
                },
            }
            for metric in table.measured
        },
        "finish": table.finish_counts(),
        "missing": [f"{entry.test} {entry.direction}" for entry in table.missing],
        "directions": [_entry_record(table, entry) for entry in table.entries],
        "identity": dict(table.identity),
    }


def _entry_record(table: ScoreTable, entry: DirectionScores) -> dict[str, Any]:
    return {
        "test": entry.test,
        "direction": str(entry.direction),
        "side": table.layout.side(entry.direction).value,
        "group": table.group(entry.direction),
        "segments": entry.num_segments,
        "checksum": entry.checksum,
        "figures": {
            metric: {
                "value": figure.value,
                "interval": None if figure.interval is None else list(figure.interval),
                "signature": figure.signature,
            }
            for metric, figure in entry.figures.items()
        },
        "finish": None if entry.finish is None else dict(entry.finish),
        "notes": {metric: dict(counts) for metric, counts in entry.notes.items()},
        "file": entry.file,
    }


def _from_record(folder: Path, record: Mapping[str, Any]) -> ScoreTable:
    layout = Layout(
        tuple(record["languages"]),
        tuple(record["hubs"]),
        {group: tuple(members) for group, members in record["groups"].items()},
    )
    entries = tuple(
        DirectionScores(
            test=item["test"],
            direction=Direction.parse(item["direction"]),
            num_segments=item["segments"],
            figures={
                metric: _figure_from_record(item["figures"][metric])
                for metric in (*record["metrics"], *record["failures"])
            },
            checksum=item["checksum"],
            finish=item["finish"],
            notes=item["notes"],
            file=item["file"],
        )
        for item in record["directions"]
    )
    metrics, failures = tuple(record["metrics"]), tuple(record["failures"])
    return ScoreTable(folder, record["pool"], metrics, failures, layout, record["identity"], entries)


def _figure_from_record(record: Mapping[str, Any]) -> Figure:
    value, interval = record["value"], record["interval"]
    if value is not None and not math.isfinite(value):
        raise ValueError(f"a figure is {value}")
    return Figure(value, record["signature"], None if interval is None else (interval[0], interval[1]))
