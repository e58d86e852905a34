"""All pools beside each other, one line a direction."""

from __future__ import annotations

from collections.abc import Sequence

from hexapla.analyze.heat import direction_label
from hexapla.analyze.overview import quality_names, side_label
from hexapla.analyze.present import DotChart, Section
from hexapla.evaluate.comparison import measured_sides
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.languages import Direction


def side_by_side(tables: Sequence[ScoreTable]) -> Section | None:
    """A chart a side and metric; None for a single pool."""
    if len(tables) < 2:
        return None
    charts = []
    for metric in quality_names(tables):
        for side in measured_sides(tables):
            present = {d: None for table in tables for d in table.directions if table.layout.side(d) is side}
            chosen = _by_value(tables, metric, list(present))
            if not chosen:
                continue
            charts.append(
                DotChart(
                    f"pools-{side.value}-{metric}",
                    f"{METRICS[metric].title} {side_label(side, tables)}",
                    METRICS[metric].title + ("" if METRICS[metric].higher_is_better else " (lower is better)"),
                    tuple(map(direction_label, chosen)),
                    {table.pool: tuple(_entry(table, metric, direction) for direction in chosen) for table in tables},
                )
            )
    intro = (
        "One line a direction, one mark a pool, with its 95 % interval where there is one test set; directions in the "
        "order of their mean over the pools."
    )
    return Section("pools", "Pools side by side", intro, tuple(charts))


def _by_value(tables: Sequence[ScoreTable], metric: str, directions: Sequence[Direction]) -> list[Direction]:
    """The measured directions, the highest mean first."""
    means = {}
    figures = [table.by_direction(metric) for table in tables if metric in table.metrics]
    for direction in directions:
        found = [value for of_pool in figures if (value := of_pool.get(direction)) is not None]
        if found:
            means[direction] = sum(found) / len(found)
    return sorted(means, key=lambda direction: -means[direction])


def _entry(table: ScoreTable, metric: str, direction: Direction) -> tuple[float, float | None, float | None] | None:
    if metric not in table.metrics:
        return None
    value = table.by_direction(metric).get(direction)
    if value is None:
        return None
    measured = [e for e in table.entries if e.direction == direction and e.figures[metric].value is not None]
    interval = measured[0].figures[metric].interval if len(measured) == 1 else None
    return (value, *(interval or (None, None)))
