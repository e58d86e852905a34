"""Target repetition: how often an adapter sees the same target while it is trained, and what it repeats afterwards.

LMT (arXiv 2511.07003) traces the decline of translation into a hub to multi-way data, in which every hub sentence is
the target of many examples. Two targets are the same when language and text are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hexapla.analyze.correlation import Feature
from hexapla.analyze.present import Column, LineChart, Point, Section, Series, Table, Value
from hexapla.languages import Direction
from hexapla.plan import Layout, Side

Target = tuple[Direction, str]  # of one example

_INTRO = (
    "How often the same target text occurs among the examples of an adapter, and how often a translation is such a "
    "text though the reference is another one."
)


@dataclass(frozen=True)
class Repetition:
    """The repetition of targets among some examples.

    Attributes:
        num_examples: all of them.
        histogram: number of occurrences → how many distinct targets occur so often, ascending.
    """

    num_examples: int
    histogram: Mapping[int, int]

    @classmethod
    def of(cls, examples: Iterable[Target]) -> Repetition:
        """Count the targets of `examples`."""
        counts = _counts(examples)
        return cls(sum(counts.values()), dict(sorted(Counter(counts.values()).items())))

    @property
    def num_distinct(self) -> int:
        """Distinct targets."""
        return sum(self.histogram.values())

    @property
    def mean_occurrences(self) -> float | None:
        """Examples a distinct target; None without examples."""
        return self.num_examples / self.num_distinct if self.histogram else None

    @property
    def max_occurrences(self) -> int | None:
        """Examples of the most frequent target; None without examples."""
        return max(self.histogram, default=None)

    @property
    def repeated_share(self) -> float | None:
        """Share of the examples whose target occurs more than once; None without examples."""
        return 1 - self.histogram.get(1, 0) / self.num_examples if self.num_examples else None


@dataclass(frozen=True)
class Training:
    """What a system was trained on.

    Attributes:
        num_examples: side → examples.
        repetition: of the targets of its examples into a hub: of all of them under the empty string, and by hub.
    """

    num_examples: Mapping[Side, int]
    repetition: Mapping[str, Repetition]

    @classmethod
    def of(cls, examples: Iterable[Target], layout: Layout) -> Training:
        """Count the examples; those between hubs are not among those into a hub."""
        num_examples = dict.fromkeys(Side, 0)
        by_hub: dict[str, list[Target]] = {hub: [] for hub in layout.hubs}
        for direction, text in examples:
            side = layout.side(direction)
            num_examples[side] += 1
            if side is Side.TO_HUB:
                by_hub[direction.target].append((direction, text))
        repetition = {"": Repetition.of(target for found in by_hub.values() for target in found)}
        return cls(num_examples, repetition | {hub: Repetition.of(found) for hub, found in by_hub.items()})


def occurrences_by_direction(examples: Iterable[Target]) -> dict[Direction, float]:
    """Direction → how often, on average over its examples, an example's target occurs among all of `examples`."""
    listed = list(examples)
    counts = _counts(listed)
    found: dict[Direction, list[int]] = {}
    for direction, text in listed:
        found.setdefault(direction, []).append(counts[direction.target, text])
    return {direction: sum(occurrences) / len(occurrences) for direction, occurrences in found.items()}


def repetition_features(training: Iterable[Iterable[Target]]) -> tuple[Feature, Feature]:
    """What may explain Δ: target repetition in the shared training, and the number of training examples.

    Args:
        training: the examples of every job of the shared training; each direction is in one job.
    """
    occurrences: dict[Direction, float] = {}
    numbers: dict[Direction, float] = {}
    for examples in training:
        listed = list(examples)
        occurrences |= occurrences_by_direction(listed)
        numbers |= {direction: float(number) for direction, number in Counter(d for d, _ in listed).items()}
    return (
        Feature(
            "target-repetition",
            "target repetition in shared training",
            occurrences,
            "How often, on average over the direction's training examples, the target occurs among all examples of "
            "the adapter that serves it.",
        ),
        Feature("examples", "training examples", numbers, "Training examples of the direction."),
    )


@dataclass(frozen=True)
class Memorisation:
    """Translations of one direction that are training targets.

    Attributes:
        num_segments: translations looked at.
        num_reproduced: those that equal a training target verbatim, and not their reference.
        num_known_references: references that equal a training target verbatim.
    """

    num_segments: int
    num_reproduced: int
    num_known_references: int

    @classmethod
    def of(cls, outputs: Iterable[tuple[str, str]], training_targets: Collection[str]) -> Memorisation:
        """Compare (hypothesis, reference) pairs with the targets that the adapter saw in the target language.

        Blanks at both ends do not count.
        """
        known = {text.strip() for text in training_targets}
        num_segments = num_reproduced = num_known_references = 0
        for hypothesis, reference in outputs:
            num_segments += 1
            num_reproduced += hypothesis.strip() in known and hypothesis.strip() != reference.strip()
            num_known_references += reference.strip() in known
        return cls(num_segments, num_reproduced, num_known_references)

    @classmethod
    def total(cls, parts: Iterable[Memorisation]) -> Memorisation:
        """The sums over several directions."""
        listed = list(parts)
        return cls(
            sum(part.num_segments for part in listed),
            sum(part.num_reproduced for part in listed),
            sum(part.num_known_references for part in listed),
        )


def memorisation(
    outputs: Mapping[Direction, Sequence[tuple[str, str]]],
    training: Mapping[str, Iterable[Target]],
    routes: Mapping[Direction, Collection[str]],
) -> dict[Direction, Memorisation]:
    """Memorisation in every direction that has segments and an adapter.

    Args:
        outputs: direction → (hypothesis, reference) of its segments.
        training: job → its examples.
        routes: direction → the jobs whose examples its adapter comes from: one, or several for a merged adapter.
    """
    known: dict[tuple[str, str], set[str]] = {}  # (job, target language) → texts
    for job, examples in training.items():
        for direction, text in examples:
            known.setdefault((job, direction.target), set()).add(text)
    return {
        direction: Memorisation.of(
            segments, set().union(*(known.get((job, direction.target), set()) for job in routes[direction]))
        )
        for direction, segments in outputs.items()
        if segments and routes.get(direction)
    }


def repetition_section(
    training: Mapping[str, Iterable[Target]],
    memorised: Mapping[str, Mapping[Direction, Memorisation]] | None = None,
) -> Section:
    """The section on target repetition.

    Args:
        training: job → its examples, in the order to show.
        memorised: pool → what `memorisation` found; None or empty: nothing was translated.
    """
    found = {job: Repetition.of(examples) for job, examples in training.items()}
    items: list[Table | LineChart] = [_adapter_table(found), *_histogram(found)]
    notes: tuple[str, ...] = ()
    if memorised:
        items.append(_memorisation_table(memorised))
    else:
        notes = ("No translations were given, so reproduced training targets were not looked for.",)
    return Section("target-repetition", "Target repetition", _INTRO, tuple(items), notes)


def _counts(examples: Iterable[Target]) -> Counter[tuple[str, str]]:
    return Counter((direction.target, text) for direction, text in examples)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _adapter_table(found: Mapping[str, Repetition]) -> Table:
    columns = (
        Column("adapter"),
        Column("examples", 0),
        Column("distinct targets", 0),
        Column("mean occurrences", 2),
        Column("most occurrences", 0),
        Column("examples with a repeated target (%)", 1),
    )
    rows: list[tuple[Value, ...]] = [
        (
            job,
            one.num_examples,
            one.num_distinct,
            one.mean_occurrences,
            one.max_occurrences,
            _percent(one.repeated_share),
        )
        for job, one in found.items()
    ]
    note = (
        "Among the training examples of each adapter. Two targets are the same when language and text are the same, "
        "character for character. Mean occurrences: examples divided by distinct targets."
    )
    return Table("target-repetition", "Target repetition by adapter", columns, tuple(rows), note)


def _histogram(found: Mapping[str, Repetition]) -> tuple[Table, LineChart]:
    """How many distinct targets occur how often, and which share of the examples they are."""
    columns = (
        Column("adapter"),
        Column("occurrences", 0),
        Column("distinct targets", 0),
        Column("examples", 0),
        Column("examples (%)", 2),
    )
    rows: list[tuple[Value, ...]] = [
        (job, times, number, times * number, 100 * times * number / one.num_examples)
        for job, one in found.items()
        for times, number in one.histogram.items()
    ]
    note = "How many distinct targets occur so often, and how many of the adapter's examples have such a target."
    # adapters with the same histogram, such as those for one direction each, share a line
    lines: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for job, one in found.items():
        if one.histogram:
            lines.setdefault(tuple(one.histogram.items()), []).append(job)
    series = []
    for histogram, jobs in lines.items():
        name = jobs[0] if len(jobs) == 1 else f"{jobs[0]} and {len(jobs) - 1} more"
        total = sum(times * number for times, number in histogram)
        points = tuple(
            Point(times, 100 * times * number / total, label=f"{number} distinct targets, {times} times each")
            for times, number in histogram
        )
        series.append(Series(name, points))
    chart_note = (
        "Percentage of an adapter's examples whose target occurs so often among them. Adapters with the very same "
        "figures share a line."
    )
    chart = LineChart(
        "target-repetition-histogram-chart",
        "Examples by occurrences of their target",
        "occurrences of the target",
        "examples (%)",
        tuple(series),
        chart_note,
    )
    return Table("target-repetition-histogram", "Occurrences of targets", columns, tuple(rows), note), chart


def _memorisation_table(memorised: Mapping[str, Mapping[Direction, Memorisation]]) -> Table:
    columns = (
        Column("pool"),
        Column("direction"),
        Column("segments", 0),
        Column("reproduced training targets", 0),
        Column("reproduced training targets (%)", 2, better="low"),
        Column("references among training targets (%)", 2),
    )
    rows = []
    for pool, directions in memorised.items():
        rows.append(_memorisation_row(pool, "all", Memorisation.total(directions.values())))
        rows += [_memorisation_row(pool, str(direction), one) for direction, one in directions.items()]
    note = (
        "Reproduced: the translation equals, character for character (blanks at both ends aside), a target in the same "
        "language that the direction's adapter was trained on, and the reference is another text. Beside it how many "
        "references are themselves such training targets. Directions without test segments are left out."
    )
    return Table("reproduced-targets", "Reproduced training targets", columns, tuple(rows), note)


def _memorisation_row(pool: str, direction: str, found: Memorisation) -> tuple[Value, ...]:
    number = found.num_segments
    return (
        pool,
        direction,
        number,
        found.num_reproduced,
        100 * found.num_reproduced / number if number else None,
        100 * found.num_known_references / number if number else None,
    )
