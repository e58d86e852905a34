"""From languages and strategies to jobs and routes, as data.

A strategy says which directions share an adapter (methods of DAT, arXiv 2502.11223, table 1). Planning loads no
model and reads no corpus: the plan can be shown, costed, tested and resumed before anything runs.

The analysis of conflict and synergy compares the shared adapter with adapters of single directions, and follows it over
growing sets of languages. A plan for it holds these pools too: `multilingual`, `separate`, and `multilingual@N` for
every set of N languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError, nearest
from hexapla.languages import Direction

SHARED = "multilingual"
"""The strategy that shares one adapter between all directions."""
SEPARATE = "separate"
"""The strategy that shares nothing: what shared training is compared with."""

_LONGEST_LIST = 32  # characters of an adapter's name that lists languages: about ten of them


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

    def restricted(self, codes: Iterable[str]) -> Layout:
        """The layout of some of the languages, all hubs among them; order and groups stay, empty groups go.

        Raises:
            UserError: a hub is missing, or a hub has no other language left.
        """
        kept = set(codes)
        groups = {name: tuple(code for code in members if code in kept) for name, members in self.groups.items()}
        if missing := [hub for hub in self.hubs if hub not in kept]:
            raise UserError(f"The hub {missing[0]} is not among these languages: {', '.join(sorted(kept))}.")
        return Layout(
            tuple(code for code in self.languages if code in kept),
            self.hubs,
            {name: members for name, members in groups.items() if members},
        )


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
    """The distinct jobs of all pools, and each pool's routes: direction → name of its job.

    Attributes:
        routes: pool name (a strategy, or `multilingual@N`) → its routes.
        layouts: pool name → the languages that it serves.
        strategies: the pools that were asked for; the others are there for the analysis of conflict and synergy.
    """

    layout: Layout
    jobs: tuple[Job, ...]
    routes: Mapping[str, Mapping[Direction, str]]
    layouts: Mapping[str, Layout]
    strategies: tuple[str, ...]

    @property
    def for_analysis(self) -> tuple[str, ...]:
        """The pools that nobody asked for but the analysis."""
        return tuple(name for name in self.routes if name not in self.strategies)

    def jobs_of(self, pool: str) -> tuple[Job, ...]:
        """The jobs that a pool is made of."""
        used = set(self.routes[pool].values())
        return tuple(job for job in self.jobs if job.name in used)


def make_plan(layout: Layout, strategies: Iterable[str], sets: Sequence[int | Sequence[str]] | None = None) -> Plan:
    """Plan every strategy; a job that several pools need appears once.

    Args:
        sets: growing sets of languages for the analysis of conflict and synergy, see `language_sets`; empty: the
            analysis on all languages only; None: no analysis.

    Raises:
        UserError: a strategy is unknown or named twice, the layout leaves no directions, or the sets are impossible.
    """
    asked: list[str] = []
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise UserError(
                f"There is no strategy {strategy!r}.", where="train.strategy", hint=nearest(strategy, STRATEGIES)
            )
        if strategy in asked:
            raise UserError(f"The strategy {strategy!r} is named twice.", where="train.strategy")
        asked.append(strategy)
    pools = {strategy: (layout, STRATEGIES[strategy](layout)) for strategy in asked}
    for name, part in ({} if sets is None else _pools_for_conflict(layout, sets)).items():
        pools.setdefault(name, (part, STRATEGIES[name.partition("@")[0]](part)))
    jobs: dict[frozenset[Direction], Job] = {}
    routes: dict[str, dict[Direction, str]] = {}
    for name, (_, parts) in pools.items():
        routes[name] = {}
        for directions in parts:
            job = jobs.setdefault(frozenset(directions), Job(job_name(layout, directions), directions))
            routes[name].update(dict.fromkeys(directions, job.name))
    layouts = {name: part for name, (part, _) in pools.items()}
    return Plan(layout, tuple(jobs.values()), routes, layouts, tuple(asked))


def _pools_for_conflict(layout: Layout, sets: Sequence[int | Sequence[str]]) -> dict[str, Layout]:
    """Pool name → its layout: shared and separate training on all languages, shared training on each smaller set."""
    parts = [layout.restricted(codes) for codes in language_sets(layout, sets)]
    growing = {f"{SHARED}@{len(part.languages)}": part for part in parts if len(part.languages) < len(layout.languages)}
    return {SHARED: layout, SEPARATE: layout, **growing}


def language_sets(layout: Layout, sets: Sequence[int | Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Nested sets of languages, each in the order of the layout.

    A number N (hubs included) stands for the N first languages of this order: the hubs; then the first member of every
    group, the second member of every group, and so on. Every size thus covers as many groups as it can. The paper does
    not say how it chose its sets: ours. Between sets given as lists, a number fills the smaller one up with languages
    of the larger one, in the same order.

    Args:
        sets: numbers or lists of canonical codes, the smallest first.

    Raises:
        UserError: a set has a stranger, misses a hub, holds nothing but hubs, or is not larger than the one before and
            within the one after.
    """
    ordered = [code for nth in zip_longest(*layout.groups.values()) for code in nth if code is not None]
    lists = [None if isinstance(entry, int) else set(entry) for entry in sets]
    found: list[set[str]] = []
    for position, (entry, given) in enumerate(zip(sets, lists, strict=True)):
        where = f"analyze.conflict.languages.{position}"
        before = found[-1] if found else set(layout.hubs)
        if isinstance(entry, int):
            within = next((later for later in lists[position:] if later is not None), set(layout.languages))
            more = [code for code in ordered if code in within and code not in before]
            _check_size(layout, entry, before, before | set(more), where=where)
            given = before | set(more[: entry - len(before)])
        else:
            _check_codes(layout, entry, before, where=where)
            given = set(entry)
        found.append(given)
    return tuple(tuple(code for code in layout.languages if code in members) for members in found)


def _check_size(layout: Layout, number: int, before: set[str], largest: set[str], *, where: str) -> None:
    """A number must be more than the set before has, and no more than there are languages to choose from."""
    if len(before) < number <= len(largest):
        return
    what = f"A set of {number} languages cannot stand here: sets grow, and hold the hubs and at least one other."
    hint = f"Possible: {len(before) + 1} to {len(largest)}." if len(before) < len(largest) else "Leave it out."
    raise UserError(what, where=where, hint=hint)


def _check_codes(layout: Layout, codes: Sequence[str], before: set[str], *, where: str) -> None:
    if strangers := [code for code in codes if code not in layout.languages]:
        raise UserError(
            f"Not among the recipe's languages: {', '.join(strangers)}.",
            where=where,
            hint=nearest(strangers[0], layout.languages),
        )
    if missing := [code for code in layout.hubs if code not in codes]:
        raise UserError(f"Every set holds the hubs, but {', '.join(missing)} is missing.", where=where)
    if lost := [code for code in layout.languages if code in before and code not in codes]:
        raise UserError(
            f"Each set must hold the one before, but {', '.join(lost)} is missing.",
            where=where,
            hint="Give the smallest set first.",
        )
    if len(set(codes)) == len(before):
        what = "holds nothing but hubs" if before == set(layout.hubs) else "is the same as the one before"
        raise UserError(f"This set {what}.", where=where)


def job_name(layout: Layout, directions: tuple[Direction, ...]) -> str:
    """The name of the adapter for a set of directions; different sets have different names where jobs make them.

    `de-en` for a single direction, `all` for every direction, otherwise the members' common description: `en-GROUP`
    (from the hub), `GROUP-en` (to the hub), `GROUP` (both), or the languages (`de+en+ru`: all directions between them).
    Group names thus end up in file names; a long list of languages is abbreviated to their number and a digest.
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
    members = {code for group in groups for code in layout.groups[group]}
    if set(directions) == {d for d in layout.directions if d.source in members or d.target in members}:
        return label
    return _name_by_languages(layout, directions)


def _name_by_languages(layout: Layout, directions: tuple[Direction, ...]) -> str:
    """The name of a set of directions on both sides that is not made of whole groups.

    No group is called as a language is, and none has a plus sign in its name: these names are never those of groups.
    """
    codes = sorted({code for direction in directions for code in direction})
    is_closed = set(directions) == {d for d in layout.directions if d.source in codes and d.target in codes}
    if is_closed and len("+".join(codes)) <= _LONGEST_LIST:
        return "+".join(codes)
    kind, number = ("languages", len(codes)) if is_closed else ("directions", len(directions))
    return f"{number}_{kind}+{digest_of(sorted(map(str, directions)))[:8]}"


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
    SHARED: _multilingual,
    "group": _group,
    SEPARATE: _separate,
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
