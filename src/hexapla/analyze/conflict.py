"""Conflict and synergy as a part of a report: Δ by side, by number of trained languages, by kind of language.

Section 1, over all metrics and test sets: the mean Δ of every pool by side (quality, and failure rates); Δ against the
number of languages that share the adapter, by side (what the paper's figure 2 shows), for all directions of each set
and for anchor sets: the directions of a smaller set, followed over the larger ones.

Then one section for each metric and test set: Δ of every direction and group with intervals (what the paper's figure 3
shows), its means by group, resource level and script, and the figures of all directions.

Last the paper's tables, see `paper`. DAT is arXiv 2502.11223; its arrangement is followed from a description of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from hexapla import languages
from hexapla.analyze.conflict_deltas import Delta, MeanDelta, Measured, View, mean_delta, measure_deltas
from hexapla.analyze.paper import paper_section
from hexapla.analyze.present import Column, DotChart, Item, LineChart, Point, Section, Series, Table, Value
from hexapla.common.errors import UserError
from hexapla.evaluate.comparability import OnPurpose
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import LEVEL, NUM_TRIALS
from hexapla.languages import Direction
from hexapla.plan import SEPARATE, Layout, Side

_DELTA = "Δ = shared − separate training: below 0 conflict dominates, above 0 synergy."
_DELTA_TURNED = "Δ = separate − shared training, as lower is better: below 0 conflict dominates, above 0 synergy."
_INTERVAL = "Intervals: 95 %, paired bootstrap over sentences."
_OF_MEANS = "They say how sure a mean is on other sentences, not for other languages."
_P = f"p: paired approximate randomisation, {NUM_TRIALS:,} trials."
_HOLM = "Holm: corrected for all directions of the pool, of all sides, by the same metric on the same test set."
_COUNTS = (
    f"Conflicts and synergies (Holm): directions that lose or gain with p (Holm) below {LEVEL}. {_P} {_HOLM} Without: "
    "those whose own interval lies below or above 0, not corrected: of many directions some do so by chance. Where a "
    "pool uses the adapter of separate training itself, Δ is 0."
)
_RESOURCES = ("high", "mid", "low")

_FACETS: dict[str, Callable[[Layout, str], str]] = {
    "group": lambda layout, code: layout.group_of(code),
    "resource level": lambda _, code: languages.get(code).resource,
    "script": lambda _, code: languages.get(code).script_name,
}


def measure_conflict(tables: Mapping[str, ScoreTable], *, separate: str = SEPARATE, baseline: str = "base") -> Measured:
    """Δ of every pool, for all metrics and failure rates that were measured; the longest part of the analysis.

    Args:
        tables: pool name → its scores. Pools called `multilingual@N` are shared training on N languages.
        separate: the pool whose every direction was trained by itself.
        baseline: the pool without training, which has no Δ.

    Raises:
        UserError: separate training was not measured.
    """
    if separate not in tables:
        raise UserError(
            f"The pool {separate!r} was not measured, so there is nothing to compare shared training with.",
            hint="Ask for it in the recipe: analyze: {conflict: {languages: [4, 8]}}.",
        )
    rates = dict.fromkeys(name for table in tables.values() for name in table.failures)
    return measure_deltas(
        tables, dict.fromkeys([*_asked_metrics(tables), *rates]), separate=separate, leave_out=(baseline,)
    )


def conflict_sections(
    measured: Measured,
    tables: Mapping[str, ScoreTable],
    num_parameters: Mapping[str, int],
    on_purpose: OnPurpose | None = None,
) -> tuple[Section, ...]:
    """The analysis of conflict and synergy, and the paper's tables.

    Args:
        measured: by `measure_conflict`, on the same tables.
        num_parameters: pool name → parameters of all its adapters; a pool without entry shows as missing.
        on_purpose: what variants change in decoding; None: there are none.
    """
    metrics = _asked_metrics(tables)
    asked = [view for view in measured.views if view[1] in metrics]
    overview = Section("conflict", "Conflict and synergy", _intro(), tuple(_overview(measured, asked)), measured.notes)
    details = [_detail(measured, view) for view in asked]
    return (overview, *details, paper_section(tables, num_parameters, measured, on_purpose))


def _asked_metrics(tables: Mapping[str, ScoreTable]) -> list[str]:
    return list(dict.fromkeys(metric for table in tables.values() for metric in table.metrics))


def side_mean(measured: Measured, view: View, pool: str, side: Side) -> MeanDelta | None:
    """The mean Δ of a pool on one side of the hubs; None where it has none."""
    deltas = measured.views[view].get(pool, {})
    return mean_delta([delta for direction, delta in deltas.items() if measured.layout.side(direction) is side])


def _intro() -> str:
    return (
        "How much a direction loses (conflict) or gains (synergy) when its adapter is shared with others: the figure "
        "of shared training against that of an adapter for this direction alone. With equal epochs a shared adapter "
        f"takes more steps; Δ includes what these do. {_INTERVAL} {_OF_MEANS}"
    )


def _overview(measured: Measured, asked: Sequence[View]) -> Iterator[Item]:
    yield _by_side(measured, asked, "conflict-by-side", "Mean Δ of every pool, by side of the hubs")
    for view in asked:
        yield from _over_languages(measured, view)
    if len(measured.growing) > 1:
        yield _anchors(measured, asked)
    rates = [view for view in measured.views if view not in asked]
    if seen := [view for view in rates if _ever_failed(measured, view)]:
        table = _by_side(measured, seen, "conflict-failure-rates", "The same for failure rates, in points of percent")
        never = [f"{METRICS[metric].title} on {test}" for test, metric in rates if (test, metric) not in seen]
        yield replace(table, note=f"{table.note} 0 for every pool: {', '.join(never)}." if never else table.note)


def _ever_failed(measured: Measured, view: View) -> bool:
    deltas = [delta for pool in measured.views[view].values() for delta in pool.values()]
    return any(delta.separate or delta.shared for delta in deltas)


def _by_side(measured: Measured, views: Sequence[View], name: str, title: str) -> Table:
    rows: list[tuple[Value, ...]] = []
    for view in views:
        for side in Side:
            for pool in measured.pools:
                if mean := side_mean(measured, view, pool, side):
                    head = (view[0], METRICS[view[1]].title, side.value, pool, _num_languages(measured, pool))
                    counts = (mean.num_sure_conflicts, mean.num_sure_synergies, mean.num_conflicts, mean.num_synergies)
                    figures = (mean.separate, mean.shared, *_delta_cells(mean))
                    rows.append((*head, mean.num_directions, *figures, *counts, mean.intensity))
    columns = (
        *map(Column, ("test set", "metric", "side", "pool")),
        *(Column(title, 0) for title in ("languages", "directions")),
        *(Column(title, 2) for title in ("separate", "shared")),
        *_DELTA_COLUMNS,
        *(Column(title, 0) for title in ("conflicts (Holm)", "synergies (Holm)", "conflicts", "synergies")),
        Column("mean |Δ|", 2),
    )
    note = f"{_conventions(metric for _, metric in views)} {_INTERVAL} {_OF_MEANS} {_COUNTS}"
    return Table(name, title, columns, tuple(rows), note)


def _over_languages(measured: Measured, view: View) -> Iterator[LineChart]:
    """Δ against the number of languages that share the adapter: each set's own directions, and the smallest set's."""
    if len(measured.growing) < 2:
        return
    series = []
    for side in Side:
        own = [
            (number, mean)
            for pool, number in measured.growing.items()
            if (mean := side_mean(measured, view, pool, side))
        ]
        smallest = next(iter(measured.growing.values()))
        anchored = [(number, mean) for _, number, mean in _followed(measured, view, side, smallest)]
        for name, found in (
            (f"{side.value}, all trained", own),
            (f"{side.value}, those of the {smallest} languages", anchored),
        ):
            points = tuple(_point(number, mean) for number, mean in found)
            if len(points) > 1:
                series.append(Series(name, points))
    if series:
        yield LineChart(
            f"conflict-languages-{_stem(view)}",
            f"Δ {METRICS[view[1]].title} on {view[0]} over the number of languages that share the adapter",
            "languages trained together, hubs included",
            f"mean Δ {METRICS[view[1]].title}",
            tuple(series),
            f"As the paper's figure 2. {_conventions([view[1]])} {_INTERVAL} {_OF_MEANS}",
        )


def _anchors(measured: Measured, views: Sequence[View]) -> Table:
    """Every set but the largest as an anchor: its directions, over all sets that hold them."""
    rows: list[tuple[Value, ...]] = []
    for view in views:
        for anchor in list(measured.growing.values())[:-1]:
            for side in Side:
                for pool, number, mean in _followed(measured, view, side, anchor):
                    head = (view[0], METRICS[view[1]].title, anchor, side.value, pool, number, mean.num_directions)
                    rows.append((*head, mean.separate, mean.shared, *_delta_cells(mean)))
    columns = (
        *map(Column, ("test set", "metric")),
        Column("anchor set", 0),
        *map(Column, ("side", "pool")),
        *(Column(title, 0) for title in ("languages", "directions")),
        *(Column(title, 2) for title in ("separate", "shared")),
        *_DELTA_COLUMNS,
    )
    note = f"The directions of a set are held fixed while the adapter is shared with more languages. {_INTERVAL}"
    title = "Anchor sets: the same directions, while more languages share the adapter"
    return Table("conflict-anchors", title, columns, tuple(rows), note)


def _followed(measured: Measured, view: View, side: Side, anchor: int) -> Iterator[tuple[str, int, MeanDelta]]:
    """(pool, its number of languages, mean Δ) over the directions of a set, where all larger sets were measured."""
    growing = {pool: number for pool, number in measured.growing.items() if number >= anchor}
    found = [measured.views[view].get(pool, {}) for pool in growing]
    common = [
        direction
        for direction in found[0]
        if measured.layout.side(direction) is side and all(direction in deltas for deltas in found)
    ]
    for (pool, number), deltas in zip(growing.items(), found, strict=True):
        if mean := mean_delta([deltas[direction] for direction in common]):
            yield pool, number, mean


def _detail(measured: Measured, view: View) -> Section:
    test, metric = view
    items: list[Item] = []
    for side in (Side.TO_HUB, Side.FROM_HUB):
        items += _dots_by_group(measured, view, side)
    for side in Side:
        items += _dots_by_direction(measured, view, side)
    items += [_by_facet(measured, view, facet) for facet in _FACETS]
    items += [_directions(measured, view), _intervals(measured, view)]
    title = f"Conflict and synergy: {METRICS[metric].title} on {test}"
    return Section(f"conflict-{_stem(view)}", title, f"{_conventions([metric])} {_INTERVAL}", tuple(items))


def _dots_by_direction(measured: Measured, view: View, side: Side) -> Iterator[DotChart]:
    directions = [d for d in _directions_of(measured, view) if measured.layout.side(d) is side]
    values = {
        pool: tuple(_dot(deltas.get(direction)) for direction in directions)
        for pool, deltas in measured.views[view].items()
        if pool in measured.whole
    }
    if directions and values:
        title = f"Δ {METRICS[view[1]].title} on {view[0]} of every {side.value} direction"
        name = f"conflict-directions-{side.value}-{_stem(view)}"
        yield _dot_chart(name, title, view[1], tuple(map(str, directions)), values)


def _dots_by_group(measured: Measured, view: View, side: Side) -> Iterator[DotChart]:
    groups = list(measured.layout.groups)
    values = {}
    for pool, deltas in measured.views[view].items():
        if pool in measured.whole:
            means = dict(_facet_means(measured, deltas.values(), side, "group"))
            values[pool] = tuple(_dot(means.get(group)) for group in groups)
    if any(value is not None for found in values.values() for value in found):
        title = f"Mean Δ {METRICS[view[1]].title} on {view[0]} of every group, {side.value}"
        yield _dot_chart(f"conflict-groups-{side.value}-{_stem(view)}", title, view[1], tuple(groups), values)


def _dot_chart(
    name: str,
    title: str,
    metric: str,
    categories: tuple[str, ...],
    values: dict[str, tuple[tuple[float, float | None, float | None] | None, ...]],
) -> DotChart:
    note = f"As the paper's figure 3. {_conventions([metric])} {_INTERVAL}"
    return DotChart(name, title, f"Δ {METRICS[metric].title}", categories, values, note)


def _by_facet(measured: Measured, view: View, facet: str) -> Table:
    rows: list[tuple[Value, ...]] = []
    for side in (Side.TO_HUB, Side.FROM_HUB):
        for pool, deltas in measured.views[view].items():
            for name, mean in _facet_means(measured, deltas.values(), side, facet):
                figures = (mean.num_directions, mean.separate, mean.shared, *_delta_cells(mean))
                rows.append((side.value, pool, name, *figures, mean.intensity))
    columns = (
        *map(Column, ("side", "pool", facet)),
        Column("directions", 0),
        *(Column(title, 2) for title in ("separate", "shared")),
        *_DELTA_COLUMNS,
        Column("mean |Δ|", 2),
    )
    name = f"conflict-by-{facet.split()[0]}-{_stem(view)}"
    title = f"Mean Δ {METRICS[view[1]].title} on {view[0]} by {facet}"
    return Table(name, title, columns, tuple(rows), f"{_conventions([view[1]])} {_INTERVAL} {_OF_MEANS}")


def _facet_means(
    measured: Measured, deltas: Iterable[Delta], side: Side, facet: str
) -> Iterator[tuple[str, MeanDelta]]:
    """(class, mean Δ) of the languages that are no hubs, on one side; groups in the layout's order."""
    classes: dict[str, list[Delta]] = {}
    for delta in deltas:
        if measured.layout.side(delta.direction) is side:
            code = _language(measured.layout, delta.direction)
            classes.setdefault(_FACETS[facet](measured.layout, code), []).append(delta)
    orders = {"group": list(measured.layout.groups), "resource level": list(_RESOURCES), "script": sorted(classes)}
    for name in orders[facet]:
        if mean := mean_delta(classes.get(name, [])):
            yield name, mean


def _directions(measured: Measured, view: View) -> Table:
    """One row a direction, one column a pool."""
    pools = list(measured.views[view])
    rows: list[tuple[Value, ...]] = []
    for direction in _directions_of(measured, view):
        found = [measured.views[view][pool].get(direction) for pool in pools]
        alone = next(delta.separate for delta in found if delta is not None)
        cells = (None if delta is None else delta.value for delta in found)
        rows.append((*_description(measured.layout, direction), alone, *cells))
    columns = (
        *map(Column, ("direction", "side", "group", "resource level", "script")),
        Column("separate", 2),
        *(Column(f"Δ {pool}", 2, signed=True) for pool in pools),
    )
    title = f"Δ {METRICS[view[1]].title} on {view[0]} of every direction and pool"
    return Table(f"conflict-directions-{_stem(view)}", title, columns, tuple(rows), _conventions([view[1]]))


def _intervals(measured: Measured, view: View) -> Table:
    """One row a direction and pool, with intervals."""
    rows: list[tuple[Value, ...]] = []
    for direction in _directions_of(measured, view):
        for pool, deltas in measured.views[view].items():
            if direction in deltas:
                delta = deltas[direction]
                figures = (delta.separate, delta.shared, *_delta_cells(delta), delta.p_value, delta.p_holm)
                rows.append((str(direction), pool, *figures))
    columns = (
        *map(Column, ("direction", "pool")),
        *(Column(title, 2) for title in ("separate", "shared")),
        *_DELTA_COLUMNS,
        *(Column(title, 4) for title in ("p", "p (Holm)")),
    )
    title = f"Δ {METRICS[view[1]].title} on {view[0]} with intervals and tests"
    note = f"{_conventions([view[1]])} {_INTERVAL} {_P} {_HOLM}"
    return Table(f"conflict-intervals-{_stem(view)}", title, columns, tuple(rows), note)


_DELTA_COLUMNS = (
    Column("Δ", 2, signed=True),
    Column("Δ low", 2, signed=True),
    Column("Δ high", 2, signed=True),
)


def _delta_cells(delta: Delta | MeanDelta) -> tuple[Value, Value, Value]:
    low, high = delta.interval if delta.interval is not None else (None, None)
    return delta.value, low, high


def _dot(delta: Delta | MeanDelta | None) -> tuple[float, float | None, float | None] | None:
    if delta is None:
        return None
    low, high = delta.interval if delta.interval is not None else (None, None)
    return delta.value, low, high


def _point(number: int, mean: MeanDelta) -> Point:
    low, high = mean.interval if mean.interval is not None else (None, None)
    return Point(number, mean.value, low, high, f"{number} languages, {mean.num_directions} directions")


def _directions_of(measured: Measured, view: View) -> list[Direction]:
    """The directions in which some pool has a Δ, in the order of the layout."""
    present = {direction for deltas in measured.views[view].values() for direction in deltas}
    return [direction for direction in measured.layout.directions if direction in present]


def _description(layout: Layout, direction: Direction) -> tuple[Value, ...]:
    side = layout.side(direction)
    if side is Side.BETWEEN_HUBS:
        return str(direction), side.value, None, None, None
    return str(direction), side.value, *(of(layout, _language(layout, direction)) for of in _FACETS.values())


def _language(layout: Layout, direction: Direction) -> str:
    """The language of a direction that is no hub."""
    return direction.source if direction.target in layout.hubs else direction.target


def _num_languages(measured: Measured, pool: str) -> int:
    return measured.growing.get(pool, len(measured.layout.languages))


def _stem(view: View) -> str:
    """Part of a file's name."""
    return f"{view[1]}-{quote(view[0], safe='')}"


def _conventions(metrics: Iterable[str]) -> str:
    """What the sign of Δ means for these metrics."""
    titles = {True: [], False: []}  # type: dict[bool, list[str]]
    for metric in dict.fromkeys(metrics):
        titles[METRICS[metric].higher_is_better].append(METRICS[metric].title)
    if not titles[False]:
        return _DELTA
    if not titles[True]:
        return _DELTA_TURNED
    return f"{_DELTA} For {', '.join(titles[False])}, where lower is better, the sign of Δ is turned round."
