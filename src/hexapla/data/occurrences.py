"""How often each of very many texts occurs, in memory that does not grow with their number.

Texts are known by 63 bits of a hash. Up to a limit of distinct ones all are counted; beyond it only those whose hash
begins with enough zero bits, a sample of the distinct texts with all occurrences of each.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

KEY_BITS = 63
NUM_CANDIDATES = 5_000
SAMPLE_LENGTH = 160
"""Characters of a repeated text that are kept (ours)."""
_MIN_BUFFER = 1 << 16


class Occurrences:
    """Counts by key (see `seeds.derive_seed`), and the sum of a weight by key."""

    def __init__(self) -> None:
        self._new_keys = array("Q")
        self._new_weights = array("I")
        self._counted: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # keys, counts, sums of weights
        self._num_zero_bits = 0

    def add(self, key: int, weight: int, limit: int) -> None:
        """Count one occurrence.

        Args:
            limit: so many distinct keys are held at most.
        """
        if key >> (KEY_BITS - self._num_zero_bits):
            return
        self._new_keys.append(key)
        self._new_weights.append(weight)
        if len(self._new_keys) >= max(_MIN_BUFFER, 0 if self._counted is None else len(self._counted[0])):
            self.settle(limit)

    def settle(self, limit: int) -> None:
        """Sum up what was added since; before anything is asked."""
        import numpy as np

        keys = np.frombuffer(self._new_keys, dtype=np.uint64)
        counts = np.ones(len(keys), dtype=np.int64)
        weights = np.frombuffer(self._new_weights, dtype=np.uint32).astype(np.int64)
        if self._counted is not None:
            keys = np.concatenate([self._counted[0], keys])
            counts = np.concatenate([self._counted[1], counts])
            weights = np.concatenate([self._counted[2], weights])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else order
        found = (keys[starts], np.add.reduceat(counts[order], starts), np.add.reduceat(weights[order], starts))
        self._counted = found if len(keys) else None
        self._new_keys, self._new_weights = array("Q"), array("I")
        while self._counted is not None and len(self._counted[0]) > limit:
            self._num_zero_bits += 1
            kept = self._counted[0] < np.uint64(1 << (KEY_BITS - self._num_zero_bits))
            self._counted = (self._counted[0][kept], self._counted[1][kept], self._counted[2][kept])

    @property
    def share(self) -> float:
        """The share of the distinct texts that is counted, about; 1: all of them, and exactly."""
        return 0.5**self._num_zero_bits

    def histogram(self, *, weighted: bool = False) -> dict[int, int]:
        """Number of occurrences (or sum of weights) → how many of the counted texts have it, ascending; none for 0."""
        import numpy as np

        if self._counted is None:
            return {}
        values, numbers = np.unique(self._counted[2 if weighted else 1], return_counts=True)
        return {int(value): int(number) for value, number in zip(values, numbers, strict=True) if value}

    def count(self, key: int) -> int | None:
        """How often a key occurs; None where it is not in the sample."""
        import numpy as np

        if self._counted is None or key >> (KEY_BITS - self._num_zero_bits):
            return None
        place = int(np.searchsorted(self._counted[0], np.uint64(key)))
        is_there = place < len(self._counted[0]) and int(self._counted[0][place]) == key
        return int(self._counted[1][place]) if is_there else 0


class Frequent:
    """The most frequent texts of a stream (Misra and Gries, 1982).

    A text that makes up more than one in `NUM_CANDIDATES` of the stream is found for sure; in a stream of no more
    distinct texts than that, every one is.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._samples: dict[int, str] = {}

    def add(self, key: int, text: str) -> None:
        """Take in a text."""
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) < NUM_CANDIDATES:
            self._counts[key] = 1
            self._samples[key] = text[:SAMPLE_LENGTH]
        else:
            self._counts = Counter({found: count - 1 for found, count in self._counts.items() if count > 1})
            self._samples = {found: self._samples[found] for found in self._counts}

    def candidates(self) -> list[tuple[int, str, int]]:
        """Key, sample and a lower bound of the occurrences of each candidate."""
        return [(key, self._samples[key], count) for key, count in self._counts.items()]
