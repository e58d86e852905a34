"""Systems that differ by one step each, in the order of the steps: what every step changes, tested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hexapla.analyze.joint_means import PROCEDURE, Group, JointMeans, Pair, hubs_of, joint_means, sides_of, tiers_of
from hexapla.analyze.present import DotChart, Section, Table
from hexapla.analyze.repetition import Target, Training
from hexapla.analyze.sweep import value_text
from hexapla.analyze.system_tables import (
    Systems,
    group_tables,
    means_table,
    overview_table,
)
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable


@dataclass(frozen=True)
class AblationStep:
    """One system of an ablation.

    Attributes:
        name: as it is shown, such as `+PMP`.
        scores: of its pool.
        changes: dotted key of the recipe → its value here, where it differs from the others.
        training: direction and target of each example that it was trained on; None: it was not trained.
    """

    name: str
    scores: ScoreTable
    changes: Mapping[str, Any] = field(default_factory=dict)
    training: Iterable[Target] | None = None


def ablation_section(steps: Sequence[AblationStep]) -> Section:
    """The section on an ablation: an overview, means by hub and resource tier, each step against the one before.

    Args:
        steps: at least one, each to be compared with the one before it; their tables are of the same test sets.
    """
    layout = steps[0].scores.layout
    systems = Systems(
        "system",
        tuple(step.name for step in steps),
        tuple(step.scores for step in steps),
        tuple(None if step.training is None else Training.of(step.training, layout) for step in steps),
    )
    sides, hubs, tiers = (systems.groups(make) for make in (sides_of, hubs_of, tiers_of))
    groups = [*sides, *hubs, *tiers]
    joint, notes = joint_means([step.name for step in steps], systems.tables, systems.metrics, groups)
    items: list[Table | DotChart] = [overview_table(systems, "ablation", "Ablation", _what_changed(steps))]
    if joint is not None and len(steps) > 1:
        items += [_chart(systems, joint, metric, groups) for metric in systems.metrics]
    items += group_tables(systems, hubs, "ablation-hubs", "By hub")
    items += group_tables(systems, tiers, "ablation-tiers", "By resources of the language that is no hub")
    if joint is not None and len(steps) > 1:
        items.append(_differences(systems, joint, groups))
    intro = "Systems in the order of the steps that lead from one to the next."
    return Section("ablation", "Ablation", intro, tuple(items), notes)


def _what_changed(steps: Sequence[AblationStep]) -> str:
    told = [
        f"{step.name}: {', '.join(f'{key}={value_text(value)}' for key, value in step.changes.items())}."
        for step in steps
        if step.changes
    ]
    return " ".join(told)


def _differences(systems: Systems, joint: JointMeans, groups: Sequence[Group]) -> Table:
    """Every system against the one before it."""
    pairs: list[Pair] = [(position - 1, position) for position in range(1, len(systems.tables))]
    note = (
        "Means over the directions in which every system has a figure, with 95 % intervals by bootstrap. Each system "
        "is compared with the one before it, on the same segments: paired approximate randomisation "
        f"({PROCEDURE}), p corrected for all tests of a metric (Holm)."
    )
    tested = joint.tested(lambda metric, group: pairs, groups)
    described = ("ablation-means", "Means, and differences to the system before", "system before", note)
    return means_table(systems, joint, groups, tested, described)


def _chart(systems: Systems, joint: JointMeans, metric: str, groups: Sequence[Group]) -> DotChart:
    shown = [group for group in groups if joint.has(metric, group)]
    values = {}
    for position, label in enumerate(systems.labels):
        dots = []
        for group in shown:
            found = joint.estimate(metric, group, position)
            dots.append(None if found.value is None else (found.value, *(found.interval or (None, None))))
        values[str(label)] = tuple(dots)
    title = METRICS[metric].title
    note = "Means over the directions in which every system has a figure, with 95 % intervals by bootstrap."
    return DotChart(
        f"ablation-{metric}-chart", f"{title} by step", title, tuple(group.name for group in shown), values, note
    )
