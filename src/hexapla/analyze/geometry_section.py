"""The geometry of a pool's adapters as tables and charts, one set of adapters a side of a hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hexapla.analyze.adapter_sets import ALL, MeasuredSet, PoolGeometry
from hexapla.analyze.correlation import Feature
from hexapla.analyze.geometry import Array, Geometry
from hexapla.analyze.present import (
    Column,
    Item,
    LineChart,
    MatrixChart,
    Point,
    Section,
    Series,
    Table,
    TreeChart,
    Value,
)
from hexapla.languages import Direction

_INTRO = (
    "How the updates ΔW that training gave to adapters lie to each other: their cosine, the overlap of the subspaces "
    "that they read (input side) and write (output side), and how often they disagree on an entry's sign."
)
_COSINE = (
    "Cosine of ⟨ΔW_i, ΔW_j⟩ with all modules as one vector, computed from the factors in float64, scaling included."
)
_OVERLAP = (
    "Mean squared cosine of the principal angles between the {space} spaces of ΔW_i and ΔW_j, ‖U_iᵀU_j‖² / min(rank), "
    "mean over the modules, in percent. Random subspaces of these ranks would have {chance:.3g} %."
)
_DISAGREEMENT = (
    "Of the entries in which both ΔW_i and ΔW_j differ from zero, the percentage with opposite signs. "
    "Unrelated updates have 50 %."
)
_CANCELLED = (
    "100 · (1 − Σ|Σ_k ΔW_k| / Σ Σ_k|ΔW_k|): the percentage of the magnitude of all entries that is lost when the "
    "adapters of the set are added up; 0 where all signs agree. It grows with the number of adapters."
)
_SAMPLED = (
    " Signs of modules with more than a million entries were counted in a fixed random sample of 65,536 entries each."
)

# name → title and note of what may explain Δ
_FEATURES = {
    "cosine": ("mean cosine with the other adapters", f"Of the direction's own adapter, on its side. {_COSINE}"),
    "cosine-group": (
        "mean cosine with its group's adapters",
        f"Of the direction's own adapter, on its side. {_COSINE}",
    ),
    "overlap-output": (
        "mean output-side overlap with the other adapters (%)",
        "Of the direction's own adapter, on its side: mean squared cosine of the principal angles between the column "
        "spaces, mean over the modules.",
    ),
    "signs": (
        "mean share of opposite signs with the other adapters (%)",
        f"Of the direction's own adapter, on its side. {_DISAGREEMENT}",
    ),
}


def geometry_section(measured: PoolGeometry) -> Section:
    """Everything of a pool: for every set matrices, tree, curves over the layers and tables."""
    anchor = f"geometry-{measured.pool}"
    items: list[Item] = []
    notes = list(measured.notes)
    for found in measured.sets:
        items += _items(f"{anchor}-{found.adapters.name}", found)
        silent = [name for k, name in enumerate(found.geometry.names) if k not in found.leaves]
        if silent:
            notes.append(
                f"The updates of {', '.join(silent)} are zero, so they have no cosine and no place in the tree."
            )
    return Section(anchor, f"Adapter geometry of {measured.pool}", _INTRO, tuple(items), tuple(notes))


def geometry_features(measured: PoolGeometry) -> tuple[Feature, ...]:
    """What may explain Δ: how each direction's own adapter lies to the others of its set, and to those of its group.

    Only adapters that serve one direction count: a shared one says nothing of a single direction.
    """
    values: dict[str, dict[Direction, float | None]] = {name: {} for name in _FEATURES}
    for found in measured.sets:
        geometry = found.geometry
        others = found.pairs
        matrices = {
            "cosine": (geometry.cosine, others),
            "cosine-group": (geometry.cosine, found.same_group),
            "overlap-output": (100 * geometry.mean("overlap_output"), others),
            "signs": (100 * geometry.disagreement, others),
        }
        for k, adapter in enumerate(geometry.names):
            if len(directions := found.adapters.directions[adapter]) == 1:
                for name, (matrix, pairs) in matrices.items():
                    values[name][directions[0]] = _mean(matrix[k], pairs[k])
    return tuple(Feature(name, title, values[name], note) for name, (title, note) in _FEATURES.items())


def _items(stem: str, found: MeasuredSet) -> list[Item]:
    title = f"adapters {found.adapters.title}"
    items: list[Item] = [_group_table(f"{stem}-groups", title, found)]
    if len(found.leaves) > 1:
        labels = _labels(found)
        items.append(
            TreeChart(
                f"{stem}-tree",
                f"Clustering of {title}",
                tuple(labels[k] for k in found.leaves),
                found.merges,
                "1 − cosine",
                f"Average linkage (UPGMA) on 1 − cosine. {_COSINE}",
            )
        )
    items += _matrices(stem, title, found)
    items += _curves(stem, title, found)
    items += [_adapter_table(f"{stem}-adapters", title, found), _kind_table(f"{stem}-modules", title, found)]
    return items


def _labels(found: MeasuredSet) -> list[str]:
    return [found.adapters.labels[name] for name in found.geometry.names]


def _signs_note(found: MeasuredSet) -> str:
    return _SAMPLED if found.geometry.sampled else ""


def _matrices(stem: str, title: str, found: MeasuredSet) -> list[MatrixChart]:
    geometry, pairs, order = found.geometry, found.pairs, found.order
    chance = {side: _mean(100 * geometry.mean(f"chance_{side}"), pairs) or 0.0 for side in ("output", "input")}
    parts = (
        ("cosine", "Cosine", geometry.cosine, _COSINE),
        (
            "overlap-output",
            "Output-side overlap (%)",
            100 * geometry.mean("overlap_output"),
            _OVERLAP.format(space="column", chance=chance["output"]),
        ),
        (
            "overlap-input",
            "Input-side overlap (%)",
            100 * geometry.mean("overlap_input"),
            _OVERLAP.format(space="row", chance=chance["input"]),
        ),
        ("signs", "Opposite signs (%)", 100 * geometry.disagreement, _DISAGREEMENT + _signs_note(found)),
    )
    labels = tuple(_labels(found)[k] for k in order)
    charts = []
    for name, shown, values, note in parts:
        known = values[pairs & ~np.isnan(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        rows = tuple(tuple(None if i == j else _value(values[i, j]) for j in order) for i in order)
        note = f"{note} In the order of the tree; colours span the values shown; the diagonal is left out."
        charts.append(MatrixChart(f"{stem}-{name}", f"{shown}: {title}", labels, labels, rows, low, high, note))
    return charts


def _curves(stem: str, title: str, found: MeasuredSet) -> list[LineChart]:
    """Means over pairs of one group and of different groups, layer by layer."""
    layers = {layer: found.geometry.where(layer=layer) for layer in found.geometry.layers}
    if not layers:
        return []
    kinds = {"of one group": found.same_group, "of different groups": found.other_group}
    pair_note = "Mean over the pairs of adapters of one group, and of different groups."
    parts = (
        ("cosine", "cosine", lambda part: part.cosine, _COSINE.replace("all modules", "the modules of a layer")),
        ("overlap-output", "output-side overlap (%)", lambda part: 100 * part.mean("overlap_output"), ""),
        ("overlap-input", "input-side overlap (%)", lambda part: 100 * part.mean("overlap_input"), ""),
        ("signs", "opposite signs (%)", lambda part: 100 * part.disagreement, _DISAGREEMENT + _signs_note(found)),
    )
    charts = []
    for name, label, figure, note in parts:
        values = {layer: figure(part) for layer, part in layers.items()}
        lines = {
            kind: [(layer, _mean(matrix, pairs)) for layer, matrix in values.items()] for kind, pairs in kinds.items()
        }
        charts.append(
            _line_chart(f"{stem}-{name}-by-layer", f"{label} by layer: {title}", label, lines, note, pair_note)
        )
    lost = {
        name: [(layer, _cancelled(part, name)) for layer, part in layers.items()]
        for name in found.geometry.modules[0].sets
    }
    label = "cancelled magnitude (%)"
    charts.append(
        _line_chart(
            f"{stem}-cancelled-by-layer", f"{label} by layer: {title}", label, lost, _CANCELLED, _signs_note(found)
        )
    )
    return charts


def _line_chart(
    name: str, title: str, label: str, lines: Mapping[str, Sequence[tuple[int, float | None]]], *notes: str
) -> LineChart:
    series = [
        Series(kind, tuple(Point(layer, value) for layer, value in line if value is not None))
        for kind, line in lines.items()
    ]
    shown = tuple(one for one in series if one.points)
    return LineChart(name, title[0].upper() + title[1:], "layer", label, shown, " ".join(n for n in notes if n).strip())


def _group_table(name: str, title: str, found: MeasuredSet) -> Table:
    """Each group, and all adapters: pairs within, pairs with others, signs of the whole set."""
    geometry = found.geometry
    rows: list[tuple[Value, ...]] = []
    for group in geometry.modules[0].sets:
        inside = np.array([group in (ALL, found.adapters.groups[adapter]) for adapter in geometry.names])
        within = found.pairs & np.outer(inside, inside)
        across = np.outer(inside, ~inside)
        signs = geometry.signs(group)
        rows.append(
            (
                group,
                int(inside.sum()),
                *(
                    _mean(values, pairs)
                    for values in (
                        geometry.cosine,
                        100 * geometry.mean("overlap_output"),
                        100 * geometry.mean("overlap_input"),
                        100 * geometry.disagreement,
                    )
                    for pairs in (within, across)
                ),
                100 * signs.num_conflicts / signs.num_voted if signs.num_voted else None,
                _cancelled(geometry, group),
            )
        )
    columns = (
        Column("group"),
        Column("adapters", 0),
        Column("cosine within", 4, signed=True),
        Column("cosine to others", 4, signed=True),
        Column("output overlap within (%)", 2),
        Column("output overlap to others (%)", 2),
        Column("input overlap within (%)", 2),
        Column("input overlap to others (%)", 2),
        Column("opposite signs within (%)", 2),
        Column("opposite signs to others (%)", 2),
        Column("entries with both signs (%)", 2),
        Column("cancelled magnitude (%)", 2),
    )
    note = (
        f"Means over pairs within the group, and of its members with the other adapters. {_COSINE} "
        f"Opposite signs: {_DISAGREEMENT} Entries with both signs: of the entries that some adapter of the group "
        "changes, the percentage that two of them change in opposite directions, as in the merge report before "
        f"trimming; it grows with the number of adapters. Cancelled magnitude: {_CANCELLED}{_signs_note(found)}"
    )
    return Table(name, f"By group: {title}", columns, tuple(rows), note)


def _adapter_table(name: str, title: str, found: MeasuredSet) -> Table:
    """Each adapter: its size, and its mean figures with its group and with all others."""
    geometry, labels = found.geometry, _labels(found)
    others = found.pairs
    matrices = (geometry.cosine, 100 * geometry.mean("overlap_output"), 100 * geometry.disagreement)
    rows: list[tuple[Value, ...]] = []
    for k in found.order:
        near = np.where(others[k], geometry.cosine[k], np.nan)
        known = not np.isnan(near).all()
        rows.append(
            (
                labels[k],
                found.adapters.groups[geometry.names[k]],
                _value(geometry.norms[k]),
                labels[int(np.nanargmax(near))] if known else None,
                _value(np.nanmax(near)) if known else None,
                *(_mean(values[k], pairs[k]) for values in matrices for pairs in (found.same_group, others)),
            )
        )
    columns = (
        Column("adapter"),
        Column("group"),
        Column("‖ΔW‖", 3),
        Column("nearest"),
        Column("its cosine", 4, signed=True),
        Column("cosine, own group", 4, signed=True),
        Column("cosine, all others", 4, signed=True),
        Column("output overlap, own group (%)", 2),
        Column("output overlap, all others (%)", 2),
        Column("opposite signs, own group (%)", 2),
        Column("opposite signs, all others (%)", 2),
    )
    note = f"{_COSINE} Nearest: the adapter with the highest cosine.{_signs_note(found)}"
    return Table(name, f"One by one: {title}", columns, tuple(rows), note)


def _kind_table(name: str, title: str, found: MeasuredSet) -> Table:
    """Each kind of module: means over all pairs, beside what chance gives."""
    pairs = found.pairs
    rows: list[tuple[Value, ...]] = []
    for kind in (None, *found.geometry.kinds):
        part = found.geometry.where(kind=kind)
        overlaps = ("overlap_output", "chance_output", "overlap_input", "chance_input")
        rows.append(
            (
                kind or "all",
                len(part.modules),
                _mean(part.cosine, pairs),
                *(_mean(100 * part.mean(figure), pairs) for figure in overlaps),
                _mean(100 * part.disagreement, pairs),
                _cancelled(part, ALL),
            )
        )
    columns = (
        Column("module"),
        Column("number", 0),
        Column("cosine", 4, signed=True),
        Column("output overlap (%)", 2),
        Column("output overlap by chance (%)", 2),
        Column("input overlap (%)", 2),
        Column("input overlap by chance (%)", 2),
        Column("opposite signs (%)", 2),
        Column("cancelled magnitude (%)", 2),
    )
    note = (
        "Means over all pairs of adapters, the modules of a kind as one vector. By chance: the overlap of random "
        f"subspaces of the same ranks, max(rank) / width.{_signs_note(found)}"
    )
    return Table(name, f"By kind of module: {title}", columns, tuple(rows), note)


def _cancelled(geometry: Geometry, name: str) -> float | None:
    signs = geometry.signs(name)
    return 100 * (1 - signs.sum_l1 / signs.total_l1) if signs.total_l1 else None


def _mean(values: Array, chosen: Array) -> float | None:
    """The mean of the chosen values that are known; None where there are none."""
    known = values[chosen & ~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _value(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
