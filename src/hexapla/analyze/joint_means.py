"""Means of several systems over groups of directions, drawn together, and paired tests between any two of them.

A mean over directions is resampled by rows: the same sentence is drawn in every direction and for every system, so
that intervals and tests hold for the mean and not for its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.progress import Progress
from hexapla.evaluate.compare_material import Place, material_of_tables
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import (
    LEVEL,
    NUM_TRIALS,
    SEED,
    Difference,
    Draw,
    Estimate,
    Resampled,
    combine,
    holm,
    joint_draws,
    resample_metrics,
)
from hexapla.languages import Direction
from hexapla.plan import Layout, Side

PROCEDURE = f"ar:{NUM_TRIALS}|seed:{SEED}"
_TIERS = ("high", "mid", "low")
Pair = tuple[int, int]  # positions of two systems: what is compared with, and what is compared


@dataclass(frozen=True)
class Group:
    """Directions whose mean is taken, such as `to-hub zh`."""

    name: str
    side: Side
    directions: frozenset[Direction]

    def mean(self, table: ScoreTable, metric: str) -> float | None:
        """The mean of a table's figures over those directions of the group that it has; None where it has none."""
        if metric not in table.measured:
            return None
        found = [
            value
            for direction, value in table.by_direction(metric).items()
            if direction in self.directions and value is not None
        ]
        return sum(found) / len(found) if found else None


def sides_of(layout: Layout, directions: Iterable[Direction]) -> list[Group]:
    """To the hubs, from the hubs, between them; those that have directions."""
    listed = list(directions)
    return _filled((side.value, side, (d for d in listed if layout.side(d) is side)) for side in Side)


def hubs_of(layout: Layout, directions: Iterable[Direction]) -> list[Group]:
    """Each hub with the languages that are no hubs, apart for the two sides; none where there is one hub only."""
    if len(layout.hubs) == 1:
        return []
    listed = list(directions)
    return _filled(
        (f"{side.value} {hub}", side, (d for d in listed if layout.side(d) is side and hub in d))
        for side in (Side.TO_HUB, Side.FROM_HUB)
        for hub in layout.hubs
    )


def tiers_of(layout: Layout, directions: Iterable[Direction]) -> list[Group]:
    """High-, mid- and low-resource languages that are no hubs, apart for the two sides; none where all are of one."""
    listed = [(direction, _tier(layout, direction)) for direction in directions]
    if len({tier for _, tier in listed if tier is not None}) < 2:
        return []
    return _filled(
        (f"{side.value} {name}", side, (d for d, tier in listed if tier == name and layout.side(d) is side))
        for side in (Side.TO_HUB, Side.FROM_HUB)
        for name in _TIERS
    )


def _tier(layout: Layout, direction: Direction) -> str | None:
    if layout.side(direction) is Side.BETWEEN_HUBS:
        return None
    return languages.get(direction.source if direction.target in layout.hubs else direction.target).resource


def _filled(groups: Iterable[tuple[str, Side, Iterable[Direction]]]) -> list[Group]:
    made = [Group(name, side, frozenset(directions)) for name, side, directions in groups]
    return [group for group in made if group.directions]


@dataclass(frozen=True)
class Tested:
    """One system against another, by their means over a group of directions.

    Attributes:
        p_holm: corrected for all tests of the metric.
        verdict: `better` or `worse` where the difference is significant after the correction.
    """

    baseline: int
    system: int
    difference: Difference
    p_holm: float
    verdict: str


class JointMeans:
    """Means of systems over groups of directions in which all of them have figures on the same rows.

    Args:
        names: of the systems, as they are shown.
        tables: of the same length.
        metrics: those of quality to compare; one that not every table has, or not with the same signature, is left out.
        groups: of directions.

    Raises:
        UserError: the systems have nothing in common that could be compared.
        CorruptArtifactError: segments on disk are damaged.
    """

    def __init__(
        self, names: Sequence[str], tables: Sequence[ScoreTable], metrics: Sequence[str], groups: Sequence[Group]
    ) -> None:
        named = [replace(table, pool=name) for name, table in zip(names, tables, strict=True)]
        self._material = material_of_tables(named)
        self._metrics = [metric for metric in metrics if metric in self._material.metrics]
        self._by_name = {str(direction): direction for table in tables for direction in table.directions}
        self._defined = {metric: self._places_with(metric, tables) for metric in self._metrics}
        self._weights = {
            (metric, group.name): weights
            for metric in self._metrics
            for group in groups
            if (weights := self._weights_of(metric, group))
        }
        everyone = tuple(range(len(tables)))
        self._resampled = {
            (metric, group): found
            for (metric, group, _), found in self._resample(
                {key: {everyone} for key in self._weights}, is_tested=False
            ).items()
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or differs between the systems, in a sentence each."""
        found: dict[str, list[str]] = {}
        for item in self._material.excluded:
            found.setdefault(item.reason, []).append(f"{item.test or ''} {item.direction}".strip())
        left_out = [f"{len(places)} left out, such as {places[0]}: {reason}" for reason, places in found.items()]
        return (*left_out, *self._material.notes)

    def has(self, metric: str, group: Group) -> bool:
        """Whether all systems have figures there."""
        return (metric, group.name) in self._weights

    def num_directions(self, metric: str, group: Group) -> int:
        """Over how many directions the mean is taken."""
        weights = self._weights[metric, group.name]
        return len({self._places[position].direction for position in weights})

    def estimate(self, metric: str, group: Group, system: int) -> Estimate:
        """The mean of a system with its interval."""
        return self._resampled[metric, group.name].estimate(system)

    def best(self, metric: str, group: Group) -> int:
        """The system with the best mean; of equal ones the first."""
        sign = 1.0 if METRICS[metric].higher_is_better else -1.0
        observed = self._resampled[metric, group.name].observed
        return max(range(len(observed)), key=lambda system: sign * float(observed[system]))

    def tested(
        self, pairs: Callable[[str, Group], Iterable[Pair]], groups: Iterable[Group]
    ) -> dict[tuple[str, str], list[Tested]]:
        """(metric, group name) → the tests of the pairs that `pairs` names there, corrected for all of the metric."""
        wanted: dict[tuple[str, str], list[Pair]] = {}
        systems: dict[tuple[str, str], set[tuple[int, ...]]] = {}
        listed = list(groups)
        for metric in self._metrics:
            for group in (group for group in listed if self.has(metric, group)):
                wanted[metric, group.name] = list(pairs(metric, group))
                systems[metric, group.name] = set(wanted[metric, group.name])
        drawn = self._resample(systems, is_tested=True)
        found: dict[tuple[str, str], list[Tested]] = {}
        for metric in self._metrics:
            raw = [
                (of_group, pair, drawn[metric, of_group, pair].difference(1))
                for (name, of_group), chosen in wanted.items()
                if name == metric
                for pair in chosen
            ]
            known = [(name, pair, difference) for name, pair, difference in raw if difference is not None]
            corrected = holm([difference.p_value for *_, difference in known])
            for (of_group, pair, difference), p_holm in zip(known, corrected, strict=True):
                verdict = _verdict(metric, difference, p_holm)
                found.setdefault((metric, of_group), []).append(Tested(*pair, difference, p_holm, verdict))
        return found

    @property
    def _places(self) -> tuple[Place, ...]:
        return self._material.places

    @cached_property
    def _draws(self) -> list[Draw]:
        return joint_draws([_numbered(place) for place in self._places])

    def _places_with(self, metric: str, tables: Sequence[ScoreTable]) -> list[int]:
        """The places in which every system has a figure."""
        values = [
            {(entry.test, str(entry.direction)): entry.figures[metric].value for entry in table.entries}
            for table in tables
        ]
        return [
            position
            for position, place in enumerate(self._places)
            if metric in place.tracks and all(found[str(place.test), place.direction] is not None for found in values)
        ]

    def _weights_of(self, metric: str, group: Group) -> dict[int, float]:
        """Position of each place of the group → its weight: directions count alike, and so do the tests of each."""
        chosen = [
            position
            for position in self._defined[metric]
            if self._by_name[self._places[position].direction] in group.directions
        ]
        tests = Counter(self._places[position].direction for position in chosen)
        return {position: 1 / len(tests) / tests[self._places[position].direction] for position in chosen}

    def _resample(
        self, wanted: Mapping[tuple[str, str], Iterable[tuple[int, ...]]], *, is_tested: bool
    ) -> dict[tuple[str, str, tuple[int, ...]], Resampled]:
        """(metric, group, systems) → the mean of these systems, the first of them the baseline.

        Places are added one by one: the draws of all of them would not fit in memory.
        """
        sums: dict[tuple[str, str, tuple[int, ...]], Resampled] = {}
        progress = Progress("test means" if is_tested else "means", len(self._places), unit="directions")
        for position, (place, draw) in enumerate(zip(self._places, self._draws, strict=True)):
            here = [key for key in wanted if position in self._weights[key]]
            sets = {(metric, chosen) for metric, group in here for chosen in wanted[metric, group]}
            measured = {
                repr(key): (METRICS[key[0]], [place.tracks[key[0]].statistics[system] for system in key[1]])
                for key in sorted(sets)
            }
            parts = resample_metrics(measured, draw, "randomisation" if is_tested else "bootstrap") if measured else {}
            for metric, group in here:
                weight = self._weights[metric, group][position]
                for chosen in wanted[metric, group]:
                    part, so_far = parts[repr((metric, chosen))], sums.get((metric, group, chosen))
                    sums[metric, group, chosen] = (
                        combine([part], [weight]) if so_far is None else combine([so_far, part], [1.0, weight])
                    )
            progress.advance()
        progress.close()
        return sums


def joint_means(
    names: Sequence[str], tables: Sequence[ScoreTable], metrics: Sequence[str], groups: Sequence[Group]
) -> tuple[JointMeans | None, tuple[str, ...]]:
    """The joint means with their notes; None with the reason where the systems cannot be compared."""
    try:
        found = JointMeans(names, tables, metrics, groups)
    except UserError as error:
        return None, (error.paragraph(),)
    return found, found.notes


def _numbered(place: Place) -> list[tuple[str | None, str, int]]:
    """The rows of a place, told apart by a number should an id occur twice."""
    seen: Counter[str] = Counter()
    rows = []
    for row in place.rows:
        rows.append((place.test, row, seen[row]))
        seen[row] += 1
    return rows


def _verdict(metric: str, difference: Difference, p_holm: float) -> str:
    if difference.value == 0:
        return "equal"
    if p_holm >= LEVEL:
        return "not significant"
    return "better" if (difference.value > 0) is METRICS[metric].higher_is_better else "worse"
