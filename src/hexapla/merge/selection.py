"""The exact k-th largest magnitude of a stream that is never held whole.

The bit pattern of a non-negative float32, read as an integer, grows with the number. A pass counts the magnitudes above
an interval of bit patterns and sets aside those within it; the k-th largest is then found among these. Where they are
too many they are counted instead, by their place in the interval, and a further pass looks into one bin. The first
interval is guessed from a sample: a good guess holds one entry in fifty, a bad one costs a pass, never the exactness.

Shapes: K adapters, n entries of one of them in a block, S sampled entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

_MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits but the sign
_MAX_ASIDE = 1 << 21  # entries set aside for one adapter; 8 MiB
_NUM_BINS = 1 << 16
_NUM_FINE_BINS = 1 << 20  # where that gives every number a bin of its own
_NUM_DEVIATIONS = 4  # of the threshold's rank in a sample; one guess in 16,000 misses

_Array = np.ndarray[Any, Any]


def kth_largest(
    stream: Callable[[], Iterable[torch.Tensor]],
    num_adapters: int,
    num_entries: int,
    k: int,
    sample: torch.Tensor | None = None,
) -> torch.Tensor:
    """The k-th largest magnitude of each adapter, float32 [K]; infinity for k = 0.

    Args:
        stream: starts a pass; yields float32 blocks [K, ...], finite and the same in every pass.
        num_entries: of each adapter in a pass.
        k: between 0 and `num_entries`.
        sample: some entries of each adapter, [K, S], or None.
    """
    assert 0 <= k <= num_entries
    if k == 0:
        return torch.full((num_adapters,), torch.inf)
    searches = [_Search(k) for _ in range(num_adapters)]
    if sample is not None:
        for search, entries in zip(searches, sample, strict=True):
            search.guess(entries.numpy(), k / num_entries)
    while unfinished := [(row, search) for row, search in enumerate(searches) if search.found is None]:
        for block in stream():
            for row, search in unfinished:
                search.see(block[row].numpy())
        for _, search in unfinished:
            search.narrow()
    return torch.tensor([search.found for search in searches], dtype=torch.int32).view(torch.float32)


class _Search:
    """The search for the k-th largest bit pattern of one adapter, in the interval first..last.

    `found` is the result, once it is known.
    """

    def __init__(self, k: int) -> None:
        self.found: int | None = None
        self._k = k
        self._certain = (0, int(_MAGNITUDE))  # where it lies if it is not between first and last
        self._memory: _Array | None = None
        self._begin(*self._certain)

    def guess(self, entries_S: _Array, share: float) -> None:
        """Begin with the interval that holds the k-th largest if the sample is not far from the whole."""
        bits = np.sort(_magnitude_bits(entries_S, None))[::-1]
        center = share * len(bits)
        margin = _NUM_DEVIATIONS * math.sqrt(share * (1 - share) * len(bits)) + 1
        highest, lowest = math.floor(center - margin), math.ceil(center + margin)
        self._begin(
            int(bits[lowest]) if lowest < len(bits) else self._first, int(bits[highest]) if highest >= 0 else self._last
        )

    def see(self, values: _Array) -> None:
        """Take in a block."""
        self._memory = bits = _magnitude_bits(values, self._memory)
        above = bits > self._last
        self._num_above += int(np.count_nonzero(above))
        within = bits >= self._first
        within ^= above
        self._aside.append(bits[np.flatnonzero(within)])
        self._num_aside += len(self._aside[-1])
        if self._num_aside > _MAX_ASIDE:
            self._count()

    def narrow(self) -> None:
        """Close the pass: the result, or a smaller interval; outside of the present one if the guess was wrong."""
        low, high = self._certain
        place = self._k - self._num_above  # within the interval, from the top; 1 is the largest
        num_within = self._num_aside + (0 if self._counts is None else int(self._counts.sum()))
        if place <= 0:
            self._begin(self._last + 1, high)
        elif place > num_within:
            self._begin(low, self._first - 1)
        elif self._counts is None:
            entries = np.concatenate(self._aside)
            self.found = int(np.partition(entries, len(entries) - place)[len(entries) - place])
        else:
            self._count()
            bin_or_above = np.cumsum(self._counts[::-1])[::-1]
            chosen = self._first + ((int(np.count_nonzero(bin_or_above >= place)) - 1) << self._shift)
            if self._shift == 0:
                self.found = chosen
            else:
                self._begin(chosen, min(self._last, chosen + (1 << self._shift) - 1))

    def _begin(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        width = last - first + 1
        self._shift = 0 if width <= _NUM_FINE_BINS else max(0, (width // _NUM_BINS).bit_length())
        self._num_above = self._num_aside = 0
        self._aside: list[_Array] = []
        self._counts: _Array | None = None

    def _count(self) -> None:
        """Count what is set aside, bin by bin."""
        if self._counts is None:
            self._counts = np.zeros(((self._last - self._first) >> self._shift) + 1, dtype=np.int64)
        if self._num_aside:
            places = (np.concatenate(self._aside) - np.int32(self._first)) >> self._shift
            self._counts += np.bincount(places, minlength=len(self._counts))
            self._aside, self._num_aside = [], 0


def _magnitude_bits(values: _Array, memory: _Array | None) -> _Array:
    """The bit patterns of magnitudes, int32 [n], in `memory` if it fits."""
    flat = values.reshape(-1).view(np.int32)
    out = memory if memory is not None and memory.shape == flat.shape else None
    return np.bitwise_and(flat, _MAGNITUDE, out=out)
