"""Which examples make which step.

The order depends on (seed, adapter, epoch, example ids) only: not on other adapters, workers, or where a run was
resumed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from hexapla.common.seeds import stable_order, uniform

if TYPE_CHECKING:
    import torch

_MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 8192}


def default_micro_batch_tokens(device: torch.device) -> int:
    """Tokens that go through the base at once where the settings name no number."""
    return _MICRO_BATCH_TOKENS.get(device.type, 1024)


def num_steps(num_examples: int, batch: int, epochs: int) -> int:
    """Optimiser steps: every epoch ends with a smaller batch where `batch` does not divide the examples."""
    return epochs * math.ceil(num_examples / batch)


class BatchOrder:
    """The global batch of every step of an adapter.

    With `meanings`, a batch holds translations of different sentences as far as the data allow: as few examples as can
    be come into a batch that has their meaning already, none if there is such an order. Row by row, each example goes
    into another batch, those with the most room first (the construction of D. Gale, "A theorem on flows in networks",
    1957, and H. J. Ryser, "Combinatorial properties of matrices of zeros and ones", 1957); what finds none is dealt out
    when all rows have had their turn.

    Args:
        ids: the examples' ids.
        batch: examples a step.
        seed, adapter: what, with the epoch and the ids, an example's place depends on.
        meanings: of every example, the sentence that it is a translation of; None: they do not matter.
    """

    def __init__(
        self, ids: list[str], *, batch: int, seed: int, adapter: str, meanings: Sequence[str] | None = None
    ) -> None:
        self._ids, self._batch, self._seed, self._adapter, self._meanings = ids, batch, seed, adapter, meanings
        self._steps_per_epoch = num_steps(len(ids), batch, 1)
        self._epoch = -1
        self._order: list[int] = []

    def positions(self, step: int) -> list[int]:
        """Positions of the examples of `step`, which counts from 0 over all epochs."""
        epoch, within = divmod(step, self._steps_per_epoch)
        if epoch != self._epoch:
            order = stable_order(self._seed, self._ids, "order", self._adapter, epoch)
            self._order = order if self._meanings is None else self._spread(order, self._meanings, epoch)
            self._epoch = epoch
        return self._order[within * self._batch : (within + 1) * self._batch]

    def _spread(self, order: list[int], meanings: Sequence[str], epoch: int) -> list[int]:
        """The positions in `order`, batch after batch, so that a batch repeats a meaning as seldom as may be."""
        rows: dict[str, list[int]] = {}
        for position in order:
            rows.setdefault(meanings[position], []).append(position)
        steps = self._steps_per_epoch
        rooms = [self._batch] * (steps - 1) + [len(order) - self._batch * (steps - 1)]
        batches = _deal(
            rows.values(),
            rooms,
            lambda index, room: uniform(self._seed, "room", self._adapter, epoch, index, room),
        )
        rank = {position: number for number, position in enumerate(order)}
        return [position for part in batches for position in _in_rounds(sorted(part, key=rank.__getitem__), meanings)]


def _deal(rows: Iterable[list[int]], rooms: list[int], chance: Callable[[int, int], float]) -> list[list[int]]:
    """Put the positions of every row into different batches, those with the most room first; what is left over, again.

    Args:
        rooms: how many positions every batch takes, together as many as there are.
        chance: decides by (batch, room left) among batches with equal room.
    """
    batches: list[list[int]] = [[] for _ in rooms]
    heap = [(-room, chance(index, room), index) for index, room in enumerate(rooms)]
    heapify(heap)
    waiting = list(rows)
    while waiting:
        again: list[list[int]] = []
        for row in waiting:
            chosen = [heappop(heap) for _ in range(min(len(row), len(heap)))]
            for position, (negative, _, index) in zip(row, chosen, strict=False):
                batches[index].append(position)
                if room := -negative - 1:
                    heappush(heap, (-room, chance(index, room), index))
            if len(chosen) < len(row):
                again.append(row[len(chosen) :])
        waiting = again
    return batches


def _in_rounds(batch: list[int], meanings: Sequence[str]) -> list[int]:
    """The same positions, all meanings once before any comes again, so that a part of a batch repeats few as well."""
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    keys: list[tuple[int, int, int]] = []
    for position in batch:
        meaning = meanings[position]
        keys.append((counts[meaning], first.setdefault(meaning, len(first)), position))
        counts[meaning] += 1
    return [position for _, _, position in sorted(keys)]
