"""Several pools side by side, as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable, incomparable
from hexapla.plan import Side

MISSING = "—"


@dataclass(frozen=True)
class PoolCost:
    """What a pool takes: its adapters, all their parameters together, and seconds; None where not measured."""

    num_adapters: int
    num_parameters: int
    seconds: float | None = None


def measured_sides(tables: Sequence[ScoreTable]) -> tuple[Side, ...]:
    """The sides of the hubs on which any of these tables has directions."""
    present = {table.layout.side(direction) for table in tables for direction in table.directions}
    return tuple(side for side in Side if side in present)


def comparison_table(tables: Sequence[ScoreTable], costs: Mapping[str, PoolCost]) -> str:
    """One line a pool: means of every metric by side, adapters, parameters, seconds; the best of a column starred.

    Args:
        costs: pool name → what it takes; a pool without entry shows as missing.
    """
    from tabulate import tabulate

    if not tables:
        return "No pool was measured."
    sides = measured_sides(tables)
    metrics = list(dict.fromkeys(metric for table in tables for metric in table.metrics))
    header = ["pool"]
    columns = []
    for side in sides:
        for metric in metrics:
            header.append(f"{side.value} {METRICS[metric].title}")
            means = [table.mean(metric, side) if metric in table.metrics else None for table in tables]
            columns.append(_starred(means, METRICS[metric].higher_is_better))
    header += ["adapters", "parameters", "seconds"]
    lines = []
    for position, table in enumerate(tables):
        lines.append([table.pool, *(column[position] for column in columns), *_cost_cells(costs.get(table.pool))])
    text = tabulate(
        lines,
        header,
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left", *["right"] * (len(header) - 1)],
    )
    notes = ["* best of its column"] if any("*" in cell for column in columns for cell in column) else []
    notes += [f"Not comparable: {reason}" for reason in incomparable(tables)]
    return "\n".join([text, *notes])


def direction_table(table: ScoreTable) -> str:
    """One line a test set and direction of a single pool, means by side, and the signatures of all figures."""
    from tabulate import tabulate

    titles = [METRICS[metric].title for metric in table.metrics]
    lines = []
    for entry in table.entries:
        values = [_plain(entry.figures[metric].value) for metric in table.metrics]
        cut = sum(count for finish, count in (entry.finish or {}).items() if finish != "stop")
        lines.append([entry.test, str(entry.direction), str(entry.num_segments), *values, str(cut) if cut else ""])
    for side in measured_sides([table]):
        means = [_plain(table.mean(metric, side)) for metric in table.metrics]
        lines.append(["mean", side.value, "", *means, ""])
    header = ["test set", "direction", "sentences", *titles, "cut off"]
    alignment = ["left", "left", *["right"] * (len(header) - 2)]
    text = tabulate(lines, header, tablefmt="simple", disable_numparse=True, colalign=alignment)
    signatures = [f"{title}|{signature} into {codes}" for title, signature, codes in metric_signatures([table])]
    return "\n".join([text, *signatures])


def metric_signatures(tables: Sequence[ScoreTable]) -> list[tuple[str, str, str]]:
    """Every different signature: title of the metric, signature, target languages that it was used for."""
    targets: dict[tuple[str, str], set[str]] = {}
    for table in tables:
        for entry in table.entries:
            for metric, figure in entry.figures.items():
                if figure.signature is not None:
                    targets.setdefault((METRICS[metric].title, figure.signature), set()).add(entry.direction.target)
    return [(title, signature, ", ".join(sorted(codes))) for (title, signature), codes in sorted(targets.items())]


def best_positions(values: Sequence[float | None], *, higher_is_better: bool) -> set[int]:
    """Positions of the best of these figures as they are shown, with one digit; none when fewer than two are there."""
    shown = {position: round(value, 1) for position, value in enumerate(values) if value is not None}
    if len(shown) < 2 or len(set(shown.values())) < 2:
        return set()
    best = max(shown.values()) if higher_is_better else min(shown.values())
    return {position for position, value in shown.items() if value == best}


def parameter_count(count: int) -> str:
    """A number of parameters as people write it: `62.6 M`."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.2f} {unit}" if size == 10**9 else f"{count / size:.1f} {unit}"
    return str(count)


def _starred(means: Sequence[float | None], higher_is_better: bool) -> list[str]:
    best = best_positions(means, higher_is_better=higher_is_better)
    return [
        MISSING if mean is None else f"{'*' if position in best else ''}{mean:.1f}"
        for position, mean in enumerate(means)
    ]


def _plain(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def _cost_cells(cost: PoolCost | None) -> list[str]:
    if cost is None:
        return [MISSING] * 3
    seconds = MISSING if cost.seconds is None else f"{cost.seconds:.0f}"
    return [str(cost.num_adapters), parameter_count(cost.num_parameters), seconds]
