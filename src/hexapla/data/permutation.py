"""A pseudo-random order of any number of rows that is computed, not stored.

A keyed Feistel network over the digits of a position in a mixed base, walked along its cycle until it lands on a row
(Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002): position → row and nothing in memory, so that
billions of rows can be shuffled and entered anywhere.
"""

from __future__ import annotations

import math

import numpy as np

from hexapla.common.seeds import derive_seed

_NUM_ROUNDS = 8
_STEP = np.uint64(0x9E3779B97F4A7C15)  # of splitmix64's counter


class Permutation:
    """The numbers 0 … num_rows - 1, pass after pass, each in an order that depends on (seed, names, pass) only."""

    def __init__(self, num_rows: int, seed: int, *names: str | int) -> None:
        self.num_rows = num_rows
        self._low = math.isqrt(max(num_rows - 1, 0)) + 1  # low · high ≥ num_rows, by less than one part in low
        self._high = -(-num_rows // self._low)
        self._seed = np.uint64(derive_seed(seed, *names))

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The rows at `positions`, which count on from pass to pass; both int64 [N]."""
        passes, within = np.divmod(positions.astype(np.uint64), np.uint64(max(self.num_rows, 1)))
        keys = _mixed(self._seed + passes * _STEP)
        rows = self._encrypt(within, keys)
        while len(outside := np.flatnonzero(rows >= self.num_rows)):
            rows[outside] = self._encrypt(rows[outside], keys[outside])
        return rows.astype(np.int64)

    def _encrypt(self, numbers: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """A permutation of 0 … low · high - 1 under every key."""
        high, low = np.divmod(numbers, np.uint64(self._low))
        for turn in range(_NUM_ROUNDS):
            keys = keys + _STEP
            # 48 bits of the hash, so that the sum does not overflow.
            if turn % 2:
                high = (high + (_mixed(low ^ keys) >> np.uint64(16))) % np.uint64(self._high)
            else:
                low = (low + (_mixed(high ^ keys) >> np.uint64(16))) % np.uint64(self._low)
        return low + np.uint64(self._low) * high


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
