"""Which examples make which step.

The order depends on (seed, adapter, epoch, example id) only: not on other adapters, workers, or where a run was
resumed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hexapla.common.seeds import stable_order

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

    Args:
        ids: the examples' ids.
        batch: examples a step.
        seed, adapter: what, with the epoch and the id, an example's place depends on.
    """

    def __init__(self, ids: list[str], *, batch: int, seed: int, adapter: str) -> None:
        self._ids, self._batch, self._seed, self._adapter = ids, batch, seed, adapter
        self._steps_per_epoch = num_steps(len(ids), batch, 1)
        self._epoch = -1
        self._order: list[int] = []

    def positions(self, step: int) -> list[int]:
        """Positions of the examples of `step`, which counts from 0 over all epochs."""
        epoch, within = divmod(step, self._steps_per_epoch)
        if epoch != self._epoch:
            self._order = stable_order(self._seed, self._ids, "order", self._adapter, epoch)
            self._epoch = epoch
        return self._order[within * self._batch : (within + 1) * self._batch]
