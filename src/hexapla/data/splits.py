"""Rows held out of the training corpora, chosen by a stable hash of (seed, row id)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from hexapla.common.errors import UserError
from hexapla.common.seeds import uniform
from hexapla.data.cleaning import rows_of
from hexapla.data.rows import Row
from hexapla.data.spec import DataSpec


@dataclass(frozen=True)
class HeldOut:
    """The rows of an automatic split, each list in corpus order."""

    dev: list[Row]
    test: list[Row]

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all held-out rows."""
        return frozenset(row.id for row in (*self.dev, *self.test))


def hold_out(spec: DataSpec, languages: tuple[str, ...], *, seed: int) -> HeldOut:
    """Choose the rows that `spec.split` asks for.

    Whole rows are taken, with all their languages. The choice depends neither on the order of rows or corpora nor, for
    the test rows, on how many development rows are asked for. One pass; memory grows with the held-out rows only.

    Raises:
        UserError: fewer rows than asked for, or none would be left for training.
    """
    if spec.split is None or not spec.split.dev + spec.split.test:
        return HeldOut([], [])
    num_wanted = spec.split.dev + spec.split.test
    chosen = heapq.nsmallest(num_wanted + 1, _ranked(spec, languages, seed), key=lambda item: item[:2])
    if len(chosen) <= num_wanted:
        raise UserError(
            f"{num_wanted} rows are to be held out, but the training corpora have only {len(chosen)}.",
            where="data.split",
        )
    test, dev = chosen[: spec.split.test], chosen[spec.split.test : num_wanted]
    return HeldOut(_in_order(dev), _in_order(test))


def _ranked(spec: DataSpec, languages: tuple[str, ...], seed: int) -> Iterator[tuple[float, str, int, Row]]:
    position = 0
    for reader in spec.train:
        for _, row in rows_of(reader, languages):
            if isinstance(row, Row):
                yield uniform(seed, "split", row.id), row.id, position, row
                position += 1


def _in_order(chosen: list[tuple[float, str, int, Row]]) -> list[Row]:
    return [row for _, _, _, row in sorted(chosen, key=lambda item: item[2])]
