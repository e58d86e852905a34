"""Tables of several systems in a given order, one row a system or one row a mean: of sweeps and of ablations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hexapla.analyze.joint_means import Group, JointMeans, Tested, sides_of
from hexapla.analyze.overview import quality_names
from hexapla.analyze.present import CONTRAST_COLUMNS, Column, Table, Value
from hexapla.analyze.repetition import Training
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.languages import Direction
from hexapla.plan import Layout, Side

OFF_TARGET = "off-target"


@dataclass(frozen=True)
class Systems:
    """Systems in the order in which they are shown.

    Attributes:
        heading: of the column that names them.
        labels: what stands there.
        training: of each; None: not known.
    """

    heading: str
    labels: tuple[Value, ...]
    tables: tuple[ScoreTable, ...]
    training: tuple[Training | None, ...]

    @property
    def layout(self) -> Layout:
        """The hubs and languages by which sides are told: the first system's."""
        return self.tables[0].layout

    @property
    def metrics(self) -> list[str]:
        """The metrics of quality that were asked for in some table."""
        return quality_names(self.tables)

    def groups(self, make: Callable[[Layout, Iterable[Direction]], list[Group]]) -> list[Group]:
        """Groups of all directions that some table has, by `sides_of` or the like."""
        return make(self.layout, dict.fromkeys(direction for table in self.tables for direction in table.directions))


def overview_table(systems: Systems, name: str, title: str, note: str) -> Table:
    """One row a system: what it was trained on, means by side of every metric, off-target rates."""
    columns = [
        Column(systems.heading),
        Column("examples to-hub", 0),
        Column("mean occurrences of a target", 2),
        Column("most occurrences", 0),
    ]
    cells: list[list[Value]] = [
        [label, *_training_cells(training)] for label, training in zip(systems.labels, systems.training, strict=True)
    ]
    sides = systems.groups(sides_of)
    shown = [(metric, group) for metric in systems.metrics for group in sides]
    shown += [(OFF_TARGET, group) for group in sides if group.side is not Side.BETWEEN_HUBS]
    for metric, group in shown:
        columns.append(_figure_column(metric, group))
        for row, table in zip(cells, systems.tables, strict=True):
            row.append(group.mean(table, metric))
    about = (
        "Examples and occurrences: of the training examples into a hub, examples divided by their distinct targets, "
        "and the examples of the most frequent one. Figures are means over the measured directions of a side; "
        "off-target is the percentage of translations in another language than asked for."
    )
    return Table(name, title, tuple(columns), tuple(map(tuple, cells)), f"{note} {about}".strip())


def group_tables(systems: Systems, groups: Sequence[Group], name: str, title: str) -> list[Table]:
    """One table a metric, and one for off-target: one row a system, one column a group; none without groups."""
    if not groups:
        return []
    return [
        Table(
            f"{name}-{metric}",
            f"{title}: {METRICS[metric].title}",
            (Column(systems.heading), *(_figure_column(metric, group, is_metric_named=False) for group in groups)),
            tuple(
                (label, *(group.mean(table, metric) for group in groups))
                for label, table in zip(systems.labels, systems.tables, strict=True)
            ),
            "Means over the measured directions of a group.",
        )
        for metric in (*systems.metrics, OFF_TARGET)
    ]


def means_table(
    systems: Systems,
    joint: JointMeans,
    groups: Sequence[Group],
    tested: Mapping[tuple[str, str], Sequence[Tested]],
    described: tuple[str, str, str, str],
) -> Table:
    """One row a metric, a group and a system: the mean with its interval, and its difference to another system.

    Args:
        tested: a system stands once in each of its lists, or not at all.
        described: name of the table, its title, heading of the column of what is compared with, and a note.
    """
    name, title, compared_with, note = described
    columns = (
        Column("metric"),
        Column("directions of"),
        Column("directions", 0),
        Column(systems.heading),
        Column("mean", 2),
        Column("low", 2),
        Column("high", 2),
        Column(compared_with),
        *CONTRAST_COLUMNS,
    )
    rows: list[tuple[Value, ...]] = []
    for metric in systems.metrics:
        for group in (group for group in groups if joint.has(metric, group)):
            by_system = {test.system: test for test in tested.get((metric, group.name), ())}
            for position, label in enumerate(systems.labels):
                estimate = joint.estimate(metric, group, position)
                size = joint.num_directions(metric, group)
                test = _test_cells(systems, by_system.get(position))
                ends = estimate.interval or (None, None)
                rows.append((METRICS[metric].title, group.name, size, label, estimate.value, *ends, *test))
    return Table(name, title, columns, tuple(rows), note)


def _training_cells(training: Training | None) -> list[Value]:
    if training is None:
        return [None, None, None]
    found = training.repetition[""]
    return [training.num_examples[Side.TO_HUB], found.mean_occurrences, found.max_occurrences]


def _test_cells(systems: Systems, test: Tested | None) -> tuple[Value, ...]:
    if test is None:
        return (None,) * 7
    found = test.difference
    ends = found.interval or (None, None)
    return (systems.labels[test.baseline], found.value, *ends, found.p_value, test.p_holm, test.verdict)


def _figure_column(metric: str, group: Group, *, is_metric_named: bool = True) -> Column:
    title = f"{group.name} {METRICS[metric].title}" if is_metric_named else group.name
    return Column(title, 2, better="high" if METRICS[metric].higher_is_better else "low")
