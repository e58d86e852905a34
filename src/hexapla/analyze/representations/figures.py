"""What was measured inside models as charts: curves over depth, heat maps, sentences in two dimensions.

Shapes: C languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from hexapla.analyze.present import (
    Cloud,
    Guide,
    LineChart,
    MatricesChart,
    MatrixChart,
    PanelChart,
    Point,
    ProjectionChart,
    Series,
)
from hexapla.analyze.representations.notes import MEASURES
from hexapla.analyze.representations.profile import RepresentationProfile
from hexapla.analyze.representations.shown import (
    MOST_COLOURS,
    Shown,
    branch,
    known,
    mean,
    nearest_layer,
    ordered,
    percent,
    position,
)

_LEAST_REACH = 0.1  # of the highest value: differences that are far smaller stay pale
_MOST_POINTS = 1000  # of a picture; more hide each other
_MOST_POINTS_TOGETHER = 12_000  # of all pictures: about 2 MB of a page
_MOST_SYSTEMS = 3  # that stand side by side with every matrix of theirs

_MAPS: tuple[tuple[str, str, Callable[[RepresentationProfile], np.ndarray], bool, str], ...] = (
    (
        "retrieval",
        "Sentence retrieval (%)",
        lambda profile: 100 * profile.retrieval,
        True,
        "Percentage of the row's sentences whose nearest one in the column's language is their translation.",
    ),
    (
        "cka",
        "Linear CKA",
        lambda profile: profile.cka,
        False,
        "How alike the two languages' sentences lie to each other; 1 is the same up to rotation and size.",
    ),
)
"""Name, title, measure, whether colours begin at 0 (else at the lowest value), and note of the heat maps."""


def curves(shown: Shown) -> PanelChart:
    """Every measure over depth, all models in each plot."""
    first = shown.first
    rows = first.num_shared[~np.eye(len(first.languages), dtype=bool)]
    rows = rows[rows >= 2]
    guess = Guide("chance", y=float(np.mean(100 / rows))) if rows.size else None
    panels: tuple[tuple[str, Callable[[RepresentationProfile, int], float | None], Guide | None], ...] = (
        ("sentence retrieval (%)", lambda p, at: percent(mean(p.retrieval[at])), guess),
        ("sentence retrieval, centred (%)", lambda p, at: percent(mean(p.retrieval_centred[at])), guess),
        ("AUC: translations before others", lambda p, at: mean(p.auc[at]), Guide("chance", y=0.5)),
        (
            "separation: cosine of translations − of others",
            lambda p, at: mean(p.cosine_translations[at] - p.cosine_others[at]),
            Guide("chance", y=0.0),
        ),
        ("mean cosine of translations", lambda p, at: mean(p.cosine_translations[at]), None),
        ("linear CKA", lambda p, at: mean(p.cka[at]), None),
        (
            "language told by a linear probe (%)",
            lambda p, at: percent(known(p.probe[at])),
            Guide("chance", y=100 * first.probe_chance),
        ),
        ("anisotropy", lambda p, at: known(p.anisotropy[at]), None),
    )
    aligned = (Guide("aligned", x=_place(shown, first, shown.layer)),) if shown.aligned is not None else ()
    x_label = "layer" if shown.is_of_one_depth else "share of depth (%)"
    charts = []
    for label, measure, chance in panels:
        series = tuple(Series(profile.name, _points(shown, profile, measure)) for profile in shown.profiles)
        guides = (*aligned, *([chance] if chance is not None else []))
        charts.append(LineChart("", "", x_label, label, series, guides=guides))
    title = "Align, then diverge: measures over depth"
    return PanelChart("representations-depth", title, tuple(charts), MEASURES, num_columns=2)


def _points(
    shown: Shown, profile: RepresentationProfile, measure: Callable[[RepresentationProfile, int], float | None]
) -> tuple[Point, ...]:
    points = []
    for at, layer in enumerate(profile.layers):
        value = measure(profile, at)
        if value is not None:
            points.append(Point(_place(shown, profile, layer), value, label=f"{profile.name}, layer {layer}"))
    return tuple(points)


def _place(shown: Shown, profile: RepresentationProfile, layer: int) -> float:
    return layer if shown.is_of_one_depth else 100 * layer / profile.depth


def heat_maps(shown: Shown) -> list[MatricesChart]:
    """Retrieval and CKA of every two languages at the layer looked at and at the last one, with the differences."""
    order = " Relatives stand beside each other." if len(shown.codes) > MOST_COLOURS else ""
    layers = tuple(dict.fromkeys((shown.layer, shown.first.layers[-1])))
    is_many = len(shown.profiles) > _MOST_SYSTEMS
    span = " Colours span the same range in all systems" + (" and at both layers." if len(layers) > 1 else ".")
    charts = []
    for name, title, measure, from_zero, note in _MAPS:
        values = {
            layer: {
                p.name: ordered(p.languages, shown.codes, measure(p)[position(shown, p, layer)]) for p in shown.profiles
            }
            for layer in layers
        }
        matrices = _matrices(shown.codes, values, from_zero=from_zero)
        if is_many:
            note += f" {shown.first.name} is shown as it is, the other systems by their difference to it."
        for layer in layers:
            where = shown.at if layer == shown.layer else f"layer {layer} of {shown.first.depth} (last)"
            title_there = f"{title} between languages at {where}"
            stem = f"representations-{name}-{layer}"
            charts.append(MatricesChart(stem, title_there, "from", "to", matrices[layer], f"{note}{span}{order}"))
    return charts


def _matrices(
    codes: Sequence[str], values: dict[int, dict[str, np.ndarray]], *, from_zero: bool
) -> dict[int, tuple[MatrixChart, ...]]:
    """Layer → one matrix a system, of many systems the first one's only, then one a difference to the first.

    Args:
        values: layer → system → [C, C].
    """
    first = next(iter(values[next(iter(values))]))
    differences = {
        layer: {f"{name} − {first}": matrix - systems[first] for name, matrix in systems.items() if name != first}
        for layer, systems in values.items()
    }
    low, high = _span(values)
    reach = max(*map(abs, _span(differences)), _LEAST_REACH * high) or 1.0
    span = (0.0 if from_zero else max(low, 0.0), high)
    return {
        layer: (
            *(
                _matrix(name, codes, systems[name], span)
                for name in (systems if len(systems) <= _MOST_SYSTEMS else [first])
            ),
            *(_matrix(name, codes, matrix, (-reach, reach)) for name, matrix in differences[layer].items()),
        )
        for layer, systems in values.items()
    }


def _span(values: dict[int, dict[str, np.ndarray]]) -> tuple[float, float]:
    """The lowest and the highest value that is known; zeros where none is."""
    found = [matrix[~np.isnan(matrix)] for systems in values.values() for matrix in systems.values()]
    every = np.concatenate(found) if found else np.zeros(0)
    return (float(every.min()), float(every.max())) if every.size else (0.0, 0.0)


def _matrix(title: str, codes: Sequence[str], matrix: np.ndarray, span: tuple[float, float]) -> MatrixChart:
    rows = tuple(tuple(known(value) for value in row) for row in matrix)
    return MatrixChart("", title, tuple(codes), tuple(codes), rows, *span)


def pictures(shown: Shown) -> ProjectionChart | None:
    """Sentences in two dimensions: a line a layer and a column a system; of one or many systems, a line a system."""
    if not all(profile.projection for profile in shown.profiles):
        return None
    projected = shown.first.projection
    layers = sorted({min(projected), nearest_layer(projected, shown.layer), max(projected)})
    is_line_a_layer = 1 < len(shown.profiles) <= _MOST_SYSTEMS
    places = [(profile, layer) for profile in shown.profiles for layer in layers]
    if is_line_a_layer:
        places.sort(key=lambda place: place[1])
    rows = _rows_shown(shown, len(places))
    clouds = tuple(_cloud(shown, profile, layer, rows) for profile, layer in places)
    kinds = _kinds(shown.codes)
    colours = (
        "Colours tell the languages"
        if len(shown.codes) <= MOST_COLOURS
        else "Colours tell the branches of the languages' families; codes stand amid a language's sentences where "
        "there is room"
    )
    note = (
        f"{colours}. Thin lines lead from the middle of a sentence's translations to each of them: {len(rows)} rows. "
        "Where languages are aligned, lines are short and colours mixed. Every picture has axes of its own, stretched "
        "to fill it; distances cannot be compared between pictures."
    )
    num_columns = len(shown.profiles) if is_line_a_layer else len(layers)
    return ProjectionChart("representations-picture", "Sentences in two dimensions", clouds, num_columns, kinds, note)


def _rows_shown(shown: Shown, num_pictures: int) -> frozenset[int]:
    """Rows spread over all that were projected, few enough for the points to be told apart."""
    rows = sorted({row for row, _ in shown.first.projected})
    most = max(1, min(_MOST_POINTS, _MOST_POINTS_TOGETHER // num_pictures) // len(shown.codes))
    step = max(1, -(-len(rows) // most))
    return frozenset(rows[::step])


def _cloud(shown: Shown, profile: RepresentationProfile, layer: int, rows: frozenset[int]) -> Cloud:
    nearest = nearest_layer(profile.projection, layer / shown.first.depth * profile.depth)
    points = tuple(
        (_short(x), _short(y), code, row)
        for (x, y), (row, code) in zip(profile.projection[nearest], profile.projected, strict=True)
        if row in rows and np.isfinite(x) and np.isfinite(y)
    )
    subtitle = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}.get(profile.projection_method, "")
    if nearest in profile.explained:
        first, second = profile.explained[nearest]
        subtitle += f", {100 * first:.0f} % and {100 * second:.0f} % of the variance"
    name = "embeddings" if nearest == 0 else f"layer {nearest}"
    return Cloud(f"{profile.name}, {name}", subtitle, points)


def _kinds(codes: Sequence[str]) -> dict[str, str]:
    """What gives each language its colour: itself, or where they are too many its branch, the small ones as one."""
    if len(codes) <= MOST_COLOURS:
        return {code: code for code in codes}
    counted = Counter(branch(code) for code in codes)
    large = [branch for branch, number in counted.most_common(MOST_COLOURS - 1) if branch and number > 1]
    kinds = {code: branch(code) if branch(code) in large else "others" for code in codes}
    ranks = [*large, "others"]
    return dict(sorted(kinds.items(), key=lambda entry: ranks.index(entry[1])))


def _short(value: float) -> float:
    """Enough digits for a picture."""
    return float(f"{value:.4g}")
