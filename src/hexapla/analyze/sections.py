"""What each section of the report shows, as plain values for the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexapla import languages
from hexapla.analyze.curves import Course
from hexapla.common.seeds import stable_order
from hexapla.evaluate.comparison import PoolCost, best_positions, measured_sides, parameter_count
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.languages import Direction


@dataclass(frozen=True)
class Cell:
    """A figure as shown: None is missing; `share` (0 to 1) is the length of its bar, None for no bar."""

    text: str | None
    best: bool = False
    share: float | None = None


@dataclass(frozen=True)
class HeatCell:
    """A figure of the heat map; `applies` is False where the language has no such direction."""

    applies: bool
    value: float | None = None
    share: float = 0.0
    title: str | None = None


@dataclass(frozen=True)
class HeatRow:
    """A language, or the mean of a group: one block of cells (one a pool) a side of a hub."""

    label: str
    code: str | None
    is_mean: bool
    blocks: list[list[HeatCell]]


def metric_names(tables: Sequence[ScoreTable]) -> list[str]:
    """Every metric that some table has, in the order of the recipe."""
    return list(dict.fromkeys(metric for table in tables for metric in table.metrics))


def summary(tables: Sequence[ScoreTable], costs: Mapping[str, PoolCost]) -> dict[str, Any]:
    """Means by side and metric, and costs, one row a pool."""
    sides, metrics = measured_sides(tables), metric_names(tables)
    columns = []
    for side in sides:
        for metric in metrics:
            means = [table.mean(metric, side) if metric in table.metrics else None for table in tables]
            columns.append(_column(means, higher_is_better=METRICS[metric].higher_is_better))
    measured = [entry.direction for entry in tables[0].entries if entry.num_segments]
    return {
        "sides": [
            (side.value, sum(tables[0].layout.side(direction) is side for direction in set(measured))) for side in sides
        ],
        "metrics": [METRICS[metric].title for metric in metrics],
        "pools": [
            {
                "name": table.pool,
                "figures": [column[position] for column in columns],
                "cost": _cost(costs.get(table.pool)),
            }
            for position, table in enumerate(tables)
        ],
    }


def endings(tables: Sequence[ScoreTable]) -> dict[str, Any]:
    """How many translations ended how."""
    found = {table.pool: table.finish_counts() for table in tables}
    others = sorted({kind for counts in found.values() for kind in counts} - {"stop"})
    kinds = ["stop", *others]
    pools = []
    for table in tables:
        counts = [found[table.pool].get(kind, 0) for kind in kinds]
        pools.append((table.pool, [sum(entry.num_segments for entry in table.entries), *counts]))
    return {"kinds": kinds, "pools": pools}


def heat(tables: Sequence[ScoreTable]) -> dict[str, Any]:
    """Language × (side of a hub, pool), once for every metric and, where there are several, every test set."""
    layout = tables[0].layout
    present = {direction for table in tables for direction in table.directions}
    blocks = []
    for hub in layout.hubs:
        name = languages.get(hub).name
        blocks += [(f"into {name}", hub, False), (f"from {name}", hub, True)]
    tests: list[str | None] = [None]
    if len(tables[0].tests) > 1:
        tests += tables[0].tests
    views = [_view(tables, metric, test, blocks, present) for metric in metric_names(tables) for test in tests]
    return {"pools": [table.pool for table in tables], "blocks": [title for title, _, _ in blocks], "views": views}


def samples(tables: Sequence[ScoreTable], per_direction: int, seed: int) -> dict[str, Any]:
    """The same few sentences of every direction with the translations of all pools."""
    metric = "chrf++" if all("chrf++" in table.metrics for table in tables) else metric_names(tables)[0]
    items = []
    for entry in tables[0].entries:
        by_pool = {
            table.pool: {segment["id"]: segment for segment in table.segments(entry.test, entry.direction)}
            for table in tables
        }
        segments = list(by_pool[tables[0].pool].values())
        order = stable_order(seed, [segment["id"] for segment in segments], "report", entry.test, str(entry.direction))
        for position in order[:per_direction]:
            items.append(_sample(entry.direction, segments[position], by_pool, metric))
    directions = dict.fromkeys(item["direction"] for item in items)
    return {
        "per_direction": per_direction,
        "metric": METRICS[metric].title,
        "directions": [{"code": code, "label": _label(Direction.parse(code))} for code in directions],
        "shown": items,
    }


def training(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One row an adapter; the keys are those of `training.json`, a missing one is shown as such.

    Each may also hold `losses`, [step, loss] of the course of training (`curves.loss_curve`). Development figures and
    curves are left out where no adapter has them.
    """
    records = list(summaries.values())
    courses = [
        Course.of(record.get("losses") or [], record.get("development") or [], record.get("num_steps"))
        for record in records
    ]
    columns = ["examples", "set aside", "steps", "first loss", "final loss", "target tokens", "seconds", "tokens/s"]
    place = columns.index("final loss") + 1
    if any(record.get("development_chrf") for record in records):
        columns.insert(place, "best development chrF")
    if any(record.get("development") for record in records):
        columns.insert(place, "best development loss")
    rows = []
    for name, record, course in zip(summaries, records, courses, strict=True):
        figures = _training_figures(record)
        status = str(record.get("status", "—"))
        again = ", second try" if record.get("story") and status != "diverged" else ""
        rows.append(
            {
                "name": name,
                "status": status.replace("-", " ") + again,
                "is_bad": status not in ("finished", "stopped-early"),
                "story": record.get("story"),
                "course": course,
                "cells": [figures[column] for column in columns],
            }
        )
    has_curves = any(course is not None for course in courses)
    return {
        "notes": _training_notes(records),
        "has_curves": has_curves,
        "has_development_curves": any(course is not None and course.development for course in courses),
        "columns": columns,
        "rows": rows,
    }


def merges(reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a merged adapter, from the totals of `merge-report.json`."""
    rows = []
    for pool, adapters in reports.items():
        for name, record in adapters.items():
            total = record.get("total", {})
            shares = [_percent(total.get(key)) for key in ("relative_error", "sign_conflict_share", "kept_mass")]
            experts = ", ".join(record.get("experts", ())) or "—"
            rows.append(
                {"pool": pool, "adapter": name, "experts": experts, "cells": [_count(record.get("rank")), *shares]}
            )
    return rows


def tests(table: ScoreTable) -> list[dict[str, Any]]:
    """The test sets with their sizes and the directions in which they have no rows."""
    found = []
    for name in table.tests:
        entries = [entry for entry in table.entries if entry.test == name]
        found.append(
            {
                "name": name,
                "num_directions": sum(entry.num_segments > 0 for entry in entries),
                "num_segments": sum(entry.num_segments for entry in entries),
                "missing": ", ".join(str(entry.direction) for entry in entries if entry.num_segments == 0),
            }
        )
    return found


def _column(values: Sequence[float | None], *, higher_is_better: bool) -> list[Cell]:
    best = best_positions(values, higher_is_better=higher_is_better)
    top = max((value for value in values if value is not None), default=0.0)
    return [
        Cell(None) if value is None else Cell(f"{value:.1f}", position in best, value / top if top > 0 else 0.0)
        for position, value in enumerate(values)
    ]


def _cost(cost: PoolCost | None) -> list[Cell]:
    if cost is None:
        return [Cell(None)] * 3
    return [Cell(str(cost.num_adapters)), Cell(parameter_count(cost.num_parameters)), _decimal(cost.seconds, 0)]


def _training_figures(record: Mapping[str, Any]) -> dict[str, Cell]:
    """An adapter's figures by column."""
    aside, steps, planned = record.get("set_asides"), record.get("num_steps"), record.get("num_planned_steps")
    num_tokens, seconds = record.get("num_input_tokens"), record.get("seconds")
    shown_steps = _count(steps)
    if steps is not None and planned is not None and steps != planned:
        shown_steps = Cell(f"{steps:,} of {planned:,}")
    return {
        "examples": _count(record.get("num_examples")),
        "set aside": _count(None if aside is None else sum(aside.values())),
        "steps": shown_steps,
        "first loss": _decimal(record.get("first_loss"), 3),
        "final loss": _decimal(record.get("final_loss"), 3),
        "best development loss": _decimal(min((loss for _, loss in record.get("development") or ()), default=None), 3),
        "best development chrF": _decimal(
            max((chrf for _, chrf in record.get("development_chrf") or ()), default=None), 1
        ),
        "target tokens": _count(record.get("num_target_tokens")),
        "seconds": _decimal(seconds, 1),
        "tokens/s": _decimal(num_tokens / seconds if num_tokens and seconds else None, 0),
    }


def _training_notes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the adapters were trained, and which figures need a word."""
    notes = []
    bank = [record for record in records if record.get("trainer") == "bank"]
    alone = sum(record.get("trainer") == "peft" for record in records)
    if bank:
        beside = max(record.get("company") or 1 for record in bank)
        notes.append(
            f"Trained by the bank: {len(bank)}, up to {beside} beside each other; "
            "seconds are an adapter's share of the common time, by tokens."
        )
    if alone:
        notes.append(f"Trained one after another with peft: {alone}.")
    if any(_kept_fewer(record) for record in records):
        notes.append("Steps count the updates that are in the adapter, of those planned.")
    return notes


def _kept_fewer(record: Mapping[str, Any]) -> bool:
    planned = record.get("num_planned_steps")
    return planned is not None and record.get("num_steps") != planned


def _view(
    tables: Sequence[ScoreTable],
    metric: str,
    test: str | None,
    blocks: Sequence[tuple[str, str, bool]],
    present: set[Direction],
) -> dict[str, Any]:
    values = [table.by_direction(metric, test) if metric in table.metrics else {} for table in tables]
    maximum = max((value for found in values for value in found.values() if value is not None), default=0.0)
    layout = tables[0].layout

    def cells(code: str, hub: str, outward: bool) -> list[HeatCell]:
        direction = Direction(hub, code) if outward else Direction(code, hub)
        if direction not in present:
            return [HeatCell(applies=False) for _ in tables]
        return [
            _heat_cell(found.get(direction), maximum, _title(table, metric, test, direction))
            for table, found in zip(tables, values, strict=True)
        ]

    def row(code: str) -> HeatRow:
        return HeatRow(languages.get(code).name, code, False, [cells(code, hub, out) for _, hub, out in blocks])

    def mean_row(label: str, codes: Iterable[str]) -> HeatRow:
        rows = [row(code) for code in codes]
        means = [
            [_mean_cell([item.blocks[b][p] for item in rows], maximum) for p in range(len(tables))]
            for b in range(len(blocks))
        ]
        return HeatRow(label, None, True, means)

    shown = {code for direction in present for code in direction}
    groups = []
    for name, members in layout.groups.items():
        codes = [code for code in members if code in shown]
        if codes:
            groups.append({"rows": [mean_row(name, codes), *map(row, codes)]})
    if len(layout.hubs) > 1:
        groups.append({"rows": [mean_row("hubs", layout.hubs), *map(row, layout.hubs)]})
    title = METRICS[metric].title
    if test is not None:
        title += f" on {test}"
    elif len(tables[0].tests) > 1:
        title += ", mean of the test sets"
    return {
        "title": title,
        "maximum": maximum,
        "higher_is_better": METRICS[metric].higher_is_better,
        "groups": groups,
    }


def _heat_cell(value: float | None, maximum: float, title: str | None) -> HeatCell:
    share = value / maximum if value is not None and maximum > 0 else 0.0
    return HeatCell(True, value, share, title if value is not None else "not measured")


def _mean_cell(cells: Sequence[HeatCell], maximum: float) -> HeatCell:
    applying = [cell for cell in cells if cell.applies]
    found = [cell.value for cell in applying if cell.value is not None]
    if not applying:
        return HeatCell(applies=False)
    mean = sum(found) / len(found) if found else None
    return _heat_cell(mean, maximum, f"mean of {len(found)} of {len(applying)} directions")


def _title(table: ScoreTable, metric: str, test: str | None, direction: Direction) -> str | None:
    if metric not in table.metrics:
        return None
    chosen = table.tests if test is None else (test,)
    found = [table.signature(metric, name, direction) for name in chosen]
    lines = [signature for signature in found if signature is not None]
    return "\n".join([f"{table.pool}, {_label(direction)}", *lines])


def _sample(
    direction: Direction, given: Mapping[str, Any], by_pool: Mapping[str, Mapping[str, Any]], metric: str
) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    for pool, segments in by_pool.items():
        segment = segments.get(given["id"])
        outputs.append(
            {
                "pool": pool,
                "text": None if segment is None else segment["hypothesis"],
                "finish": None if segment is None else segment["finish"],
                "score": None if segment is None else segment["scores"].get(metric),
            }
        )
    best = best_positions([output["score"] for output in outputs], higher_is_better=METRICS[metric].higher_is_better)
    for position, output in enumerate(outputs):
        output["best"] = position in best
    return {
        "direction": str(direction),
        "label": _label(direction),
        "id": given["id"],
        "source": given["source"],
        "reference": given["reference"],
        "source_language": languages.get(direction.source).bcp47,
        "target_language": languages.get(direction.target).bcp47,
        "outputs": outputs,
    }


def _label(direction: Direction) -> str:
    return f"{languages.get(direction.source).name} → {languages.get(direction.target).name}"


def _count(value: int | None) -> Cell:
    return Cell(None if value is None else f"{value:,}")


def _decimal(value: float | None, digits: int) -> Cell:
    return Cell(None if value is None else f"{value:,.{digits}f}")


def _percent(share: float | None) -> Cell:
    return Cell(None if share is None else f"{100 * share:.1f} %")
