"""Which adapters of a pool are merged with which: by side of the hubs, by hub, and by group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.merge.spec import MergeSpec
from hexapla.plan import Layout, Side, job_name

_SIDES = {"to-hub": (Side.TO_HUB,), "from-hub": (Side.FROM_HUB,), "all": (Side.TO_HUB, Side.FROM_HUB)}


@dataclass(frozen=True)
class MergeSet:
    """Adapters that become one: its name, the directions it will serve, and the experts in alphabetical order."""

    name: str
    directions: tuple[Direction, ...]
    experts: tuple[str, ...]


def merge_sets(layout: Layout, routes: Mapping[Direction, str | None], spec: MergeSpec, *, pool: str) -> list[MergeSet]:
    """The sets of two or more adapters that `spec` merges in a pool, in the order of the pool's directions.

    A set holds the distinct adapters of the directions of one side, one hub and (by group) one group: experts of
    different hubs are never mixed, nor are the two sides. Directions between hubs are left alone. Sets with the very
    same experts are merged once, for all their directions.

    Args:
        routes: of the pool called `pool`, trained or still planned.

    Raises:
        UserError: nothing can be merged; the message says why.
    """
    directions: dict[tuple[Side, str, str], list[Direction]] = {}
    for direction, adapter in routes.items():
        side = layout.side(direction)
        if side not in _SIDES[spec.scope] or adapter is None:
            continue
        hub, other = (
            (direction.target, direction.source) if side is Side.TO_HUB else (direction.source, direction.target)
        )
        group = layout.group_of(other) if spec.by == "group" else ""
        directions.setdefault((side, hub, group), []).append(direction)
    if not directions:
        raise UserError(
            f"The pool {pool!r} has no adapters on the side {spec.scope}, so there is nothing to merge.",
            where="merge.scope",
        )
    merged: dict[tuple[str, ...], list[Direction]] = {}
    for members in directions.values():
        experts = sorted({adapter for member in members if (adapter := routes[member]) is not None})
        if len(experts) > 1:
            merged.setdefault(tuple(experts), []).extend(members)
    if not merged:
        unit = "of every group" if spec.by == "group" else "on each side"
        raise UserError(
            f"In the pool {pool!r} the {spec.scope} directions {unit} share one adapter already, "
            "so there is nothing to merge.",
            where="merge.scope",
            hint="Merging joins experts for single directions, as separate and direction-aware training makes them"
            + ("; or merge across groups with by: all." if spec.by == "group" else "."),
        )
    return [MergeSet(job_name(layout, tuple(members)), tuple(members), experts) for experts, members in merged.items()]
