"""Several pools side by side, as text for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hexapla.evaluate.comparability import OnPurpose, decoded_on_purpose, incomparable
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
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


def comparison_table(
    tables: Sequence[ScoreTable], costs: Mapping[str, PoolCost], on_purpose: OnPurpose | None = None
) -> str:
    """One line a pool: means of every metric by side, adapters, parameters, seconds; the best of a column starred.

    Below it the failure rates, those that are zero everywhere only named.

    Args:
        costs: pool name → what it takes; a pool without entry shows as missing.
        on_purpose: what variants change in decoding; None: there are none.
    """
    if not tables:
        return "No pool was measured."
    sides = measured_sides(tables)
    metrics = list(dict.fromkeys(metric for table in tables for metric in table.metrics))
    header = ["pool"]
    columns = []
    for side in sides:
        for metric in metrics:
            header.append(f"{side.value} {METRICS[metric].title}")
            means = [table.mean(metric, side) if metric in table.measured else None for table in tables]
            columns.append(_starred(means, METRICS[metric].higher_is_better))
    header += ["adapters", "parameters", "seconds"]
    lines = []
    for position, table in enumerate(tables):
        lines.append([table.pool, *(column[position] for column in columns), *_cost_cells(costs.get(table.pool))])
    notes = ["* best of its column"] if any("*" in cell for column in columns for cell in column) else []
    notes += [f"Not comparable: {reason}" for reason in incomparable(tables, on_purpose)]
    if told := decoded_on_purpose(tables, on_purpose or {}):
        notes.append(f"Decoded differently on purpose: {told}")
    return "\n".join([_text_table(lines, header), *notes, *_failures_of_pools(tables, sides)])


def direction_table(table: ScoreTable) -> str:
    """One line a test set and direction of a single pool, means by side, and the signatures of the figures shown.

    Failure rates that are zero in all directions are only named.
    """
    failures = _telling_failures([table])
    shown = [*table.metrics, *failures.shown]
    lines = []
    for entry in table.entries:
        values = [_plain(entry.figures[metric].value) for metric in shown]
        cut = sum(count for finish, count in (entry.finish or {}).items() if finish != "stop")
        lines.append([entry.test, str(entry.direction), str(entry.num_segments), *values, str(cut) if cut else ""])
    for side in measured_sides([table]):
        means = [_plain(table.mean(metric, side)) for metric in shown]
        lines.append(["mean", side.value, "", *means, ""])
    titles = [METRICS[metric].title for metric in table.metrics] + [_narrow_title(rate) for rate in failures.shown]
    header = ["test set", "direction", "sentences", *titles, "cut off"]
    signatures = [f"{title}|{signature} into {codes}" for title, signature, codes in metric_signatures([table], shown)]
    return "\n".join([_text_table(lines, header, num_left=2), *failures.lines, *_note_lines(table, shown), *signatures])


def metric_signatures(tables: Sequence[ScoreTable], metrics: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
    """Every different signature: title of the metric, signature, target languages that it was used for.

    Args:
        metrics: which ones; None: all that were measured, failure rates too.
    """
    targets: dict[tuple[str, str], set[str]] = {}
    for table in tables:
        for entry in table.entries:
            for metric, figure in entry.figures.items():
                if figure.signature is not None and (metrics is None or metric in metrics):
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


@dataclass(frozen=True)
class _Failures:
    """Failure rates that have a column, and lines that name the others."""

    shown: tuple[str, ...]
    lines: tuple[str, ...]


def _telling_failures(tables: Sequence[ScoreTable]) -> _Failures:
    """The failure rates, not asked for by name, that are above zero in some direction."""
    asked = {metric for table in tables for metric in table.metrics}
    rates = [rate for rate in dict.fromkeys(rate for table in tables for rate in table.failures) if rate not in asked]
    values = {
        rate: [entry.figures[rate].value for table in tables if rate in table.failures for entry in table.entries]
        for rate in rates
    }
    shown = tuple(rate for rate in rates if any(values[rate]))
    zero = [METRICS[rate].title for rate in rates if rate not in shown and 0.0 in values[rate]]
    missing = [METRICS[rate].title for rate in rates if all(value is None for value in values[rate])]
    lines = [f"0.0 everywhere: {', '.join(zero)}"] if zero else []
    lines += [f"{MISSING} everywhere: {', '.join(missing)}"] if missing else []
    return _Failures(shown, tuple(lines))


def _failures_of_pools(tables: Sequence[ScoreTable], sides: Sequence[Side]) -> list[str]:
    """A second table, the sides together in one cell so that all rates fit on a screen."""
    failures = _telling_failures(tables)
    if not failures.shown:
        return list(failures.lines)
    lines = []
    for table in tables:
        cells = [
            " / ".join(_plain(table.mean(rate, side) if rate in table.failures else None) for side in sides)
            for rate in failures.shown
        ]
        lines.append([table.pool, *cells])
    caption = f"Failures, % of translations ({' / '.join(side.value for side in sides)}):"
    return [
        "",
        caption,
        _text_table(lines, ["pool", *(METRICS[rate].title for rate in failures.shown)]),
        *failures.lines,
    ]


def _note_lines(table: ScoreTable, metrics: Sequence[str]) -> list[str]:
    """What the segments' notes say in all, such as `off-target: 12 en, 3 nl, 40 unknown`."""
    lines = []
    for metric in metrics:
        counts: Counter[str] = Counter()
        for entry in table.entries:
            counts.update(entry.notes.get(metric, {}))
        if counts:
            told = ", ".join(f"{count} {note}" for note, count in sorted(counts.items(), key=lambda item: -item[1]))
            lines.append(f"{METRICS[metric].title}: {told}")
    return lines


def _narrow_title(rate: str) -> str:
    """The title in two lines: the figures below it have four characters."""
    return METRICS[rate].title.replace("-", "-\n").replace(" ", "\n")


def _text_table(lines: Sequence[Sequence[str]], header: Sequence[str], num_left: int = 1) -> str:
    from tabulate import tabulate

    alignment = [*["left"] * num_left, *["right"] * (len(header) - num_left)]
    return tabulate(lines, header, tablefmt="simple", disable_numparse=True, colalign=alignment)


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
