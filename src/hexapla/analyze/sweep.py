"""One setting at several values: quality by side, target repetition and off-target over it, in tables and one figure.

For LMT's strategic downsampling (arXiv 2511.07003) the setting is the share of examples into a hub that is kept; the
paper finds an inverted V for translation into a hub, whose best value is near 5 %, and little change from a hub.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hexapla.analyze.joint_means import PROCEDURE, Group, JointMeans, Pair, hubs_of, joint_means, sides_of
from hexapla.analyze.present import LineChart, PanelChart, Point, Section, Series, Table, Value
from hexapla.analyze.repetition import Target, Training
from hexapla.analyze.system_tables import (
    OFF_TARGET,
    Systems,
    group_tables,
    means_table,
    overview_table,
)
from hexapla.analyze.tables import file_stem
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.plan import Side

_BEST = "best"


@dataclass(frozen=True)
class SweepPoint:
    """One value of a sweep.

    Attributes:
        value: as the recipe has it.
        scores: of the pool that was made with it.
        training: direction and target of each example that it was trained on.
    """

    value: Any
    scores: ScoreTable
    training: Iterable[Target]


def sweep_section(points: Sequence[SweepPoint], *, key: str) -> Section:
    """The section on a sweep: an overview, means with tests against the best value, the figure.

    Numbers are shown in ascending order, other values in the order given.

    Args:
        points: at least one; their tables are of the same test sets.
        key: dotted, of the recipe, such as `data.downsample.to_hub`.
    """
    ordered = sorted(points, key=lambda point: point.value) if all(map(_is_numeric, points)) else list(points)
    systems = Systems(
        key.rpartition(".")[2],
        tuple(_cell(point.value) for point in ordered),
        tuple(point.scores for point in ordered),
        tuple(Training.of(point.training, ordered[0].scores.layout) for point in ordered),
    )
    stem = f"sweep-{file_stem(key)}"
    sides, hubs = systems.groups(sides_of), systems.groups(hubs_of)
    groups = _in_order(sides, hubs)
    names = [f"{key}={value_text(point.value)}" for point in ordered]
    joint, notes = joint_means(names, systems.tables, systems.metrics, groups)
    items: list[Table | PanelChart] = [
        overview_table(systems, stem, f"Sweep of {key}", ""),
        _figure(systems, joint, sides, (f"{stem}-chart", f"Quality, target repetition and off-target over {key}", key)),
        *group_tables(systems, hubs, f"{stem}-hubs", "By hub"),
    ]
    if hubs:
        items.append(_figure(systems, joint, hubs, (f"{stem}-hubs-chart", f"The same by hub over {key}", key)))
    if joint is not None and len(ordered) > 1:
        items.append(_means(systems, joint, groups, stem))
    intro = (
        f"The same recipe with {key} at {len(ordered)} values: quality into and from the hubs, how often the model saw "
        "the same target while it was trained, and how often it answers in another language."
    )
    return Section(stem.replace(".", "-"), f"Sweep of {key}", intro, tuple(items), notes)


def value_text(value: Any) -> str:
    """A value as a recipe writes it, numbers without digits that say nothing: `0.005`, `true`, `en, zh`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(value_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {value_text(each)}" for name, each in value.items())
    return str(value)


def _is_numeric(point: SweepPoint) -> bool:
    value = point.value
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _cell(value: Any) -> Value:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else value_text(value)


def _in_order(sides: Sequence[Group], hubs: Sequence[Group]) -> list[Group]:
    """Each side with its hubs behind it."""
    return [group for side in sides for group in (side, *(hub for hub in hubs if hub.side is side.side))]


def _means(systems: Systems, joint: JointMeans, groups: Sequence[Group], stem: str) -> Table:
    """Every value against the best of the same metric and group."""

    def against_the_best(metric: str, group: Group) -> list[Pair]:
        best = joint.best(metric, group)
        return [(best, position) for position in range(len(systems.tables)) if position != best]

    note = (
        "Means over the directions in which every value has a figure, with 95 % intervals by bootstrap. Each value "
        "is compared with the best one of the same metric and directions, on the same segments: paired approximate "
        f"randomisation ({PROCEDURE}), p corrected for all tests of a metric (Holm). The best value was chosen by "
        "these very figures, which makes differences to it look larger than they are."
    )
    tested = joint.tested(against_the_best, groups)
    described = (f"{stem}-means", "Means, and differences to the best value", _BEST, note)
    return means_table(systems, joint, groups, tested, described)


def _figure(
    systems: Systems, joint: JointMeans | None, groups: Sequence[Group], described: tuple[str, str, str]
) -> PanelChart:
    """One panel a metric, one for target repetition, one for off-target; the values at equal distances.

    Args:
        described: name of the figure, its title, and what stands at its x axis.
    """
    name, title, x_label = described
    x_names = tuple(value_text(label) for label in systems.labels)
    contents = [
        (METRICS[metric].title, [_quality(systems, joint, metric, group) for group in groups])
        for metric in systems.metrics
    ]
    contents.append(("mean occurrences of a target", _repetition(systems, groups)))
    contents.append(("off-target (%)", [_plain(systems, OFF_TARGET, group) for group in groups]))
    panels = tuple(
        LineChart(f"{name}-{number}", label, x_label, label, tuple(one for one in series if one.points), "", x_names)
        for number, (label, series) in enumerate(contents)
    )
    note = (
        "Values stand at equal distances. Quality and off-target: means over directions, with 95 % intervals of "
        "quality. Occurrences: training examples into a hub, divided by their distinct targets."
    )
    return PanelChart(name, title, panels, note)


def _quality(systems: Systems, joint: JointMeans | None, metric: str, group: Group) -> Series:
    """With intervals where the values can be compared."""
    if joint is None or not joint.has(metric, group):
        return _plain(systems, metric, group)
    estimates = [joint.estimate(metric, group, position) for position in range(len(systems.tables))]
    return Series(
        group.name,
        tuple(
            Point(position, found.value, *(found.interval or (None, None)))
            for position, found in enumerate(estimates)
            if found.value is not None
        ),
    )


def _plain(systems: Systems, metric: str, group: Group) -> Series:
    means = [group.mean(table, metric) for table in systems.tables]
    return Series(group.name, tuple(Point(x, mean) for x, mean in enumerate(means) if mean is not None))


def _repetition(systems: Systems, groups: Sequence[Group]) -> list[Series]:
    """To the hubs together, and to each where there are several."""
    hubs = systems.layout.hubs
    keys = {Side.TO_HUB.value: ""} | {f"{Side.TO_HUB.value} {hub}": hub for hub in hubs}
    found = []
    for group in (group for group in groups if group.name in keys):
        means = [
            None if training is None else training.repetition[keys[group.name]].mean_occurrences
            for training in systems.training
        ]
        points = tuple(Point(x, mean) for x, mean in enumerate(means) if mean is not None)
        found.append(Series(group.name, points))
    return found
