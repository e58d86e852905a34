"""Finds repetitions among any number of texts in bounded memory: keys lie on disk, cut into parts by their first bits.

Equal keys fall into one part, and a part is sorted in memory; what repeats is marked in a file of one byte a unit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from hexapla.data.filters.corpus import CorpusFilter, Fingerprints

NUM_PARTS = 256
"""A part of 100 million units with one key each takes 6 MB; with 18 keys each (near duplicates) 110 MB."""
_BUFFERED = 1 << 19
"""Keys held before they are written (8 MB)."""


class Repeats:
    """Takes the fingerprints of units, numbered as they come, then tells which repeat an earlier one.

    Args:
        judge: the filter that made the fingerprints, and compares them.
        folder: an empty folder for its files.
    """

    def __init__(self, judge: CorpusFilter, folder: Path) -> None:
        self._judge, self._folder = judge, folder
        self._num_units = self._num_buffered = self._num_values = 0
        self._buffer: list[np.ndarray] = []

    def add(self, prints: Fingerprints) -> None:
        """Number further units."""
        import numpy as np

        num_units, num_keys = prints.keys.shape
        entries = np.empty(num_units * num_keys, dtype=_entry())
        entries["key"] = prints.keys.reshape(-1)
        entries["unit"] = np.repeat(np.arange(self._num_units, self._num_units + num_units, dtype=np.uint64), num_keys)
        self._num_units += num_units
        self._buffer.append(entries)
        self._num_buffered += len(entries)
        if self._num_buffered >= _BUFFERED:
            self._flush()
        if prints.signatures.size:
            self._num_values = prints.signatures.shape[1]
            with (self._folder / "signatures").open("ab") as file:
                file.write(np.ascontiguousarray(prints.signatures, dtype=np.uint16).tobytes())

    def resolve(self) -> np.ndarray:
        """Of each unit whether it repeats an earlier one: bool [num_units], mapped from a file."""
        import numpy as np

        self._flush()
        shape = (max(1, self._num_units),)
        flags = np.memmap(self._folder / "flags", dtype=bool, mode="w+", shape=shape)
        for part in range(NUM_PARTS):
            path = self._part(part)
            if path.exists():
                self._resolve_part(np.fromfile(path, dtype=_entry()), flags)
                path.unlink()
        return flags

    def _flush(self) -> None:
        import numpy as np

        if not self._buffer:
            return
        entries = np.concatenate(self._buffer)
        self._buffer, self._num_buffered = [], 0
        parts = (entries["key"] >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(parts, kind="stable")
        ends = np.cumsum(np.bincount(parts, minlength=NUM_PARTS))
        entries = entries[order]
        for part, stop in enumerate(ends):
            start = ends[part - 1] if part else 0
            if stop > start:
                with self._part(part).open("ab") as file:
                    file.write(entries[start:stop].tobytes())

    def _resolve_part(self, entries: np.ndarray, flags: np.ndarray) -> None:
        """Compare every unit with the first one that has the same key."""
        import numpy as np

        entries = entries[np.lexsort((entries["unit"], entries["key"]))]
        keys, units = entries["key"], entries["unit"]
        is_first = np.ones(len(entries), dtype=bool)
        is_first[1:] = keys[1:] != keys[:-1]
        firsts = units[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
        # A unit may have a key twice, when two of its bands fall together.
        open_ = ~is_first & (firsts != units) & ~flags[units]
        pairs = np.unique(np.stack([units[open_], firsts[open_]], axis=1), axis=0)
        if not len(pairs):
            return
        if self._num_values:
            pairs = pairs[self._judge.agree(self._signatures(pairs[:, 0]), self._signatures(pairs[:, 1]))]
        flags[pairs[:, 0]] = True

    def _signatures(self, units: np.ndarray) -> np.ndarray:
        """Read them one by one: mapped, a large file would count as memory of ours."""
        import numpy as np

        size = 2 * self._num_values
        wanted, places = np.unique(units, return_inverse=True)
        descriptor = os.open(self._folder / "signatures", os.O_RDONLY)
        try:
            content = b"".join(os.pread(descriptor, size, int(unit) * size) for unit in wanted)
        finally:
            os.close(descriptor)
        found: np.ndarray = np.frombuffer(content, dtype=np.uint16).reshape(-1, self._num_values)[places.reshape(-1)]
        return found

    def _part(self, part: int) -> Path:
        return self._folder / f"keys-{part:03d}"


def _entry() -> np.dtype:
    import numpy as np

    return np.dtype([("key", np.uint64), ("unit", np.uint64)])
