"""Texts and pairs nearly equal to an earlier one: MinHash with banding (Broder, 1997; Leskovec et al., ch. 3).

The share of equal values of two signatures estimates the Jaccard similarity of two sets of n-grams. Signatures are cut
into bands; units that agree in a whole band are compared by their signatures.

Differs from common practice: hash functions are fixed, without a seed, and multiply-shift in 32 bits (Dietzfelbinger et
al., 1997); 16 bits of each value are kept (Li and König, 2010), which adds 1/65536 to a similarity of 0.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hexapla.data.filters.corpus import CorpusFilter, Fingerprints, Unit
from hexapla.data.matching import fold

if TYPE_CHECKING:
    import numpy as np

NUM_VALUES = 128
"""Values of a signature: the estimate of a similarity of 0.8 has a standard deviation of 0.035."""
_RECALL = 0.95
"""Least probability that a pair as similar as the threshold shares a band (ours)."""
_BLOCK = 1 << 18
"""N-grams hashed at once: 1 MiB, which stays in a processor's cache."""


class NearDuplicatesFilter(CorpusFilter):
    """Rejects what is nearly equal to something earlier, itself rejected or not, in the corpora of its section."""

    filter: Literal["near-duplicates"] = Field("near-duplicates", description="Nearly the same occurred before.")
    threshold: float = Field(
        0.8, gt=0, le=1, description="Share of n-grams in common (Jaccard similarity, estimated) from which on."
    )
    ngram: int = Field(5, ge=1, description="Length of an n-gram, in `of`.")
    of: Literal["characters", "words"] = Field(
        "characters", description="What n-grams are made of, without regard to case and punctuation."
    )
    reasons: ClassVar[Mapping[str, str]] = {"near-duplicate": "nearly the same occurred before"}

    def fingerprints(self, units: Sequence[Unit]) -> Fingerprints:
        """A key for each band, and the signature."""
        import numpy as np

        hashes, starts = self._ngrams(units)
        signatures = np.full((len(units), NUM_VALUES), 0xFFFF, dtype=np.uint16)
        if len(units):
            minima = _minima(hashes, starts)
            signatures = (minima >> np.uint32(16)).astype(np.uint16)
            # The upper half alone would collide among the minima, which are small numbers.
            signatures ^= (minima & np.uint32(0xFFFF)).astype(np.uint16)
        num_rows = rows_of_band(self.threshold)
        scopes = np.array([zlib.crc32(unit.scope.encode("utf-8")) for unit in units], dtype=np.uint64)
        keys = [
            _mix(signatures[:, first : first + num_rows], scopes + (np.uint64(first) << np.uint64(32)))
            for first in range(0, NUM_VALUES - num_rows + 1, num_rows)
        ]
        return Fingerprints(np.stack(keys, axis=1), signatures)

    def agree(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether signatures are as equal as the threshold asks for."""
        agreed: np.ndarray = (first == second).mean(axis=1) >= self.threshold
        return agreed

    def _ngrams(self, units: Sequence[Unit]) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all n-grams, uint32, and where each unit's begin."""
        import numpy as np

        sequences = []
        counts = np.zeros(len(units), dtype=np.int64)
        for number, unit in enumerate(units):
            for side, text in enumerate(unit.texts):
                sequence = self._sequence(text, side)
                counts[number] += len(sequence) - self.ngram + 1
                sequences.append(sequence)
        if not sequences:
            return np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64)
        hashes = _rolling(np.concatenate(sequences), self.ngram)
        lengths = np.array([len(sequence) for sequence in sequences])
        # N-grams that run over the end of their text are none.
        within = np.ones(len(hashes) + self.ngram - 1, dtype=bool)
        ends = np.cumsum(lengths)
        for back in range(1, self.ngram):
            within[ends - back] = False
        return hashes[within[: len(hashes)]], np.concatenate(([0], np.cumsum(counts)[:-1]))

    def _sequence(self, text: str, side: int) -> np.ndarray:
        """Numbers of the characters or words of a text, at least `ngram`; those of the two sides differ."""
        import numpy as np

        words = fold(text) or [text]
        if self.of == "characters":
            sequence = np.frombuffer(" ".join(words).encode("utf-32-le"), dtype="<u4").astype(np.uint32)
        else:
            sequence = np.array([zlib.crc32(word.encode("utf-8")) for word in words], dtype=np.uint32)
        if len(sequence) < self.ngram:
            sequence = np.pad(sequence, (0, self.ngram - len(sequence)))
        return sequence + np.uint32(0x9E3779B9) * np.uint32(side) if side else sequence


def rows_of_band(threshold: float) -> int:
    """How many values a band has: the most with which a pair at the threshold shares a band with 95 %.

    The probability is 1 - (1 - tʳ)ᵇ for b bands of r values.
    """
    sizes = range(NUM_VALUES, 1, -1)
    return next((r for r in sizes if 1 - (1 - threshold**r) ** (NUM_VALUES // r) >= _RECALL), 1)


def _rolling(sequence: np.ndarray, size: int) -> np.ndarray:
    """A polynomial hash of every window, uint32 [len(sequence) - size + 1], well mixed (murmur3's finaliser)."""
    import numpy as np

    num_windows = len(sequence) - size + 1
    hashes = np.zeros(num_windows, dtype=np.uint64)
    for offset in range(size):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + sequence[offset : offset + num_windows]
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(33)
    return hashes.astype(np.uint32)


def _minima(hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The least value of every hash function over the n-grams of each unit: uint32 [num_units, NUM_VALUES]."""
    import numpy as np

    factors, terms = _functions()
    minima = np.empty((len(starts), NUM_VALUES), dtype=np.uint32)
    ends = np.append(starts[1:], len(hashes))
    first = 0
    while first < len(starts):
        stop = max(first + 1, int(np.searchsorted(ends, starts[first] + _BLOCK, side="right")))
        block = hashes[starts[first] : ends[stop - 1]]
        offsets = starts[first:stop] - starts[first]
        for number in range(NUM_VALUES):
            values = block * factors[number] + terms[number]
            values ^= values >> np.uint32(15)
            minima[first:stop, number] = np.minimum.reduceat(values, offsets)
        first = stop
    return minima


def _functions() -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and terms of the hash functions: the same always (splitmix64 of their numbers)."""
    import numpy as np

    state = np.arange(1, NUM_VALUES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return (state.astype(np.uint32) | np.uint32(1)), (state >> np.uint64(32)).astype(np.uint32)


def _mix(columns: np.ndarray, start: np.ndarray) -> np.ndarray:
    """A 64-bit hash of every row of values."""
    import numpy as np

    state = start.astype(np.uint64)
    for column in range(columns.shape[1]):
        state = (state ^ columns[:, column]) * np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(31)
    return state
