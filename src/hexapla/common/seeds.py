"""Randomness by name: every consumer derives its own seed, every sample is a hash of its record.

Nothing here keeps state, so results depend neither on order nor on the number of workers, nor on
whether a run was resumed.
"""

from __future__ import annotations

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """A 63-bit seed for the consumer called `names` under the recipe's `root` seed."""
    return _digest(root, names) >> 1


def uniform(root: int, *names: str | int) -> float:
    """A number in [0, 1) that depends on (root, names) only; uniform over names."""
    return _digest(root, names) / 2**64


def stable_order(root: int, ids: list[str], *names: str | int) -> list[int]:
    """Positions of `ids` in a pseudo-random order that depends on (root, names, id) only.

    Equal ids keep their given order.
    """
    keys = [(_digest(root, (*names, record_id)), position) for position, record_id in enumerate(ids)]
    return [position for _, position in sorted(keys)]


def _digest(root: int, names: tuple[str | int, ...]) -> int:
    text = "\x1f".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
