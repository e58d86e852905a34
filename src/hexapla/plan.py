"""From languages and strategies to jobs and routes, as data.

A strategy says which directions share an adapter (methods of DAT, arXiv 2502.11223, table 1). Planning loads no
model and reads no corpus: the plan can be shown, costed, tested and resumed before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hexapla.common.errors import UserError, nearest
from hexapla.languages import Direction


class Side(StrEnum):
    """Where a direction stands towards the hubs."""

    TO_HUB = "to-hub"
    FROM_HUB = "from-hub"
    BETWEEN_HUBS = "between-hubs"


@dataclass(frozen=True)
class Layout:
    """Languages, hubs and groups of a recipe, as canonical codes.

    Directions are every hub with every other language, both ways; two hubs also translate into each other.
    """

    languages: tuple[str, ...]
    hubs: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        _check_layout(self)

    @property
    def others(self) -> tuple[str, ...]:
        """The languages that are no hubs."""
        return tuple(code for code in self.languages if code not in self.hubs)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction, in the order of the recipe's languages."""
        pairs = [
            (a, b) for a in self.languages for b in self.languages if a != b and (a in self.hubs or b in self.hubs)
        ]
        return tuple(Direction(a, b) for a, b in pairs)

    def side(self, direction: Direction) -> Side:
        """Which side of the hubs `direction` is on."""
        if direction.source in self.hubs and direction.target in self.hubs:
            return Side.BETWEEN_HUBS
        return Side.FROM_HUB if direction.source in self.hubs else Side.TO_HUB

    def group_of(self, code: str) -> str:
        """Name of the group of a language that is no hub."""
        return next(name for name, members in self.groups.items() if code in members)


@dataclass(frozen=True)
class Job:
    """One adapter to train: its name and the directions whose examples it sees.

    The name follows from the directions alone (given the layout), so that equal jobs of two strategies are one job and
    get the same seed.
    """

    name: str
    directions: tuple[Direction, ...]


@dataclass(frozen=True)
class Plan:
    """The distinct jobs of all strategies, and each strategy's routes: direction → name of its job."""

    layout: Layout
    jobs: tuple[Job, ...]
    routes: Mapping[str, Mapping[Direction, str]]

    def jobs_of(self, strategy: str) -> tuple[Job, ...]:
        """The jobs that the pool of one strategy is made of."""
        used = set(self.routes[strategy].values())
        return tuple(job for job in self.jobs if job.name in used)


def make_plan(layout: Layout, strategies: Iterable[str]) -> Plan:
    """Plan every strategy; a job that several of them need appears once.

    Raises:
        UserError: a strategy is unknown or named twice, or the layout leaves no directions.
    """
    jobs: dict[frozenset[Direction], Job] = {}
    routes: dict[str, dict[Direction, str]] = {}
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise UserError(
                f"There is no strategy {strategy!r}.", where="train.strategy", hint=nearest(strategy, STRATEGIES)
            )
        if strategy in routes:
            raise UserError(f"The strategy {strategy!r} is named twice.", where="train.strategy")
        routes[strategy] = {}
        for directions in STRATEGIES[strategy](layout):
            job = jobs.setdefault(frozenset(directions), Job(job_name(layout, directions), directions))
            routes[strategy].update(dict.fromkeys(directions, job.name))
    return Plan(layout, tuple(jobs.values()), routes)


def job_name(layout: Layout, directions: tuple[Direction, ...]) -> str:
    """The name of the adapter for a set of directions.

    `de-en` for a single direction, `all` for every direction, otherwise the members' common description: `en-GROUP`
    (from the hub), `GROUP-en` (to the hub) or `GROUP` (both). Group names thus end up in file names.
    """
    if len(directions) == 1:
        return str(directions[0])
    if set(directions) == set(layout.directions):
        return "all"
    sources = {direction.source for direction in directions}
    targets = {direction.target for direction in directions}
    groups = sorted({layout.group_of(code) for code in sources | targets if code not in layout.hubs})
    label = "+".join(groups)
    sides = {layout.side(direction) for direction in directions}
    if sides == {Side.FROM_HUB}:
        return f"{'+'.join(sorted(sources))}-{label}"
    if sides == {Side.TO_HUB}:
        return f"{label}-{'+'.join(sorted(targets))}"
    return label


def _multilingual(layout: Layout) -> list[tuple[Direction, ...]]:
    return [layout.directions]


def _group(layout: Layout) -> list[tuple[Direction, ...]]:
    """One adapter a group, both ways and for all hubs."""
    within = [
        tuple(d for d in layout.directions if d.source in members or d.target in members)
        for members in layout.groups.values()
    ]
    return [directions for directions in within if directions] + _between_hubs(layout)


def _separate(layout: Layout) -> list[tuple[Direction, ...]]:
    return [(direction,) for direction in layout.directions]


def _direction_aware(layout: Layout) -> list[tuple[Direction, ...]]:
    """DAT: to-hub one adapter a language, from-hub one adapter a group; per hub when there are several."""
    to_hub = [(direction,) for direction in layout.directions if layout.side(direction) is Side.TO_HUB]
    from_hub = [
        tuple(Direction(hub, code) for code in members) for hub in layout.hubs for members in layout.groups.values()
    ]
    return to_hub + [directions for directions in from_hub if directions] + _between_hubs(layout)


def _between_hubs(layout: Layout) -> list[tuple[Direction, ...]]:
    """Hub to hub belongs to no group: one adapter a direction, as if trained separately."""
    return [(direction,) for direction in layout.directions if layout.side(direction) is Side.BETWEEN_HUBS]


STRATEGIES: dict[str, Callable[[Layout], list[tuple[Direction, ...]]]] = {
    "multilingual": _multilingual,
    "group": _group,
    "separate": _separate,
    "direction-aware": _direction_aware,
}


def _check_layout(layout: Layout) -> None:
    def fail(where: str, what: str, hint: str | None = None) -> None:
        raise UserError(what, where=where, hint=hint)

    for where, codes in (("languages", layout.languages), ("hubs", layout.hubs)):
        if twice := sorted({code for code in codes if codes.count(code) > 1}):
            fail(where, f"Named twice: {', '.join(twice)}.")
    if not layout.hubs:
        fail("hubs", "At least one hub language is needed.")
    if strangers := [code for code in layout.hubs if code not in layout.languages]:
        fail("hubs", f"Not among the recipe's languages: {', '.join(strangers)}.", "Add them to languages.")
    if len(layout.languages) < 2:
        fail("languages", "At least two languages are needed: a hub and one other.")
    members = [code for codes in layout.groups.values() for code in codes]
    if twice := sorted({code for code in members if members.count(code) > 1}):
        fail("groups", f"In more than one group: {', '.join(twice)}.")
    if strangers := [code for code in members if code not in layout.others]:
        fail("groups", f"In a group but not a non-hub language of the recipe: {', '.join(strangers)}.")
    if homeless := [code for code in layout.others if code not in members]:
        fail("groups", f"In no group: {', '.join(homeless)}.", "Every language that is no hub needs exactly one group.")
    for name in layout.groups:
        if not name or not all(character.isalnum() or character in "_." for character in name):
            fail("groups", f"The group name {name!r} would end up in file names.", "Use letters, digits, '_' and '.'.")
        if name == "all" or name in layout.languages:
            fail("groups", f"The group name {name!r} is taken: it is the name of an adapter or of a language.")
