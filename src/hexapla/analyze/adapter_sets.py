"""Which adapters of a pool are compared with each other, and what that gave: one set a side of a hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hexapla.analyze.clustering import average_linkage, leaf_order
from hexapla.analyze.geometry import Array, Geometry, measure
from hexapla.common.errors import CorruptArtifactError, UserError, nearest
from hexapla.common.progress import Progress
from hexapla.languages import Direction
from hexapla.merge.experts import Experts
from hexapla.plan import Side
from hexapla.pool import Pool

ALL = "all"  # name of the whole set among its groups, of which none is called so


@dataclass(frozen=True)
class AdapterSet:
    """Adapters that are compared with each other.

    Attributes:
        name: end of anchors and file names.
        title: for people.
        directions: adapter → its directions in this set, two adapters or more.
        labels: adapter → what charts call it: the language where it serves one alone.
        groups: adapter → the group of its languages; None where they are of several.
    """

    name: str
    title: str
    directions: Mapping[str, tuple[Direction, ...]]
    labels: Mapping[str, str]
    groups: Mapping[str, str | None]


@dataclass(frozen=True)
class MeasuredSet:
    """A set with its geometry: the signs of all its adapters together (`ALL`) and of each group.

    Attributes:
        leaves: positions in the geometry's names of the adapters in the tree: those whose updates are not zero.
        merges: the tree over `leaves`.
    """

    adapters: AdapterSet
    geometry: Geometry
    leaves: tuple[int, ...]
    merges: tuple[tuple[int, int, float], ...]

    @property
    def order(self) -> list[int]:
        """Positions of the adapters in the order of the tree; those without a place in it come last."""
        placed = [self.leaves[leaf] for leaf in leaf_order(self.merges, len(self.leaves))]
        return placed + [k for k in range(len(self.geometry.names)) if k not in self.leaves]

    @property
    def pairs(self) -> Array:
        """Which pairs are of two different adapters, [K, K]."""
        return ~np.eye(len(self.geometry.names), dtype=bool)

    @property
    def same_group(self) -> Array:
        """Which pairs of different adapters are of one group, [K, K]."""
        groups = [self.adapters.groups[name] for name in self.geometry.names]
        return self.pairs & np.array([[a is not None and a == b for b in groups] for a in groups])

    @property
    def other_group(self) -> Array:
        """Which pairs of different adapters are not of one group, [K, K]."""
        return self.pairs & ~self.same_group


@dataclass(frozen=True)
class PoolGeometry:
    """What was measured of a pool; `notes` say what was not, and why."""

    pool: str
    sets: tuple[MeasuredSet, ...]
    notes: tuple[str, ...]


def measure_pool(pool: Pool, adapters: Sequence[str] | None = None) -> PoolGeometry:
    """Measure the adapters of every side of every hub, or the ones given, with each other.

    Adapters that do not fit together, or hold NaN, are told in the notes.

    Raises:
        UserError: an adapter that is given is not in the pool.
        CorruptArtifactError: an adapter's files are damaged.
    """
    sets, notes = adapter_sets(pool, adapters)
    measured = []
    for adapter_set in sets:
        try:
            measured.append(_measure_set(pool, adapter_set))
        except CorruptArtifactError:
            raise
        except UserError as error:
            notes.append(f"The adapters {adapter_set.title} were not compared: {error.paragraph()}")
    return PoolGeometry(pool.description.name, tuple(measured), tuple(notes))


def adapter_sets(pool: Pool, adapters: Sequence[str] | None = None) -> tuple[list[AdapterSet], list[str]]:
    """The sets to compare, and which sides have fewer than two adapters."""
    described = pool.description
    found: dict[str, list[Direction]] = {}
    if adapters is not None:
        for name in adapters:
            if name not in pool.adapters:
                raise UserError(
                    f"The pool {described.name!r} has no adapter {name!r}.", hint=nearest(name, pool.adapters)
                )
        found["chosen"] = [direction for direction, route in described.routes.items() if route in adapters]
    else:
        for direction in described.routes:
            side = described.layout.side(direction)
            if side is not Side.BETWEEN_HUBS:
                name = f"to-{direction.target}" if side is Side.TO_HUB else f"from-{direction.source}"
                found.setdefault(name, []).append(direction)
    sets: dict[tuple[str, ...], AdapterSet] = {}
    notes = []
    for name, directions in found.items():
        made = _adapter_set(pool, name, directions)
        members = tuple(sorted(made.directions))
        if len(members) < 2:
            notes.append(f"{name}: {described.name} has fewer than two adapters there, so there is nothing to compare.")
        elif members in sets:  # both sides share their adapters
            merged = [*(d for ds in sets[members].directions.values() for d in ds), *directions]
            sets[members] = _adapter_set(pool, f"{sets[members].name}-and-{name}", merged)
        else:
            sets[members] = made
    return list(sets.values()), notes


def _adapter_set(pool: Pool, name: str, directions: Sequence[Direction]) -> AdapterSet:
    layout, routes = pool.description.layout, pool.description.routes
    served: dict[str, list[Direction]] = {}
    for direction in directions:
        if (adapter := routes[direction]) is not None:
            served.setdefault(adapter, []).append(direction)
    languages = {
        adapter: sorted({code for direction in found for code in direction if code not in layout.hubs})
        for adapter, found in served.items()
    }
    labels = {adapter: codes[0] if len(codes) == 1 else adapter for adapter, codes in languages.items()}
    if len(set(labels.values())) < len(labels):
        labels = {adapter: adapter for adapter in labels}
    groups = {}
    for adapter, codes in languages.items():
        of_codes = {layout.group_of(code) for code in codes}
        groups[adapter] = next(iter(of_codes)) if len(of_codes) == 1 else None
    title = name.replace("-and-", " and ").replace("to-", "into ").replace("from-", "from ")
    return AdapterSet(name, title, {adapter: tuple(found) for adapter, found in served.items()}, labels, groups)


def _measure_set(pool: Pool, adapter_set: AdapterSet) -> MeasuredSet:
    experts = Experts({adapter: pool.adapter_folder(adapter) for adapter in adapter_set.directions})
    members: dict[str, list[str]] = {}
    for adapter in experts.names:
        if (group := adapter_set.groups[adapter]) is not None:
            members.setdefault(group, []).append(adapter)
    sets = {ALL: experts.names, **{group: m for group, m in members.items() if 1 < len(m) < len(experts)}}
    progress = Progress(f"comparing adapters {adapter_set.title}", len(experts.shapes), unit="modules")
    geometry = measure(experts, sets, on_module=lambda path: progress.advance())
    progress.close()
    leaves = tuple(int(k) for k in np.flatnonzero(geometry.norms > 0))
    distances = 1 - geometry.cosine[np.ix_(leaves, leaves)]
    return MeasuredSet(adapter_set, geometry, leaves, average_linkage(distances.tolist()))
