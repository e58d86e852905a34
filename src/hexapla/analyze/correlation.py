"""What goes together with Δ: rank and linear correlation over directions, with permutation tests.

A permutation test asks how often a correlation at least as strong arises when the values of Δ are dealt out anew to
the directions. It takes the directions for exchangeable; relatives among them make the p-values too small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from hexapla import languages
from hexapla.analyze.present import Column, Item, Point, ScatterChart, Section, Series, Table, Value
from hexapla.common.seeds import derive_seed
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.significance import holm
from hexapla.languages import Direction
from hexapla.plan import Layout, Side

Array = np.ndarray[Any, Any]

NUM_PERMUTATIONS = 9999  # drawn at random, beside the one that was observed: the smallest p is 1/10,000
_MAX_EXACT = 7  # up to so many points all n! orders are tried (7! = 5040)
_MIN_POINTS = 3  # two points always lie on a line
_ROUNDING = 1e-12  # correlations this close count as equal, so that a tie of orders is none of summation
_BOTH = "both sides"
_RESOURCE_RANKS = {"low": 1.0, "mid": 2.0, "high": 3.0}


@dataclass(frozen=True)
class Feature:
    """A measure that might explain Δ.

    Attributes:
        name: part of file names.
        title: with its unit.
        values: of the directions where it is known.
        note: how it is measured.
    """

    name: str
    title: str
    values: Mapping[Direction, float | None]
    note: str


@dataclass(frozen=True)
class Correlation:
    """A correlation and the p-value of its two-sided permutation test; None where it is not defined.

    That is with fewer than 3 points, or where one side is constant.
    """

    value: float | None
    p: float | None


@dataclass(frozen=True)
class _Result:
    """A row of the table: Spearman's and Pearson's correlation of one explanation on one side."""

    side: str
    explanation: str
    num_points: int
    rank: Correlation
    linear: Correlation


def pearson(x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> Correlation:
    """The linear correlation of pairs.

    The p-value: up to 7 points the share of all n! orders of y that give a correlation at least as far from 0 (the
    observed one is among them). Above, of 9,999 random orders, (1 + those at least as far from 0) / 10,000; the orders
    follow from `seed` and n only.

    Args:
        x: finite, of the same length as `y`.
    """
    x_n, y_n = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x_n) < _MIN_POINTS or np.ptp(x_n) == 0 or np.ptp(y_n) == 0:
        return Correlation(None, None)
    x_n, y_n = _standard(x_n), _standard(y_n)
    observed = float(np.clip(x_n @ y_n, -1, 1))
    permuted = y_n[_orders(len(y_n), seed)] @ x_n
    extreme = int((np.abs(permuted) >= abs(observed) - _ROUNDING).sum())
    exact = len(y_n) <= _MAX_EXACT
    return Correlation(observed, extreme / len(permuted) if exact else (1 + extreme) / (1 + len(permuted)))


def spearman(x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> Correlation:
    """The rank correlation of pairs: `pearson` of the ranks, equal values sharing their mean rank."""
    return pearson(_ranks(x), _ranks(y), seed=seed)


def explanations(
    deltas: Mapping[Direction, float | None],
    features: Sequence[Feature],
    layout: Layout,
    *,
    metric: str,
    pool: str | None = None,
    test: str | None = None,
    seed: int = 0,
) -> Section:
    """The correlation of every feature with Δ, on each side of the hubs and on both together, with a chart each.

    Args:
        deltas: direction → Δ; those without a value, and directions between hubs, are left out.
        metric: that Δ is measured in.
        pool: of the shared training, where sections of several pools stand beside each other.
        test: the test set, where there are several.
        seed: root seed, for the random orders.
    """
    subject = (
        f"Δ {METRICS[metric].title}"
        + (f" of {pool}" if pool is not None else "")
        + (f" on {test}" if test is not None else "")
    )
    stem = "-".join(["explanations", metric, *(quote(part, safe="") for part in (pool, test) if part is not None)])
    found: list[_Result] = []
    charts, notes = [], []
    for feature in features:
        series = []
        for side in (Side.TO_HUB, Side.FROM_HUB):
            if points := _points(deltas, feature, layout, side):
                series.append(Series(side.value, points))
                found.append(_correlate(side.value, feature, points, stem, seed))
        if len(series) > 1:
            found.append(_correlate(_BOTH, feature, [*series[0].points, *series[1].points], stem, seed))
        if series:
            charts.append(_chart(feature, series, stem, subject))
        else:
            notes.append(f"No direction has both a {subject} and this figure: {feature.title}.")
    intro = f"What goes together with {subject} over the directions; a correlation says nothing of causes."
    items: tuple[Item, ...] = (_table(found, stem, subject), *charts) if found else ()
    return Section(stem, f"{subject} and what might explain it", intro, items, tuple(notes))


def resource_feature(directions: Sequence[Direction], layout: Layout) -> Feature:
    """The resource level of the language that is no hub, as a rank; directions between hubs have none."""
    values = {
        direction: _RESOURCE_RANKS[languages.get(_other(direction, layout)).resource]
        for direction in directions
        if layout.side(direction) is not Side.BETWEEN_HUBS
    }
    note = "Resource level of the language in the registry: 1 low, 2 mid, 3 high."
    return Feature("resource-level", "resource level", values, note)


def _points(
    deltas: Mapping[Direction, float | None], feature: Feature, layout: Layout, side: Side
) -> tuple[Point, ...]:
    points = []
    for direction, delta in deltas.items():
        value = feature.values.get(direction)
        if layout.side(direction) is side and delta is not None and value is not None:
            points.append(Point(value, delta, label=str(direction)))
    return tuple(points)


def _correlate(side: str, feature: Feature, points: Sequence[Point], stem: str, seed: int) -> _Result:
    x, y = [point.x for point in points], [point.y for point in points]
    own_seed = derive_seed(seed, "permutation", stem, feature.name, side)
    return _Result(side, feature.title, len(points), spearman(x, y, seed=own_seed), pearson(x, y, seed=own_seed))


def _other(direction: Direction, layout: Layout) -> str:
    return direction.source if direction.target in layout.hubs else direction.target


def _chart(feature: Feature, series: Sequence[Series], stem: str, subject: str) -> ScatterChart:
    name, title = f"{stem}-{feature.name}", f"{subject} against {feature.title}"
    return ScatterChart(name, title, feature.title, subject, tuple(series), f"One point a direction. {feature.note}")


def _table(found: Sequence[_Result], stem: str, subject: str) -> Table:
    rank_ps = _adjusted([result.rank.p for result in found])
    linear_ps = _adjusted([result.linear.p for result in found])
    rows: list[tuple[Value, ...]] = [
        (
            result.side,
            result.explanation,
            result.num_points,
            result.rank.value,
            result.rank.p,
            rank_p,
            result.linear.value,
            result.linear.p,
            linear_p,
        )
        for result, rank_p, linear_p in zip(found, rank_ps, linear_ps, strict=True)
    ]
    columns = (
        Column("side"),
        Column("explanation"),
        Column("directions", 0),
        Column("Spearman ρ", 3, signed=True),
        Column("p of ρ", 4),
        Column("p of ρ (Holm)", 4),
        Column("Pearson r", 3, signed=True),
        Column("p of r", 4),
        Column("p of r (Holm)", 4),
    )
    note = (
        "Over the directions that have both figures; over both sides together, a figure that differs between the sides "
        "stands for all else that differs between them. p: two-sided permutation test; up to "
        f"{_MAX_EXACT} directions all orders are tried, above {NUM_PERMUTATIONS:,} random ones, where p = "
        f"(1 + orders at least as extreme) / {NUM_PERMUTATIONS + 1:,}. Holm: corrected for the tests in the column. "
        "The test takes directions for exchangeable; relatives among the languages make p too small. Missing: fewer "
        "than three directions, or all the same value."
    )
    return Table(stem, f"Correlation with {subject}", columns, tuple(rows), note)


def _adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's p-values, those that are missing left out of the family."""
    corrected = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else float(next(corrected)) for p in p_values]


def _standard(values_n: Array) -> Array:
    """Values with mean 0 and sum of squares 1."""
    centered = values_n - values_n.mean()
    standard: Array = centered / np.linalg.norm(centered)
    return standard


def _orders(n: int, seed: int) -> Array:
    """Orders of n things, one a row: all of them, or so many at random."""
    if n <= _MAX_EXACT:
        return np.array(list(itertools.permutations(range(n))))
    orders: Array = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (NUM_PERMUTATIONS, 1)), axis=1)
    return orders


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1 on; equal values share the mean of theirs."""
    ranks = [math.nan] * len(values)
    ordered = sorted(range(len(values)), key=values.__getitem__)
    start = 0
    for _, equal in itertools.groupby(ordered, key=values.__getitem__):
        positions = list(equal)
        for position in positions:
            ranks[position] = start + (len(positions) + 1) / 2
        start += len(positions)
    return ranks
