"""What a reader sees first: the best pool a side, means with intervals beside failure rates, costs, endings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexapla import languages
from hexapla.analyze.observed import ANY_FAILURE, Observed
from hexapla.analyze.present import Column, Table, Value
from hexapla.evaluate.comparison import PoolCost, best_positions, measured_sides
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import Estimate
from hexapla.plan import Side


@dataclass(frozen=True)
class Winner:
    """The best pool of a side by one metric.

    Attributes:
        pools: more than one where they are equal as shown.
        runner_up: the next best pool; None where there is none or all are equal.
        gap: by how much the best one's mean is better than the next one's.
        interval: of the gap, 95 %; None where the two were not measured on the same rows.
    """

    metric: str
    pools: tuple[str, ...]
    estimate: Estimate
    failed: float | None
    runner_up: str | None
    gap: float | None
    interval: tuple[float, float] | None


def metric_names(tables: Sequence[ScoreTable]) -> list[str]:
    """Every metric that was asked for in some table, in the order of the recipe."""
    return list(dict.fromkeys(metric for table in tables for metric in table.metrics))


def quality_names(tables: Sequence[ScoreTable]) -> list[str]:
    """Those of them that are no failure rates."""
    return [name for name in metric_names(tables) if not METRICS[name].is_failure]


def failure_names(tables: Sequence[ScoreTable]) -> list[str]:
    """Every failure that some table has, in the order of the registry."""
    found = {name for table in tables for name in table.measured}
    return [name for name in METRICS if name in found and METRICS[name].is_failure]


def side_label(side: Side, tables: Sequence[ScoreTable]) -> str:
    """A side in words: `into English`."""
    hubs = " or ".join(languages.get(code).name for code in tables[0].layout.hubs)
    return {Side.TO_HUB: f"into {hubs}", Side.FROM_HUB: f"from {hubs}", Side.BETWEEN_HUBS: "between hubs"}[side]


def num_directions(tables: Sequence[ScoreTable], side: Side) -> int:
    """How many directions of a side were measured in any table."""
    measured = {entry.direction for table in tables for entry in table.entries if entry.num_segments}
    return sum(tables[0].layout.side(direction) is side for direction in measured)


def winners(tables: Sequence[ScoreTable], observed: Observed) -> list[tuple[Side, list[Winner]]]:
    """For each side the best pool by each metric of quality."""
    found = []
    for side in measured_sides(tables):
        winning = [_winner(tables, observed, side, metric) for metric in quality_names(tables)]
        found.append((side, [winner for winner in winning if winner is not None]))
    return found


def _winner(tables: Sequence[ScoreTable], observed: Observed, side: Side, metric: str) -> Winner | None:
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    estimates = {table.pool: observed.mean(table.pool, metric, side) for table in tables}
    known = {pool: estimate.value for pool, estimate in estimates.items() if estimate.value is not None}
    if not known:
        return None
    order = sorted(known, key=lambda pool: -sign * known[pool])
    best = order[0]
    equal = tuple(pool for pool in order if round(known[pool], 1) == round(known[best], 1))
    others = order[len(equal) :]
    interval = observed.gap_of_means(others[0], best, metric, side) if others else None
    return Winner(
        metric,
        equal,
        estimates[best],
        observed.mean(best, ANY_FAILURE, side).value,
        others[0] if others else None,
        sign * (known[best] - known[others[0]]) if others else None,
        interval if interval is None or sign > 0 else (-interval[1], -interval[0]),
    )


def summary(tables: Sequence[ScoreTable], observed: Observed, costs: Mapping[str, PoolCost]) -> dict[str, Any]:
    """Means by side and metric with intervals, the share that failed, and costs, one row a pool."""
    sides, metrics = measured_sides(tables), quality_names(tables)
    shown = [*metrics, ANY_FAILURE]
    columns = []
    for side in sides:
        for metric in shown:
            estimates = [observed.mean(table.pool, metric, side) for table in tables]
            higher = metric != ANY_FAILURE and METRICS[metric].higher_is_better
            values = [estimate.value for estimate in estimates]
            best = best_positions(values, higher_is_better=higher)
            columns.append([(estimate, position in best) for position, estimate in enumerate(estimates)])
    return {
        "sides": [(side.value, side_label(side, tables), num_directions(tables, side)) for side in sides],
        "metrics": [METRICS[metric].title for metric in metrics],
        "pools": [
            {"name": table.pool, "cells": [column[position] for column in columns], "cost": costs.get(table.pool)}
            for position, table in enumerate(tables)
        ],
    }


def summary_table(tables: Sequence[ScoreTable], observed: Observed, costs: Mapping[str, PoolCost]) -> Table:
    """The same as a plain table, the ends of the intervals in columns of their own."""
    columns = [Column("pool")]
    chosen = []
    for side in measured_sides(tables):
        for metric in (*quality_names(tables), ANY_FAILURE):
            title = f"{side.value} {ANY_FAILURE + ' %' if metric == ANY_FAILURE else METRICS[metric].title}"
            higher = metric != ANY_FAILURE and METRICS[metric].higher_is_better
            columns += [
                Column(title, 1, better="high" if higher else "low"),
                Column(f"{title} low", 1),
                Column(f"{title} high", 1),
            ]
            chosen.append((metric, side))
    columns += [Column("adapters"), Column("parameters"), Column("seconds", 0)]
    rows = []
    for table in tables:
        row: list[Value] = [table.pool]
        for metric, side in chosen:
            estimate = observed.mean(table.pool, metric, side)
            row += [estimate.value, *(estimate.interval or (None, None))]
        cost = costs.get(table.pool)
        row += [None] * 3 if cost is None else [cost.num_adapters, cost.num_parameters, cost.seconds]
        rows.append(tuple(row))
    note = "Means over the measured directions of a side; low and high are the ends of the 95 % interval."
    return Table("summary", "Summary", tuple(columns), tuple(rows), note)


def endings_table(tables: Sequence[ScoreTable]) -> Table:
    """How many translations ended how."""
    found = {table.pool: table.finish_counts() for table in tables}
    kinds = ["stop", *sorted({kind for counts in found.values() for kind in counts} - {"stop"})]
    rows: list[tuple[Value, ...]] = [
        (
            table.pool,
            sum(entry.num_segments for entry in table.entries),
            *(found[table.pool].get(kind, 0) for kind in kinds),
        )
        for table in tables
    ]
    columns = (Column("pool"), Column("sentences", 0), *(Column(kind, 0) for kind in kinds))
    note = (
        "A translation that stopped by itself is sound in form; one that was cut (length limit, loop) is counted here, "
        "and scored as it is."
    )
    return Table("endings", "How the translations ended", columns, tuple(rows), note)
