"""What the report draws from segments: means with their intervals, the share that failed in any way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import Draw, Estimate, Resampled, combine, joint_draws, resample_metrics
from hexapla.languages import Direction
from hexapla.plan import Side

if TYPE_CHECKING:
    import numpy as np

ANY_FAILURE = "any failure"
# Signs that say little of a single translation: identifiers err between relatives, in correct translations too.
_DOUBTFUL = frozenset({"related"})
Key = tuple[str, Direction]


@dataclass(frozen=True)
class _Statistics:
    """Of one pool on one test set in one direction: row ids, and [rows, k] by metric."""

    rows: tuple[tuple[str, str], ...]
    by_metric: Mapping[str, np.ndarray]


def keys(tables: Sequence[ScoreTable]) -> list[Key]:
    """Every test set and direction that some table has segments of, in the order of the tables."""
    found = [(entry.test, entry.direction) for table in tables for entry in table.entries if entry.file is not None]
    return list(dict.fromkeys(found))


def counts_as_failure(metric: str) -> bool:
    """Whether a translation that this failure rate counts has failed, rather than perhaps."""
    return METRICS[metric].is_failure and metric not in _DOUBTFUL


class Observed:
    """The statistics of all segments; each file is read once, by whoever calls `add`."""

    def __init__(self, tables: Sequence[ScoreTable]) -> None:
        self._tables = {table.pool: table for table in tables}
        self._found: dict[tuple[str, Key], _Statistics] = {}
        self._by_metric: dict[tuple[str, str], dict[Key, _Statistics]] = {}
        self._resampled: dict[tuple[str, Key], dict[str, Resampled]] = {}
        self._means: dict[tuple[str, str, Side | None], Resampled | None] = {}

    def add(self, pool: str, key: Key, segments: Sequence[Mapping[str, Any]]) -> None:
        """Take in the segments (`ScoreTable.segments`) of a pool, before anything is asked."""
        import numpy as np

        by_metric = {
            metric: np.array([segment["statistics"][metric] for segment in segments], dtype=np.float32)
            for metric in self._tables[pool].measured
            if metric in segments[0]["statistics"]
        }
        failures = [statistics for metric, statistics in by_metric.items() if counts_as_failure(metric)]
        if failures:
            failed = np.max([statistics[:, 0] > 0 for statistics in failures], axis=0)
            by_metric[ANY_FAILURE] = np.stack([failed, np.ones(len(segments))], axis=1).astype(np.float32)
        self._found[pool, key] = _Statistics(tuple((key[0], str(row["id"])) for row in segments), by_metric)

    def any_failure(self, pool: str) -> dict[Direction, float]:
        """Direction → the share of translations that failed in at least one way, in percent; the mean of test sets."""
        shares: dict[Direction, list[float]] = {}
        for (_, direction), found in self._of(pool, ANY_FAILURE).items():
            shares.setdefault(direction, []).append(100.0 * float(found.by_metric[ANY_FAILURE][:, 0].mean()))
        return {direction: sum(values) / len(values) for direction, values in shares.items()}

    def mean(self, pool: str, metric: str, side: Side | None) -> Estimate:
        """The mean over the directions of a side, as `ScoreTable.mean` has it, with its interval."""
        found = self._mean(pool, metric, side)
        return Estimate(None, None) if found is None else found.estimate(0)

    def gap_of_means(self, first: str, second: str, metric: str, side: Side | None) -> tuple[float, float] | None:
        """95 % interval of the second pool's mean minus the first's, on the same resampled rows.

        None where they were not measured on the same rows.
        """
        one, other = self._mean(first, metric, side), self._mean(second, metric, side)
        if one is None or other is None or self._rows(first, metric, side) != self._rows(second, metric, side):
            return None
        found = _pair(one, other).difference(1)
        return None if found is None else found.interval

    def gap(
        self, first: str, second: str, metric: str, direction: Direction, test: str | None
    ) -> tuple[float, float] | None:
        """95 % interval of the second pool's figure minus the first's in a direction, on the same resampled rows.

        Args:
            test: None: the mean of the test sets.

        Returns:
            None where they were not measured on the same rows.
        """
        rows = [
            {key: found.rows for key, found in self._of(pool, metric).items() if key[1] == direction}
            for pool in (first, second)
        ]
        if test is not None:
            rows = [{key: found for key, found in of_pool.items() if key[0] == test} for of_pool in rows]
        if not rows[0] or rows[0] != rows[1]:
            return None
        weights = [1 / len(rows[0])] * len(rows[0])
        parts = [[self._resample(pool, metric, key) for key in rows[0]] for pool in (first, second)]
        difference = _pair(combine(parts[0], weights), combine(parts[1], weights)).difference(1)
        return None if difference is None else difference.interval

    def _rows(self, pool: str, metric: str, side: Side | None) -> dict[Key, tuple[tuple[str, str], ...]]:
        layout = self._tables[pool].layout
        found = self._of(pool, metric)
        return {key: of_key.rows for key, of_key in found.items() if side in (None, layout.side(key[1]))}

    def _of(self, pool: str, metric: str) -> dict[Key, _Statistics]:
        """What a pool has of a metric."""
        return {key: found for (name, key), found in self._found.items() if name == pool and metric in found.by_metric}

    def _mean(self, pool: str, metric: str, side: Side | None) -> Resampled | None:
        """The mean over directions of the means over their test sets; None where nothing was measured."""
        import numpy as np

        if (pool, metric, side) not in self._means:
            directions: dict[Direction, list[Resampled]] = {}
            for key in self._rows(pool, metric, side):
                resampled = self._resample(pool, metric, key)
                if not np.isnan(resampled.observed[0]):
                    directions.setdefault(key[1], []).append(resampled)
            parts = [part for of_direction in directions.values() for part in of_direction]
            weights = [1 / (len(directions) * len(found)) for found in directions.values() for _ in found]
            self._means[pool, metric, side] = combine(parts, weights) if parts else None
        return self._means[pool, metric, side]

    def _resample(self, pool: str, metric: str, key: Key) -> Resampled:
        """One direction of a test set; all metrics of quality at once, since drawing is what takes time."""
        if (pool, key) not in self._resampled:
            found = self._found[pool, key]
            measured = {
                name: (METRICS["empty" if name == ANY_FAILURE else name], (statistics,))
                for name, statistics in found.by_metric.items()
                if name == ANY_FAILURE or not METRICS[name].is_failure
            }
            self._resampled[pool, key] = resample_metrics(measured, self._draws[found.rows], "bootstrap")
        return self._resampled[pool, key][metric]

    @cached_property
    def _draws(self) -> dict[tuple[tuple[str, str], ...], Draw]:
        """Rows → how they are drawn; the same sentences in all directions and for all pools."""
        samples = list(dict.fromkeys(found.rows for found in self._found.values()))
        return dict(zip(samples, joint_draws(samples), strict=True))


def _pair(first: Resampled, second: Resampled) -> Resampled:
    """Two pools resampled by the same draws, as one."""
    import numpy as np

    observed = np.concatenate([first.observed, second.observed])
    drawn = np.concatenate([first.bootstrapped, second.bootstrapped])
    return Resampled(observed, drawn, np.zeros(1, dtype=int), np.diff(observed), None)
