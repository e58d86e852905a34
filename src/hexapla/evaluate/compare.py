"""Compare systems that translated the same segments: differences to the first, tested, direction by direction.

What is compared comes from `compare_material` (scores of pools) or `compare_files` (plain files). Every difference is
tested on the statistics of the segments; p-values are corrected for their number by Holm's procedure, over all
directions and systems of one metric, and apart from these over its means.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hexapla.common.progress import Progress
from hexapla.evaluate.compare_material import Exclusion, Material, Place, Track
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.significance import (
    LEVEL,
    NUM_RESAMPLES,
    NUM_TRIALS,
    SEED,
    Difference,
    Draw,
    Estimate,
    Resampled,
    Test,
    combine,
    holm,
    joint_draws,
    resample_metrics,
)
from hexapla.plan import Side

DEFAULT_TEST: Test = "randomisation"
NUM_SEGMENTS_SHOWN = 3
Verdict = Literal["better", "worse", "open", "equal"]


@dataclass(frozen=True)
class Contrast:
    """A system against the baseline.

    Attributes:
        difference: figure of the system minus figure of the baseline; None where one of them has no figure.
        p_holm: corrected for all tests of its family.
        verdict: `better` or `worse` where the difference is significant after the correction; `equal` where there is
            no difference at all; else `open`.
    """

    system: str
    difference: Difference | None
    p_holm: float | None = None
    verdict: Verdict = "open"


@dataclass(frozen=True)
class DirectionComparison:
    """One metric on one test set in one direction.

    Attributes:
        figures: of each system, the baseline first.
        contrasts: of each system but the baseline.
    """

    test: str | None
    direction: str
    side: Side | None
    num_segments: int
    signature: str
    figures: tuple[Estimate, ...]
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class MeanComparison:
    """The mean of one metric over directions in which every system has a figure, as `ScoreTable.mean` takes it.

    Attributes:
        side: None: of all directions.
    """

    side: Side | None
    num_directions: int
    figures: tuple[Estimate, ...]
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class Tally:
    """In how many comparisons (test sets and directions) a system is better or worse than the baseline.

    Attributes:
        better: of these, `significantly_better` after the correction; `worse` likewise.
    """

    system: str
    better: int
    worse: int
    equal: int
    significantly_better: int
    significantly_worse: int


@dataclass(frozen=True)
class MetricComparison:
    """All that is compared by one metric.

    Attributes:
        num_tests: for which the p-values of the directions were corrected.
        num_mean_tests: for which those of the means were corrected.
        means: empty where there is one direction only.
    """

    metric: str
    title: str
    higher_is_better: bool
    is_failure: bool
    num_tests: int
    num_mean_tests: int
    directions: tuple[DirectionComparison, ...]
    means: tuple[MeanComparison, ...]
    tallies: tuple[Tally, ...]


@dataclass(frozen=True)
class SegmentDifference:
    """A segment that a metric scores differently for a system and for the baseline."""

    metric: str
    system: str
    test: str | None
    direction: str
    row: str
    source: str | None
    reference: str | None
    baseline_hypothesis: str
    hypothesis: str
    baseline_score: float
    score: float


@dataclass(frozen=True)
class Comparison:
    """Everything that `hexapla compare` says, unrounded.

    Attributes:
        systems: names; the first is the baseline.
        procedure: of the test, as sacreBLEU writes it: `ar:10000|seed:12345`; intervals are `bs:1000|seed:12345`.
        segments: for every metric and system those that differ most, the largest difference first.
    """

    systems: tuple[str, ...]
    test: Test
    procedure: str
    metrics: tuple[MetricComparison, ...]
    segments: tuple[SegmentDifference, ...]
    excluded: tuple[Exclusion, ...]
    notes: tuple[str, ...]


def compare(
    material: Material, *, test: Test = DEFAULT_TEST, num_segments_shown: int = NUM_SEGMENTS_SHOWN
) -> Comparison:
    """Compare all systems with the first.

    Args:
        num_segments_shown: for every metric and system, of the segments that differ most.
    """
    metrics = tuple(metric for metric in material.metrics if any(metric in place.tracks for place in material.places))
    alone, joint = _resample_all(material.places, metrics, test)
    compared = tuple(_compare_metric(metric, material, alone, joint) for metric in metrics)
    return Comparison(
        systems=material.systems,
        test=test,
        procedure=f"ar:{NUM_TRIALS}|seed:{SEED}" if test == "randomisation" else f"bs:{NUM_RESAMPLES}|seed:{SEED}",
        metrics=compared,
        segments=tuple(_most_different(metrics, material, num_segments_shown)),
        excluded=material.excluded,
        notes=(*material.notes, *_limits_of_the_test(compared, test)),
    )


_Results = dict[tuple[str, int], Resampled]  # (metric, position of the place) → figures


def _resample_all(places: Sequence[Place], metrics: Sequence[str], test: Test) -> tuple[_Results, _Results]:
    """Figures of every place by itself, and of all places drawn together for the means."""
    draws = joint_draws([[(place.test, row) for row in _distinct(place.rows)] for place in places])
    progress = Progress("compare", len(places), unit="directions")
    alone: _Results = {}
    joint: _Results = {}
    for position, (place, draw) in enumerate(zip(places, draws, strict=True)):
        measured = {
            metric: (METRICS[metric], place.tracks[metric].statistics) for metric in metrics if metric in place.tracks
        }
        own = resample_metrics(measured, Draw(len(place.rows)), test)
        shared = own if draw.is_plain or len(places) == 1 else resample_metrics(measured, draw, test)
        alone |= {(metric, position): found for metric, found in own.items()}
        joint |= {(metric, position): found for metric, found in shared.items()}
        progress.advance()
    progress.close()
    return alone, joint


def _distinct(rows: Sequence[str]) -> list[tuple[str, int]]:
    """Rows with a number, should an id occur twice."""
    seen: Counter[str] = Counter()
    numbered = []
    for row in rows:
        numbered.append((row, seen[row]))
        seen[row] += 1
    return numbered


def _compare_metric(metric: str, material: Material, alone: _Results, joint: _Results) -> MetricComparison:
    """One metric in all places, and its means."""
    systems, higher_is_better = material.systems, METRICS[metric].higher_is_better
    places = {position: place for position, place in enumerate(material.places) if metric in place.tracks}
    contrasts = _corrected([_contrasts(alone[metric, position], systems) for position in places], higher_is_better)
    directions = tuple(
        DirectionComparison(
            test=place.test,
            direction=place.direction,
            side=place.side,
            num_segments=len(place.rows),
            signature=place.tracks[metric].signature,
            figures=_figures(alone[metric, position], systems),
            contrasts=of_place,
        )
        for (position, place), of_place in zip(places.items(), contrasts, strict=True)
    )
    means = _means(places, {position: joint[metric, position] for position in places}, systems)
    of_means = _corrected([mean.contrasts for mean in means], higher_is_better)
    return MetricComparison(
        metric=metric,
        title=METRICS[metric].title,
        higher_is_better=higher_is_better,
        is_failure=METRICS[metric].is_failure,
        num_tests=_num_tests(contrasts),
        num_mean_tests=_num_tests(of_means),
        directions=directions,
        means=tuple(replace(mean, contrasts=of_mean) for mean, of_mean in zip(means, of_means, strict=True)),
        tallies=tuple(_tally(directions, position, higher_is_better) for position in range(len(systems) - 1)),
    )


def _figures(resampled: Resampled, systems: Sequence[str]) -> tuple[Estimate, ...]:
    return tuple(resampled.estimate(position) for position in range(len(systems)))


def _contrasts(resampled: Resampled, systems: Sequence[str]) -> tuple[Contrast, ...]:
    return tuple(
        Contrast(system, resampled.difference(position)) for position, system in enumerate(systems) if position > 0
    )


def _corrected(families: Sequence[tuple[Contrast, ...]], higher_is_better: bool) -> list[tuple[Contrast, ...]]:
    """The same contrasts with their p-values corrected for all of them, and what follows."""
    corrected = iter(
        holm([found.difference.p_value for family in families for found in family if found.difference is not None])
    )
    return [
        tuple(
            contrast if contrast.difference is None else _judged(contrast, next(corrected), higher_is_better)
            for contrast in family
        )
        for family in families
    ]


def _judged(contrast: Contrast, p_holm: float, higher_is_better: bool) -> Contrast:
    assert contrast.difference is not None, "only what has a p-value is corrected"
    value = contrast.difference.value
    verdict: Verdict = "open"
    if value == 0:
        verdict = "equal"
    elif p_holm < LEVEL:
        verdict = "better" if (value > 0) is higher_is_better else "worse"
    return replace(contrast, p_holm=p_holm, verdict=verdict)


def _num_tests(families: Iterable[tuple[Contrast, ...]]) -> int:
    return sum(contrast.difference is not None for family in families for contrast in family)


def _means(
    places: Mapping[int, Place], joint: Mapping[int, Resampled], systems: Sequence[str]
) -> tuple[MeanComparison, ...]:
    """Means of all directions, and of each side where there are several; none of a single direction.

    Directions in which a system has no figure are left out for all: their means would be of different directions.
    """
    import numpy as np

    defined = [position for position in places if not np.isnan(joint[position].observed).any()]
    sides = [side for side in Side if any(places[position].side is side for position in defined)]
    means = []
    for side in (None, *(sides if len(sides) > 1 else ())):
        chosen = [position for position in defined if side is None or places[position].side is side]
        tests = Counter(places[position].direction for position in chosen)
        if side is None and len(tests) < 2:
            return ()
        weights = [1 / len(tests) / tests[places[position].direction] for position in chosen]
        mean = combine([joint[position] for position in chosen], weights)
        means.append(MeanComparison(side, len(tests), _figures(mean, systems), _contrasts(mean, systems)))
    return tuple(means)


def _tally(directions: Sequence[DirectionComparison], position: int, higher_is_better: bool) -> Tally:
    contrasts = [direction.contrasts[position] for direction in directions]
    gains = [
        contrast.difference.value if higher_is_better else -contrast.difference.value
        for contrast in contrasts
        if contrast.difference is not None
    ]
    return Tally(
        system=contrasts[0].system,
        better=sum(gain > 0 for gain in gains),
        worse=sum(gain < 0 for gain in gains),
        equal=sum(gain == 0 for gain in gains),
        significantly_better=sum(contrast.verdict == "better" for contrast in contrasts),
        significantly_worse=sum(contrast.verdict == "worse" for contrast in contrasts),
    )


def _limits_of_the_test(metrics: Sequence[MetricComparison], test: Test) -> Iterator[str]:
    smallest = 1 / ((NUM_TRIALS if test == "randomisation" else NUM_RESAMPLES) + 1)
    largest_family = max((metric.num_tests for metric in metrics), default=0)
    if smallest * largest_family >= LEVEL:
        yield (
            f"The smallest p that {test} can give is {smallest:.4f}: after the correction for {largest_family} tests "
            "no difference in a single direction can be significant."
        )


def _most_different(metrics: Sequence[str], material: Material, number: int) -> Iterator[SegmentDifference]:
    """For every metric of quality (of failures, where there is none of quality) and system the segments to look at."""
    quality = [metric for metric in metrics if not METRICS[metric].is_failure]
    for metric, position in itertools.product(quality or metrics, range(1, len(material.systems))):
        differing = (
            (place, segment)
            for place in material.places
            if metric in place.tracks
            for segment in range(len(place.rows))
            if _gap(place.tracks[metric], position, segment) > 0
        )
        for place, segment in heapq.nlargest(
            number, differing, key=lambda found: _gap(found[0].tracks[metric], position, found[1])
        ):
            yield _segment_difference(metric, material, place, position, segment)


def _gap(track: Track, position: int, segment: int) -> float:
    first, second = track.scores[0][segment], track.scores[position][segment]
    return 0.0 if first is None or second is None else abs(second - first)


def _segment_difference(
    metric: str, material: Material, place: Place, position: int, segment: int
) -> SegmentDifference:
    first, second = (place.tracks[metric].scores[system][segment] for system in (0, position))
    assert first is not None, "a gap of scores was found"
    assert second is not None, "a gap of scores was found"
    return SegmentDifference(
        metric=metric,
        system=material.systems[position],
        test=place.test,
        direction=place.direction,
        row=place.rows[segment],
        source=None if place.sources is None else place.sources[segment],
        reference=None if place.references is None else place.references[segment],
        baseline_hypothesis=place.hypotheses[0][segment],
        hypothesis=place.hypotheses[position][segment],
        baseline_score=first,
        score=second,
    )
