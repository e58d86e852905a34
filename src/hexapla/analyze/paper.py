"""The tables of DAT (arXiv 2502.11223), from the scores of any run.

    table 1       strategies × (parameters; mean of each metric on each test set, by side of the hubs)
    table 5       an anchor set (the directions of the smallest set of languages) while more languages share the adapter
    tables 7-22   one table for each test set, metric and side: strategies × languages

The arrangement follows from a description of the paper's tables, not from their pages: order of columns, headings and
rounding may differ. Its figures 2 and 3 are charts of `conflict`. Means compare like with like: they are over the
directions in which every strategy of the table has a figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hexapla.analyze.conflict_deltas import Measured
from hexapla.analyze.present import Column, Section, Table
from hexapla.evaluate.comparability import OnPurpose, decoded_on_purpose, incomparable
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.languages import Direction
from hexapla.plan import Side

# More languages than this, and they become the rows: what fits across a page.
_MAX_LANGUAGES_ACROSS = 20


@dataclass(frozen=True)
class _Figures:
    """The figures of some pools: (test set, metric) → pool → direction → figure, without those that are missing."""

    views: Mapping[tuple[str, str], Mapping[str, Mapping[Direction, float]]]
    directions: tuple[Direction, ...]

    @classmethod
    def of(cls, tables: Mapping[str, ScoreTable], directions: Sequence[Direction]) -> _Figures:
        views: dict[tuple[str, str], dict[str, dict[Direction, float]]] = {}
        for pool, table in tables.items():
            for entry in table.entries:
                for metric in table.metrics:
                    found = views.setdefault((entry.test, metric), {}).setdefault(pool, {})
                    if (value := entry.figures[metric].value) is not None:
                        found[entry.direction] = value
        return cls(views, tuple(directions))

    def common(self, view: tuple[str, str], pools: Sequence[str], among: Sequence[Direction]) -> list[Direction]:
        """Those directions in which each of these pools has a figure."""
        found = [self.views[view].get(pool, {}) for pool in pools]
        return [direction for direction in among if all(direction in figures for figures in found)]

    def mean(self, view: tuple[str, str], pool: str, directions: Sequence[Direction]) -> float | None:
        """Over these directions; None where one is missing, or there are none."""
        figures = self.views[view].get(pool, {})
        if not directions or any(direction not in figures for direction in directions):
            return None
        return sum(figures[direction] for direction in directions) / len(directions)


def paper_section(
    tables: Mapping[str, ScoreTable],
    num_parameters: Mapping[str, int],
    measured: Measured,
    on_purpose: OnPurpose | None = None,
) -> Section:
    """The paper's tables.

    Args:
        tables: pool name → its scores.
        num_parameters: pool name → parameters of all its adapters; a pool without entry shows as missing.
        measured: knows which pools share an adapter between growing sets of languages.
        on_purpose: what variants change in decoding; None: there are none.
    """
    figures = _Figures.of(tables, measured.layout.directions)
    strategies = [pool for pool in tables if "@" not in pool]
    items = [_table_1(figures, measured, strategies, num_parameters)]
    if len(measured.growing) > 1:
        items.append(_table_5(figures, measured))
    for view in figures.views:
        items += _languages(figures, measured, view, list(tables))
    compared = [tables[pool] for pool in strategies]
    notes = [f"Not comparable: {reason}" for reason in incomparable(compared, on_purpose)]
    if told := decoded_on_purpose(compared, on_purpose or {}):
        notes.append(f"Decoded differently on purpose: {told}.")
    intro = "The tables of the paper on direction-aware training (arXiv 2502.11223), with the figures of this run."
    return Section("paper-tables", "The paper's tables", intro, tuple(items), tuple(notes))


def _table_1(figures: _Figures, measured: Measured, pools: Sequence[str], num_parameters: Mapping[str, int]) -> Table:
    heads = {pool: num_parameters.get(pool) for pool in pools}
    note = "Means over the directions in which all have a figure"
    return _by_side(figures, measured, "paper-table-1", "Table 1: strategies", ("strategy", "parameters"), heads, note)


def _table_5(figures: _Figures, measured: Measured) -> Table:
    """Rows: separate training, then shared training on ever more languages, which all hold the smallest set."""
    heads = {measured.separate: None, **measured.growing}
    smallest = next(iter(measured.growing.values()))
    note = (
        "Separate training does not depend on the set. "
        f"Means over the directions of the smallest set, of {smallest} languages"
    )
    return _by_side(
        figures, measured, "paper-table-5", "Table 5: an anchor set", ("training", "languages"), heads, note
    )


def _by_side(
    figures: _Figures,
    measured: Measured,
    name: str,
    title: str,
    headings: tuple[str, str],
    heads: Mapping[str, int | None],
    note: str,
) -> Table:
    """One row a pool: its name, a number, and its means on each side over the directions that all of them have."""
    columns = [Column(headings[0]), Column(headings[1], 0)]
    means: list[list[float | None]] = []
    sizes = []
    for view in figures.views:
        for side in Side:
            among = [direction for direction in figures.directions if measured.layout.side(direction) is side]
            if common := figures.common(view, list(heads), among):
                what = f"{view[0]} {METRICS[view[1]].title} {side.value}"
                columns.append(_figure_column(what, view[1]))
                means.append([figures.mean(view, pool, common) for pool in heads])
                sizes.append(f"{what}: {len(common)}")
    rows = tuple(
        (pool, number, *(mean[position] for mean in means)) for position, (pool, number) in enumerate(heads.items())
    )
    return Table(name, title, tuple(columns), rows, f"{note} ({'; '.join(sizes) or 'none'}).")


def _languages(figures: _Figures, measured: Measured, view: tuple[str, str], pools: Sequence[str]) -> Iterator[Table]:
    """One table for each side and hub; between hubs one for all directions."""
    layout = measured.layout
    for side in Side:
        among = [direction for direction in figures.directions if layout.side(direction) is side]
        if side is Side.BETWEEN_HUBS:
            yield from _strategies_by_language(figures, view, pools, {str(d): d for d in among}, side.value)
            continue
        for hub in layout.hubs:
            of_hub = {_other(direction, hub): direction for direction in among if hub in direction}
            label = side.value if len(layout.hubs) == 1 else f"{side.value} {hub}"
            yield from _strategies_by_language(figures, view, pools, of_hub, label)


def _other(direction: Direction, hub: str) -> str:
    return direction.source if direction.target == hub else direction.target


def _strategies_by_language(
    figures: _Figures, view: tuple[str, str], pools: Sequence[str], directions: Mapping[str, Direction], label: str
) -> Iterator[Table]:
    """Strategies × languages; languages × strategies where there are many."""
    found = figures.views[view]
    measured = {
        heading: direction
        for heading, direction in directions.items()
        if any(direction in found.get(pool, {}) for pool in pools)
    }
    rows = [pool for pool in pools if any(direction in found.get(pool, {}) for direction in measured.values())]
    if not measured:
        return
    test, metric = view
    means = [figures.mean(view, pool, list(measured.values())) for pool in rows]
    cells = [[found[pool].get(direction) for direction in measured.values()] for pool in rows]
    name = f"paper-{quote(test, safe='')}-{metric}-{label.replace(' ', '-')}"
    title = f"Tables 7 to 22: {METRICS[metric].title} on {test}, {label}"
    note = "The mean is shown where the strategy has a figure for every language of the table."
    if len(measured) <= _MAX_LANGUAGES_ACROSS:
        columns = (Column("strategy"), *(_figure_column(heading, metric) for heading in ("mean", *measured)))
        lines = tuple((pool, mean, *line) for pool, mean, line in zip(rows, means, cells, strict=True))
    else:
        columns = (Column("language"), *(Column(pool, 2) for pool in rows))  # the best of a column would say nothing
        by_language = zip(*cells, strict=True)
        lines = (
            ("mean", *means),
            *((heading, *line) for heading, line in zip(measured, by_language, strict=True)),
        )
    yield Table(name, title, columns, lines, note)


def _figure_column(title: str, metric: str) -> Column:
    return Column(title, 2, better="high" if METRICS[metric].higher_is_better else "low")
