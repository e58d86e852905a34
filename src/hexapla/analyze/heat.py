"""The heat map of directions: language × (side of a hub, pool), once for every figure; and all figures as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexapla import languages
from hexapla.analyze.observed import ANY_FAILURE, Observed
from hexapla.analyze.overview import failure_names, quality_names
from hexapla.analyze.present import Column, Table, Value
from hexapla.evaluate.comparison import measured_sides
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import DirectionScores, ScoreTable
from hexapla.languages import Direction

_Figures = Mapping[Direction, float | None]


@dataclass(frozen=True)
class HeatCell:
    """A figure of the heat map; `applies` is False where the language has no such direction."""

    applies: bool
    value: float | None = None
    share: float = 0.0
    direction: str | None = None


@dataclass(frozen=True)
class HeatRow:
    """A language, or the mean of a group: one block of cells (one a pool) a side of a hub."""

    label: str
    code: str | None
    is_mean: bool
    blocks: list[list[HeatCell]]


@dataclass(frozen=True)
class _Block:
    """A side of a hub."""

    title: str
    hub: str
    outward: bool

    def direction(self, code: str) -> Direction:
        return Direction(self.hub, code) if self.outward else Direction(code, self.hub)


def quality_views(tables: Sequence[ScoreTable]) -> dict[str, Any]:
    """A view for every metric of quality and, where there are several, every test set."""
    views = []
    for metric, test in _quality_figures(tables):
        values = [table.by_direction(metric, test) if metric in table.metrics else {} for table in tables]
        title = METRICS[metric].title
        if len(tables[0].tests) > 1:
            title += f" on {test}" if test is not None else ", mean of the test sets"
        views.append({**_view(tables, values), "title": title, "higher_is_better": METRICS[metric].higher_is_better})
    return _heat("quality", tables, views)


def _quality_figures(tables: Sequence[ScoreTable]) -> list[tuple[str, str | None]]:
    """(metric, test set) of each view; None: the mean of the test sets."""
    tests: list[str | None] = [None]
    if len(tables[0].tests) > 1:
        tests += tables[0].tests
    return [(metric, test) for metric in quality_names(tables) for test in tests]


def failure_views(tables: Sequence[ScoreTable], observed: Observed) -> dict[str, Any]:
    """A view for translations that failed in any way, and one for each way."""
    found: dict[str, list[_Figures]] = {"any failure": [observed.any_failure(table.pool) for table in tables]}
    for name in failure_names(tables):
        found[METRICS[name].title] = [table.by_direction(name) if name in table.measured else {} for table in tables]
    views = [
        {**_view(tables, values), "title": f"{title}, percent", "higher_is_better": False}
        for title, values in found.items()
    ]
    return _heat("failures", tables, views)


def _heat(name: str, tables: Sequence[ScoreTable], views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "pools": [table.pool for table in tables],
        "blocks": [block.title for block in _blocks(tables)],
        "views": views,
    }


def _blocks(tables: Sequence[ScoreTable]) -> list[_Block]:
    blocks = []
    for hub in tables[0].layout.hubs:
        name = languages.get(hub).name
        blocks += [_Block(f"into {name}", hub, False), _Block(f"from {name}", hub, True)]
    return blocks


def _view(tables: Sequence[ScoreTable], values: Sequence[_Figures]) -> dict[str, Any]:
    """Rows by group, each group led by its mean."""
    layout, blocks = tables[0].layout, _blocks(tables)
    present = {direction for table in tables for direction in table.directions}
    maximum = max((value for found in values for value in found.values() if value is not None), default=0.0)

    def cells(direction: Direction) -> list[HeatCell]:
        if direction not in present:
            return [HeatCell(applies=False) for _ in tables]
        return [_cell(found.get(direction), maximum, str(direction)) for found in values]

    def row(code: str) -> HeatRow:
        return HeatRow(languages.get(code).name, code, False, [cells(block.direction(code)) for block in blocks])

    def mean_row(label: str, codes: Iterable[str]) -> HeatRow:
        rows = [row(code) for code in codes]
        means = [
            [_mean_cell([item.blocks[b][p] for item in rows], maximum) for p in range(len(tables))]
            for b in range(len(blocks))
        ]
        return HeatRow(label, None, True, means)

    shown = {code for direction in present for code in direction}
    members = {name: [code for code in codes if code in shown] for name, codes in layout.groups.items()}
    if len(layout.hubs) > 1:
        members["hubs"] = list(layout.hubs)
    groups = [{"rows": [mean_row(name, codes), *map(row, codes)]} for name, codes in members.items() if codes]
    return {"maximum": maximum, "groups": groups}


def _cell(value: float | None, maximum: float, direction: str | None) -> HeatCell:
    return HeatCell(True, value, max(0.0, value / maximum) if value is not None and maximum > 0 else 0.0, direction)


def _mean_cell(cells: Sequence[HeatCell], maximum: float) -> HeatCell:
    applying = [cell for cell in cells if cell.applies]
    found = [cell.value for cell in applying if cell.value is not None]
    if not applying:
        return HeatCell(applies=False)
    return _cell(sum(found) / len(found) if found else None, maximum, None)


def details(tables: Sequence[ScoreTable], observed: Observed) -> dict[str, Any]:
    """What the page shows when a cell is pointed at: every figure of a direction, with interval and signature.

    A figure is [value, low, high, number of its signature]; an entry's `context` completes the signature. A gap is
    [low, high] of the difference of two pools, by view, direction and then (0, 1), (0, 2), (1, 2), (0, 3), ...
    """
    names = [*quality_names(tables), *failure_names(tables)]
    signatures: dict[str, int] = {}
    cells: dict[str, list[list[dict[str, Any]]]] = {}
    for position, table in enumerate(tables):
        for entry in table.entries:
            of_pools = cells.setdefault(str(entry.direction), [[] for _ in tables])
            of_pools[position].append(_detail(table, entry, names, signatures))
    return {
        "pools": [table.pool for table in tables],
        "metrics": [{"title": METRICS[name].title, "isFailure": METRICS[name].is_failure} for name in names],
        "signatures": list(signatures),
        "labels": {code: direction_label(Direction.parse(code)) for code in cells},
        "cells": cells,
        "gaps": [
            {code: _gaps(tables, observed, metric, Direction.parse(code), test) for code in cells}
            for metric, test in _quality_figures(tables)
        ],
    }


def _gaps(
    tables: Sequence[ScoreTable], observed: Observed, metric: str, direction: Direction, test: str | None
) -> list[list[float] | None]:
    found = []
    for second, table in enumerate(tables):
        for other in tables[:second]:
            interval = observed.gap(other.pool, table.pool, metric, direction, test)
            found.append(None if interval is None else [round(end, 2) for end in interval])
    return found


def _detail(
    table: ScoreTable, entry: DirectionScores, names: Sequence[str], signatures: dict[str, int]
) -> dict[str, Any]:
    figures: list[list[float | int | None] | None] = []
    for name in names:
        figure = entry.figures.get(name)
        if figure is None or figure.value is None or figure.signature is None:
            figures.append(None)
            continue
        low, high = figure.interval or (None, None)
        ends = [None if end is None else round(end, 1) for end in (figure.value, low, high)]
        figures.append([*ends, signatures.setdefault(figure.signature, len(signatures))])
    context = None
    if table.metrics and entry.checksum is not None:
        first = table.metrics[0]
        whole = str(table.signature(first, entry.test, entry.direction))
        context = whole.removeprefix(str(entry.figures[first].signature))
    return {"test": entry.test, "rows": entry.num_segments, "context": context, "figures": figures}


def figures_table(tables: Sequence[ScoreTable]) -> Table:
    """Every figure with its interval and signature: the table from which papers' tables are made."""
    rows: list[tuple[Value, ...]] = []
    for table in tables:
        for entry in table.entries:
            for name, figure in entry.figures.items():
                low, high = figure.interval or (None, None)
                rows.append(
                    (
                        table.pool,
                        entry.test,
                        str(entry.direction),
                        entry.direction.source,
                        entry.direction.target,
                        table.layout.side(entry.direction).value,
                        table.group(entry.direction),
                        METRICS[name].title,
                        figure.value,
                        low,
                        high,
                        entry.num_segments,
                        table.signature(name, entry.test, entry.direction) if figure.value is not None else None,
                    )
                )
    texts = ("pool", "test set", "direction", "source", "target", "side", "group", "metric")
    columns = (
        *map(Column, texts),
        *(Column(title, 2) for title in ("value", "low", "high")),
        Column("sentences", 0),
        Column("signature"),
    )
    note = "One row a figure; low and high are the ends of the 95 % interval."
    return Table("figures", "All figures by direction", columns, tuple(rows), note)


def failure_notes_table(tables: Sequence[ScoreTable], most: int = 3) -> Table:
    """What was noted of translations, such as the languages they were found to be in, most frequent first."""
    rows: list[tuple[Value, ...]] = []
    for table in tables:
        for entry in table.entries:
            for name, counts in entry.notes.items():
                others = {note: count for note, count in counts.items() if note != entry.direction.target}
                for note, count in sorted(others.items(), key=lambda item: (-item[1], item[0]))[:most]:
                    rate = entry.figures[name].value
                    share = 100 * count / entry.num_segments
                    rows.append(
                        (table.pool, entry.test, str(entry.direction), METRICS[name].title, rate, note, count, share)
                    )
    columns = (
        Column("pool"),
        Column("test set"),
        Column("direction"),
        Column("failure"),
        Column("rate", 1),
        Column("what"),
        Column("sentences", 0),
        Column("percent", 1),
    )
    note = (
        f"Languages identified, scripts, kinds of items; up to {most} a direction, most frequent first. "
        "What cannot be identified is unknown, and no failure."
    )
    return Table("failure-notes", "What the failures were", columns, tuple(rows), note)


def failures_table(tables: Sequence[ScoreTable], observed: Observed) -> Table:
    """Means of all failure rates by pool and side."""
    names = failure_names(tables)
    rows: list[tuple[Value, ...]] = []
    for side in measured_sides(tables):
        for table in tables:
            known = table.measured
            means = [table.mean(name, side) if name in known else None for name in names]
            rows.append((side.value, table.pool, observed.mean(table.pool, ANY_FAILURE, side).value, *means))
    titles = ["any failure", *(METRICS[name].title for name in names)]
    columns = (Column("side"), Column("pool"), *(Column(title, 1) for title in titles))
    note = (
        "Percent of the translations, means over the measured directions. A translation may fail in several ways; "
        "what cannot be judged counts neither way; a close relative of the target language is none by itself."
    )
    return Table("failures", "Failure rates by side", columns, tuple(rows), note)


def direction_label(direction: Direction) -> str:
    """A direction in words."""
    return f"{languages.get(direction.source).name} → {languages.get(direction.target).name}"
