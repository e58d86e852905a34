"""How sure a figure is: confidence intervals, paired tests, means over directions, correction for many tests.

Everything follows from the statistics of segments. A test set is resampled by a matrix that says how often each of its
rows is in each resample; times the statistics it gives the sums, and `Metric.aggregate` makes figures of these. Neither
texts nor models are needed again.

* Bootstrap (Koehn, 2004): rows are drawn with replacement. The draws are sacreBLEU's, so that the figures agree.
* Approximate randomisation (Riezler and Maxwell, 2005): of every row the two translations are swapped or not, by coin.
  Segments that cannot be judged for one of two systems are left out of this test.

What several directions share is resampled together: a row of a multi-way test set is in the resamples of all directions
or of none, since they all translate the same sentence. Test sets without common rows are resampled independently.

Of two equal systems randomisation calls as many different as the level says; the bootstrap as sacreBLEU has it calls
two to three times as many (of 300 pairs of 200 random scores 5.7 % and 13 % below p = 0.05).

Differs from sacreBLEU: a resample whose difference *equals* the observed one counts as at least as extreme. sacreBLEU
counts only greater ones, which gives two equal systems p = 0.0001, and so a rate that differs in a single segment.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from hexapla.common.seeds import derive_seed
from hexapla.evaluate.metrics.metric import Metric

if TYPE_CHECKING:
    import numpy as np

    Systems = Sequence[Sequence[Sequence[float]] | np.ndarray]  # statistics [n, k] of each system

Test = Literal["bootstrap", "randomisation"]
NUM_RESAMPLES = 1000  # sacreBLEU's
NUM_TRIALS = 10_000  # sacreBLEU's
SEED = 12345  # sacreBLEU's, so that the figures agree
LEVEL = 0.05

# Differences of figures on the scale 0-100 that are closer than this are equal: what rounding alone makes.
_TOLERANCE = 1e-9
# Cells of a block of the resampling matrix, 8 bytes each: memory stays bounded whatever the number of rows.
_BLOCK_CELLS = 1_000_000
# numpy draws coins from words of 32 bits: blocks of so many trials continue the stream as one large draw would.
_COINS_OF_A_WORD = 32


@dataclass(frozen=True)
class Estimate:
    """A figure and how sure it is.

    Attributes:
        value: None where nothing could be judged.
        interval: 95 % of the resampled figures lie in it; None where there are none.
        num_undefined: resamples without a figure (nothing in them could be judged), left out of the interval.
    """

    value: float | None
    interval: tuple[float, float] | None
    num_undefined: int = 0


@dataclass(frozen=True)
class Difference:
    """What a paired test says about the difference of two systems.

    Attributes:
        value: figure of the second system minus figure of the first.
        interval: 95 % of the bootstrapped differences lie in it.
        num_segments: those that count for both systems; of a mean, of all its directions together.
        p_value: how probable a difference at least as large is if the systems are equally good,
            (num_beyond + num_tied + num_undefined + 1) / (num_resamples + 1).
        num_resamples: bootstrap resamples, or trials of the randomisation.
        num_beyond: those with a greater difference than the observed one; with these alone p is sacreBLEU's.
        num_tied: those with an equal one.
        num_undefined: those in which one system has no figure; they count against significance.
    """

    value: float
    interval: tuple[float, float] | None
    num_segments: int
    p_value: float
    num_resamples: int
    num_beyond: int
    num_tied: int
    num_undefined: int


@dataclass(frozen=True, eq=False)
class Draw:
    """Which random draws resample the rows of a sample.

    Attributes:
        num_rows: rows that are drawn together, of this sample and of those that share rows with it.
        seed: of their stream.
        positions: [n] of the sample's rows among them; None: they are all of them, in this order.
    """

    num_rows: int
    seed: int = SEED
    positions: np.ndarray | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the sample is resampled as it would be alone."""
        return self.positions is None and self.seed == SEED


@dataclass(frozen=True, eq=False)
class Resampled:
    """Figures of G systems on the same segments, observed and resampled; of a mean over samples likewise.

    Attributes:
        observed: [G]; NaN where there is no figure.
        bootstrapped: [G, NUM_RESAMPLES]; NaN where a resample has no figure.
        num_paired: [G − 1], segments that count for a system and for the first one.
        paired: [G − 1], observed difference to the first system on these segments.
        swapped: [G − 1, NUM_TRIALS], the same after swapping by coin; None without such a test.
    """

    observed: np.ndarray
    bootstrapped: np.ndarray
    num_paired: np.ndarray
    paired: np.ndarray
    swapped: np.ndarray | None

    def estimate(self, system: int) -> Estimate:
        """The figure of a system with its interval."""
        import numpy as np

        value = float(self.observed[system])
        undefined = int(np.isnan(self.bootstrapped[system]).sum())
        if np.isnan(value):
            return Estimate(None, None, undefined)
        return Estimate(value, _middle(self.bootstrapped[system]), undefined)

    def difference(self, system: int) -> Difference | None:
        """System number `system` (from 1) against the first; None where one of them has no figure."""
        import numpy as np

        value = float(self.observed[system] - self.observed[0])
        if np.isnan(value):
            return None
        differences = self.bootstrapped[system] - self.bootstrapped[0]
        interval = _middle(differences)
        size = abs(value)
        if self.swapped is None:
            # Koehn's test as sacreBLEU and Moses have it: the resampled differences, moved so that their mean is 0
            sizes = np.abs(differences)
            sizes = sizes - (0.0 if np.isnan(sizes).all() else np.nanmean(sizes))
        else:
            size, sizes = abs(float(self.paired[system - 1])), np.abs(self.swapped[system - 1])
        beyond = int((sizes > size + _TOLERANCE).sum())
        tied = int((np.abs(sizes - size) <= _TOLERANCE).sum())
        undefined = int(np.isnan(sizes).sum())
        p_value = (beyond + tied + undefined + 1) / (len(sizes) + 1)
        num_segments = int(self.num_paired[system - 1])
        return Difference(value, interval, num_segments, p_value, len(sizes), beyond, tied, undefined)


def interval(
    metric: Metric | type[Metric],
    statistics: Sequence[Sequence[float]],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """The 95 % confidence interval of a corpus figure by bootstrap over segments (Koehn, 2004).

    Args:
        statistics: of each segment; at least one.

    Returns:
        None when no resample has a figure.
    """
    import numpy as np

    system = np.asarray(statistics, dtype=np.float64)[None]
    sums = _sums(_bootstrap(system.shape[1], num_resamples, seed), {"": system}, None)[""]
    return _middle(_aggregate(metric, sums)[0])


def paired_test(
    metric: Metric | type[Metric],
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    test: Test = "randomisation",
) -> Difference | None:
    """Test the difference of two systems on the same segments; None where one of them has no figure."""
    return resample(metric, (first, second), Draw(len(first)), test).difference(1)


def resample(metric: Metric | type[Metric], statistics: Systems, draw: Draw, test: Test) -> Resampled:
    """Resample one test set in one direction, by one metric; see `resample_metrics`."""
    return resample_metrics({"": (metric, statistics)}, draw, test)[""]


def resample_metrics(
    measured: Mapping[str, tuple[Metric | type[Metric], Systems]], draw: Draw, test: Test
) -> dict[str, Resampled]:
    """Resample one test set in one direction, by several metrics with the same draws.

    Args:
        measured: name → metric, and the statistics [n, k] of each of G systems, the baseline first; all of the same
            segments in the same order.
    """
    import numpy as np

    metrics = {name: metric for name, (metric, _) in measured.items()}
    systems = {
        name: np.stack([np.asarray(one, dtype=np.float64) for one in found]) for name, (_, found) in measured.items()
    }
    sums = _sums(_bootstrap(draw.num_rows, NUM_RESAMPLES, draw.seed), systems, draw.positions)
    bootstrapped = {name: _aggregate(metrics[name], sums[name]) for name in measured}
    # A segment that alone gives no figure does not count. It is left out for both systems: otherwise a system with more
    # of them would have another denominator than in any trial, and seem extreme whatever its failures.
    judged = {name: ~np.isnan(_aggregate(metrics[name], found.swapaxes(0, 1))) for name, found in systems.items()}
    both = {name: (found[0] & found[1:])[:, :, None] for name, found in judged.items()}  # [G − 1, n, 1]
    first = {name: (found[0] * both[name]).sum(axis=1) for name, found in systems.items()}  # [G − 1, k]
    others = {name: (found[1:] * both[name]).sum(axis=1) for name, found in systems.items()}
    swapped: dict[str, np.ndarray] = {}
    if test == "randomisation":
        gains = {name: (found[1:] - found[0]) * both[name] for name, found in systems.items()}
        moved = _sums(_swaps(draw.num_rows, NUM_TRIALS, draw.seed), gains, draw.positions)
        for name, gained in moved.items():
            metric = metrics[name]
            swapped[name] = _aggregate(metric, others[name] - gained) - _aggregate(metric, first[name] + gained)
    return {
        name: Resampled(
            observed=metric.aggregate(systems[name].sum(axis=1)),
            bootstrapped=bootstrapped[name],
            num_paired=both[name].sum(axis=(1, 2)),
            paired=metric.aggregate(others[name]) - metric.aggregate(first[name]),
            swapped=swapped.get(name),
        )
        for name, metric in metrics.items()
    }


def _aggregate(metric: Metric | type[Metric], sums: np.ndarray) -> np.ndarray:
    """[S, G, k] → figures [G, S]."""
    return metric.aggregate(sums.reshape(-1, sums.shape[2])).reshape(sums.shape[:2]).T


def combine(parts: Sequence[Resampled], weights: Sequence[float]) -> Resampled:
    """The weighted sum of samples that were drawn by `joint_draws`: with weights 1/n their mean.

    A resample is undefined where one of its parts is: a mean over fewer directions would be another one.
    """
    import numpy as np

    factors = np.asarray(weights, dtype=np.float64)
    observed = factors @ np.stack([part.observed for part in parts])
    bootstrapped = np.tensordot(factors, np.stack([part.bootstrapped for part in parts]), axes=1)
    swaps = [part.swapped for part in parts if part.swapped is not None]
    swapped = np.tensordot(factors, np.stack(swaps), axes=1) if len(swaps) == len(parts) else None
    num_paired = np.stack([part.num_paired for part in parts]).sum(axis=0)
    paired = factors @ np.stack([part.paired for part in parts])
    return Resampled(observed, bootstrapped, num_paired, paired, swapped)


def joint_draws(samples: Sequence[Sequence[Hashable]]) -> list[Draw]:
    """How to draw samples together, given the rows of each; equal rows are the same sentence.

    Samples that share rows, directly or through others, are drawn as one set of rows; those that share none have
    independent streams. A sample alone, or samples of the same rows, are drawn as each would be alone.

    Args:
        samples: the rows of each, distinct within a sample.
    """
    import numpy as np

    draws: list[Draw | None] = [None] * len(samples)
    for number, members in enumerate(_components(samples)):
        union = {row: None for member in members for row in samples[member]}
        place = {row: position for position, row in enumerate(union)}
        seed = SEED if number == 0 else derive_seed(SEED, "rows", number)
        for member in members:
            positions = np.array([place[row] for row in samples[member]])
            whole = len(positions) == len(place) and bool((positions == np.arange(len(place))).all())
            draws[member] = Draw(len(place), seed, None if whole else positions)
    return [draw for draw in draws if draw is not None]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's procedure (1979): each may be held against the level as it is.

    With p(1) ≤ … ≤ p(m) the i-th becomes max over j ≤ i of min(1, (m − j + 1) · p(j)). The probability that any of the
    differences called significant is none stays below the level, whatever the dependence between the tests.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return corrected


def _middle(figures: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of the figures that are defined, cut as sacreBLEU cuts; None when none is."""
    import numpy as np

    ordered = np.sort(figures[~np.isnan(figures)])
    if not len(ordered):
        return None
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[len(ordered) - cut - 1])


def _components(samples: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Positions of samples that share rows, directly or through others; in the order of their first samples."""
    owner: dict[Hashable, int] = {}  # row → a sample that has it
    leader = list(range(len(samples)))

    def leader_of(sample: int) -> int:
        while leader[sample] != sample:
            sample = leader[sample]
        return sample

    for number, rows in enumerate(samples):
        for row in rows:
            first, second = sorted((leader_of(owner.setdefault(row, number)), leader_of(number)))
            leader[second] = first
    members: dict[int, list[int]] = {}
    for number in range(len(samples)):
        members.setdefault(leader_of(number), []).append(number)
    return list(members.values())


def _sums(
    blocks: Iterator[np.ndarray], statistics: Mapping[str, np.ndarray], positions: np.ndarray | None
) -> dict[str, np.ndarray]:
    """[S, N] in blocks times each [G, n, k] → [S, G, k]; `positions` [n] of the rows of the statistics among the N."""
    import numpy as np

    columns = [found.swapaxes(0, 1).reshape(found.shape[1], -1) for found in statistics.values()]
    wide = np.hstack(columns)
    sums = np.concatenate([(block if positions is None else block[:, positions]) @ wide for block in blocks])
    parts = np.split(sums, np.cumsum([column.shape[1] for column in columns])[:-1], axis=1)
    return {
        name: part.reshape(len(sums), found.shape[0], found.shape[2])
        for (name, found), part in zip(statistics.items(), parts, strict=True)
    }


def _bootstrap(num_rows: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of [num_resamples, num_rows]: how often each row is in each resample."""
    import numpy as np

    counts = _counts(num_rows, num_resamples, seed)
    for start, stop in _blocks(num_rows, num_resamples):
        yield counts[start:stop].astype(np.float64)


def _swaps(num_rows: int, num_trials: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of [num_trials, num_rows]: 1 where the translations of a row are swapped, else 0."""
    import numpy as np

    coins = _coins(num_rows, num_trials, seed)
    for start, stop in _blocks(num_rows, num_trials):
        yield np.unpackbits(coins[start:stop], axis=1, count=num_rows).astype(np.float64)


@lru_cache(maxsize=2)  # all metrics of a sample use the same draws: its own, and those of the mean
def _counts(num_rows: int, num_resamples: int, seed: int) -> np.ndarray:
    import numpy as np

    rng = np.random.default_rng(seed)
    counts = np.empty((num_resamples, num_rows), dtype=np.uint16 if num_rows < 2**16 else np.uint32)
    for start, stop in _blocks(num_rows, num_resamples):
        drawn = rng.choice(num_rows, size=(stop - start, num_rows), replace=True)
        cells = drawn + num_rows * np.arange(stop - start)[:, None]
        counts[start:stop] = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)
    return counts


@lru_cache(maxsize=2)
def _coins(num_rows: int, num_trials: int, seed: int) -> np.ndarray:
    """[num_trials, ceil(num_rows / 8)]: one bit a row."""
    import numpy as np

    rng = np.random.default_rng(seed)
    packed = [
        np.packbits(rng.integers(2, size=(stop - start, num_rows), dtype=bool), axis=1)
        for start, stop in _blocks(num_rows, num_trials)
    ]
    return np.concatenate(packed)


def _blocks(num_rows: int, num_draws: int) -> Iterator[tuple[int, int]]:
    size = max(_BLOCK_CELLS // num_rows // _COINS_OF_A_WORD, 1) * _COINS_OF_A_WORD
    for start in range(0, num_draws, size):
        yield start, min(start + size, num_draws)
