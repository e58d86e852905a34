"""Conflict and synergy, measured (DAT, arXiv 2502.11223): Δ of every direction, with its interval.

    Δ(d) = m(shared training, d) − m(separate training, d)

Δ < 0: conflict dominates; Δ > 0: synergy does; |Δ| is the intensity. For a metric where lower is better the sign is
turned round, so that this holds for every metric.

Intervals are by paired bootstrap over segments: all pools are resampled with the same draws, and so are all directions
of a test set that translate the same sentences. The interval of a mean over directions thus says how sure it is on
other sentences, not for other languages.

Of many directions some have an interval beside 0 by chance. The p-values, by approximate randomisation on the same
segments, are therefore corrected by Holm's procedure over all directions of a pool, by one metric on one test set.

Differs from the paper, which gives neither intervals nor tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hexapla.common.progress import Progress
from hexapla.evaluate.comparability import signature_difference
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import (
    LEVEL,
    NUM_TRIALS,
    Draw,
    Resampled,
    combine,
    holm,
    joint_draws,
    resample_metrics,
)
from hexapla.languages import Direction
from hexapla.plan import SEPARATE, SHARED, Layout

if TYPE_CHECKING:
    import numpy as np

View = tuple[str, str]
"""Test set and metric."""


@dataclass(frozen=True)
class Delta:
    """Δ of one direction, for one pool with shared training.

    Attributes:
        pair: the figures of both pools, observed and resampled; separate training first.
        sign: 1 where a higher figure is better, otherwise -1.
        p_value: of the paired test.
        p_holm: corrected for all directions of the pool, by the same metric on the same test set.
    """

    direction: Direction
    pair: Resampled
    sign: int
    p_value: float
    p_holm: float

    @property
    def shared(self) -> float:
        """The figure of the pool with shared training."""
        return float(self.pair.observed[1])

    @property
    def separate(self) -> float:
        """The figure of separate training."""
        return float(self.pair.observed[0])

    @property
    def value(self) -> float:
        """Below 0 for conflict, above for synergy."""
        return self.sign * (self.shared - self.separate)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % confidence interval; None where it could not be measured."""
        return _signed_interval(self.pair, self.sign)


@dataclass(frozen=True)
class MeanDelta:
    """The mean Δ of some directions, its interval and what it is made of.

    Attributes:
        intensity: the mean of |Δ|.
        num_conflicts: directions whose own interval lies below 0; `num_synergies` those above.
        num_sure_conflicts: directions with Δ below 0 and a corrected p below 0.05; `num_sure_synergies` those above.
    """

    value: float
    interval: tuple[float, float] | None
    shared: float
    separate: float
    intensity: float
    num_directions: int
    num_conflicts: int
    num_synergies: int
    num_sure_conflicts: int
    num_sure_synergies: int


@dataclass(frozen=True)
class Measured:
    """All that was measured.

    Attributes:
        separate: name of the pool with separate training; `layout` is its layout.
        pools: those with shared training, in the order given.
        views: (test set, metric) → pool → direction → Δ; directions without one are left out.
        notes: what could not be compared, and why.
    """

    separate: str
    layout: Layout
    pools: tuple[str, ...]
    views: Mapping[View, Mapping[str, Mapping[Direction, Delta]]]
    notes: tuple[str, ...]

    def values(self, test: str, metric: str, pool: str) -> dict[Direction, float]:
        """Direction → Δ of a pool, where there is one."""
        deltas = self.views.get((test, metric), {}).get(pool, {})
        return {direction: delta.value for direction, delta in deltas.items()}

    @property
    def growing(self) -> dict[str, int]:
        """The pools that share one adapter between ever more languages → how many; the smallest first."""
        numbers = {pool: num_trained_languages(pool, self.layout) for pool in self.pools}
        found = {pool: number for pool, number in numbers.items() if number is not None}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def whole(self) -> tuple[str, ...]:
        """The pools that were trained on all languages."""
        return tuple(pool for pool in self.pools if "@" not in pool)


def num_trained_languages(pool: str, layout: Layout) -> int | None:
    """The number of languages that share the one adapter of a pool: N of `multilingual@N`; None for other pools."""
    strategy, at, number = pool.partition("@")
    if strategy != SHARED:
        return None
    return int(number) if at else len(layout.languages)


def measure_deltas(
    tables: Mapping[str, ScoreTable], metrics: Iterable[str], *, separate: str = SEPARATE, leave_out: Sequence[str] = ()
) -> Measured:
    """Compare every pool with separate training, direction by direction.

    Args:
        tables: pool name → scores; `separate` among them.
        metrics: which to compare; a pool that lacks one is left out for it.
        leave_out: pools that are not trained at all, such as the bare base.

    Figures whose signatures differ (metric, test set, its rows, or decoder) are not compared.
    """
    metrics = tuple(metrics)
    pools = tuple(name for name in tables if name != separate and name not in leave_out)
    comparison = _Comparison(tables, separate)
    views: dict[View, dict[str, dict[Direction, Delta]]] = {}
    for test in tables[separate].tests:
        for metric, pool, delta in comparison.deltas(test, metrics, pools):
            views.setdefault((test, metric), {}).setdefault(pool, {})[delta.direction] = delta
    ordered = {
        (test, metric): {pool: _corrected(views[test, metric][pool]) for pool in pools if pool in views[test, metric]}
        for test in tables[separate].tests
        for metric in metrics
        if (test, metric) in views
    }
    lacking = _lacking({name: tables[name] for name in (separate, *pools)}, metrics)
    notes = (*lacking, *comparison.notes(), *_too_many(ordered))
    return Measured(separate, tables[separate].layout, pools, ordered, notes)


def mean_delta(deltas: Sequence[Delta]) -> MeanDelta | None:
    """The mean over directions, all of one metric; None when there are none. Its interval is that of the mean."""
    if not deltas:
        return None
    number = len(deltas)
    intervals = [delta.interval for delta in deltas]
    whole = combine([delta.pair for delta in deltas], [1 / number] * number)
    return MeanDelta(
        value=sum(delta.value for delta in deltas) / number,
        interval=_signed_interval(whole, deltas[0].sign),
        shared=sum(delta.shared for delta in deltas) / number,
        separate=sum(delta.separate for delta in deltas) / number,
        intensity=sum(abs(delta.value) for delta in deltas) / number,
        num_directions=number,
        num_conflicts=sum(interval is not None and interval[1] < 0 for interval in intervals),
        num_synergies=sum(interval is not None and interval[0] > 0 for interval in intervals),
        num_sure_conflicts=sum(delta.p_holm < LEVEL and delta.value < 0 for delta in deltas),
        num_sure_synergies=sum(delta.p_holm < LEVEL and delta.value > 0 for delta in deltas),
    )


def _corrected(deltas: Mapping[Direction, Delta]) -> dict[Direction, Delta]:
    """The same with their p-values corrected for all of them."""
    corrected = holm([delta.p_value for delta in deltas.values()])
    return {
        direction: replace(delta, p_holm=p_holm)
        for (direction, delta), p_holm in zip(deltas.items(), corrected, strict=True)
    }


@dataclass(frozen=True)
class _Sample:
    """The segments of a pool in one direction: their rows, and each metric's statistics [n, k]."""

    rows: list[str]
    statistics: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Comparison:
    """Several pools against one; `refused` gathers what could not be compared: what → (direction, difference)."""

    tables: Mapping[str, ScoreTable]
    separate: str
    refused: dict[str, list[tuple[Direction, str]]] = field(default_factory=dict)

    def deltas(self, test: str, metrics: Sequence[str], pools: Sequence[str]) -> list[tuple[str, str, Delta]]:
        """(metric, pool, Δ) of every direction of a test set. Each file of segments is read once."""
        alone = self.tables[self.separate]
        wanted: dict[Direction, list[tuple[str, str]]] = {}
        for entry in alone.entries:
            pairs = [(metric, pool) for metric in metrics for pool in pools if entry.test == test]
            if kept := [pair for pair in pairs if self._is_comparable(test, entry.direction, *pair)]:
                wanted[entry.direction] = kept
        samples = {
            direction: _sample(alone, test, direction, dict.fromkeys(metric for metric, _ in pairs))
            for direction, pairs in wanted.items()
        }
        draws = joint_draws([sample.rows for sample in samples.values()])
        found = []
        progress = Progress(f"conflict and synergy on {test}", len(wanted), unit="directions")
        for (direction, pairs), draw in zip(wanted.items(), draws, strict=True):
            found += self._in_direction(test, direction, pairs, samples[direction], draw)
            progress.advance(note=str(direction))
        progress.close()
        return found

    def _in_direction(
        self, test: str, direction: Direction, pairs: Sequence[tuple[str, str]], alone: _Sample, draw: Draw
    ) -> list[tuple[str, str, Delta]]:
        by_pool: dict[str, list[str]] = {}
        for metric, pool in pairs:
            by_pool.setdefault(pool, []).append(metric)
        found = []
        for pool, metrics in by_pool.items():
            given = _sample(self.tables[pool], test, direction, metrics)
            systems = {
                metric: (METRICS[metric], (alone.statistics[metric], given.statistics[metric])) for metric in metrics
            }
            for metric, pair in resample_metrics(systems, draw, "randomisation").items():
                found.append((metric, pool, _delta(direction, pair, 1 if METRICS[metric].higher_is_better else -1)))
        return found

    def _is_comparable(self, test: str, direction: Direction, metric: str, pool: str) -> bool:
        alone, shared = self.tables[self.separate], self.tables[pool]
        if any(_figure(table, metric, test, direction) is None for table in (alone, shared)):
            return False
        theirs, ours = (str(table.signature(metric, test, direction)) for table in (shared, alone))
        if theirs == ours:
            return True
        what = f"{METRICS[metric].title} on {test}: no Δ for {pool}, whose signatures differ from those of {alone.pool}"
        self.refused.setdefault(what, []).append((direction, signature_difference(theirs, ours)))
        return False

    def notes(self) -> list[str]:
        """One sentence for each kind of figures that were not compared, with the difference in the first direction."""
        return [
            f"{what} in {len(found)} directions ({_few([direction for direction, _ in found])}); "
            f"in {found[0][0]}: {found[0][1]}."
            for what, found in self.refused.items()
        ]


def _delta(direction: Direction, pair: Resampled, sign: int) -> Delta:
    """With the p-value of its test, whose trials are let go: of all directions they would not fit in memory."""
    difference = pair.difference(1)
    assert difference is not None, "only directions in which both pools have a figure are compared"
    return Delta(direction, replace(pair, swapped=None), sign, difference.p_value, difference.p_value)


def _signed_interval(pair: Resampled, sign: int) -> tuple[float, float] | None:
    """None also where nothing counts in more than 5 % of the resamples: the others alone would look too sure."""
    difference = pair.difference(1)
    if difference is None or difference.interval is None:
        return None
    if difference.num_undefined > LEVEL * difference.num_resamples:
        return None
    low, high = (sign * end for end in difference.interval)
    return (low, high) if sign > 0 else (high, low)


def _figure(table: ScoreTable, metric: str, test: str, direction: Direction) -> float | None:
    entry = table.entry(test, direction)
    figure = None if entry is None else entry.figures.get(metric)
    return None if figure is None else figure.value


def _sample(table: ScoreTable, test: str, direction: Direction, metrics: Iterable[str]) -> _Sample:
    import numpy as np

    segments = table.segments(test, direction)
    return _Sample(
        [segment["id"] for segment in segments],
        {metric: np.asarray([segment["statistics"][metric] for segment in segments]) for metric in metrics},
    )


def _lacking(tables: Mapping[str, ScoreTable], metrics: Sequence[str]) -> list[str]:
    """One sentence for each pool that was not measured with some of the metrics."""
    notes = []
    for pool, table in tables.items():
        if missing := [METRICS[name].title for name in metrics if name not in table.measured]:
            notes.append(f"{pool} was not measured with {', '.join(missing)}.")
    return notes


def _too_many(views: Mapping[View, Mapping[str, Mapping[Direction, Delta]]]) -> list[str]:
    """One sentence where the smallest p-value that the test can give is not small enough after the correction."""
    largest = max((len(deltas) for pools in views.values() for deltas in pools.values()), default=0)
    if largest / (NUM_TRIALS + 1) < LEVEL:
        return []
    return [
        f"Of {largest:,} directions the test, with its {NUM_TRIALS:,} trials, can call none significant after Holm's "
        "correction: 0 there says nothing."
    ]


def _few(directions: Sequence[Direction]) -> str:
    return ", ".join(map(str, directions[:5])) + (", …" if len(directions) > 5 else "")
