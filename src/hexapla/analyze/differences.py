"""How sure it is that one pool is better than another, as a part of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hexapla.analyze.present import CONTRAST_COLUMNS, Column, Section, Table, Value
from hexapla.evaluate.compare import Comparison, MetricComparison, compare
from hexapla.evaluate.compare_material import material_of_tables
from hexapla.evaluate.scores import ScoreTable


def differences_section(tables: Sequence[ScoreTable]) -> Section:
    """Every pool against the first: differences of the means by side with paired tests, directions won and lost.

    Args:
        tables: at least two; the first is the baseline.
    """
    comparison = compare(material_of_tables(tables), num_segments_shown=0)
    baseline = comparison.systems[0]
    intro = (
        f"Every pool against {baseline}, on the same segments: paired approximate randomisation "
        f"({comparison.procedure}), 95 % intervals by bootstrap; p-values are corrected for all tests of a metric "
        "(Holm)."
    )
    notes = [f"{place}: {reason}" for place, reason in _excluded(comparison)]
    same = [metric.title for metric in comparison.metrics if not _differs(metric)]
    if same:
        notes.append(f"No pool differs from {baseline} in any direction: {', '.join(same)}.")
    comparison = replace(comparison, metrics=tuple(filter(_differs, comparison.metrics)))
    return Section(
        "differences",
        f"Differences to {baseline}",
        intro,
        (_means(comparison), _tallies(comparison)),
        (*notes, *comparison.notes),
    )


def _differs(metric: MetricComparison) -> bool:
    return any(tally.better or tally.worse for tally in metric.tallies)


def _means(comparison: Comparison) -> Table:
    rows: list[tuple[Value, ...]] = []
    for metric in comparison.metrics:
        for mean in metric.means:
            side = "all" if mean.side is None else mean.side.value
            for position, contrast in enumerate(mean.contrasts, start=1):
                found = contrast.difference
                low, high = found.interval if found is not None and found.interval is not None else (None, None)
                rows.append(
                    (
                        metric.title,
                        side,
                        contrast.system,
                        mean.num_directions,
                        mean.figures[0].value,
                        mean.figures[position].value,
                        None if found is None else found.value,
                        low,
                        high,
                        None if found is None else found.p_value,
                        contrast.p_holm,
                        contrast.verdict if contrast.verdict != "open" else "not significant",
                    )
                )
    columns = (
        Column("metric"),
        Column("side"),
        Column("pool"),
        Column("directions", 0),
        Column(comparison.systems[0], 2),
        Column("pool's figure", 2),
        *CONTRAST_COLUMNS,
    )
    note = (
        "Means over directions, whose rows are resampled together. “better” and “worse” are significant at 0.05 after "
        "the correction; for failure rates less is better."
    )
    return Table("differences-means", "Means", columns, tuple(rows), note)


def _tallies(comparison: Comparison) -> Table:
    rows: list[tuple[Value, ...]] = [
        (metric.title, tally.system, *_counts(metric, position))
        for metric in comparison.metrics
        for position, tally in enumerate(metric.tallies)
    ]
    columns = tuple(
        [Column("metric"), Column("pool")]
        + [Column(title, 0) for title in ("better", "significantly", "worse", "significantly worse", "equal")]
    )
    return Table(
        "differences-directions",
        "Directions won and lost",
        columns,
        tuple(rows),
        "Test sets and directions in which a pool's figure is better or worse than the baseline's, and in how many of "
        "them significantly (0.05 after correction).",
    )


def _counts(metric: MetricComparison, position: int) -> tuple[int, ...]:
    tally = metric.tallies[position]
    return (tally.better, tally.significantly_better, tally.worse, tally.significantly_worse, tally.equal)


def _excluded(comparison: Comparison) -> list[tuple[str, str]]:
    """Reason → where it holds, in one line each."""
    places: dict[str, list[str]] = {}
    for exclusion in comparison.excluded:
        where = f"{exclusion.test or ''} {exclusion.direction}".strip()
        places.setdefault(exclusion.reason, []).append(where)
    return [(f"{len(found)} left out, such as {found[0]}", reason) for reason, found in places.items()]
