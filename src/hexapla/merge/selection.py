"""The exact k-th largest magnitude of a stream that is never held whole.

The bit pattern of a non-negative float32, read as an integer, grows with the number. A first pass counts the upper 16
bits of every magnitude and finds the bin of the k-th largest; a second counts the lower 16 bits within that bin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

_LOW_BITS = 16
_NUM_HIGH = 1 << (31 - _LOW_BITS)  # the sign bit of a magnitude is 0
_NUM_LOW = 1 << _LOW_BITS


def kth_largest(stream: Callable[[], Iterable[torch.Tensor]], num_adapters: int, k: int) -> torch.Tensor:
    """The k-th largest magnitude of each adapter, float32 [K]; infinity for k = 0.

    Args:
        stream: starts a pass; yields float32 blocks [K, ...], finite and the same in both passes.
        k: between 0 and the number of entries of one adapter.
    """
    if k == 0:
        return torch.full((num_adapters,), torch.inf)
    counts = torch.zeros(num_adapters, _NUM_HIGH, dtype=torch.int64)
    for block in stream():
        for adapter, bits in enumerate(_magnitude_bits(block)):
            counts[adapter] += torch.bincount(bits >> _LOW_BITS, minlength=_NUM_HIGH)
    high, remaining = _descend(counts, torch.full((num_adapters,), k))
    counts = torch.zeros(num_adapters, _NUM_LOW, dtype=torch.int64)
    for block in stream():
        for adapter, bits in enumerate(_magnitude_bits(block)):
            within = bits[(bits >> _LOW_BITS) == high[adapter]]
            counts[adapter] += torch.bincount(within & (_NUM_LOW - 1), minlength=_NUM_LOW)
    low, _ = _descend(counts, remaining)
    return ((high << _LOW_BITS) | low).to(torch.int32).view(torch.float32)


def _magnitude_bits(block: torch.Tensor) -> torch.Tensor:
    """The bit patterns of the magnitudes of a block [K, ...], as int32 [K, n]."""
    return block.abs().flatten(1).view(torch.int32)


def _descend(counts: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bin [K] that holds the k-th largest, and its place among the entries of that bin."""
    at_least = counts.flip(1).cumsum(1).flip(1)  # entries in this bin or a higher one
    chosen = (at_least >= k[:, None]).sum(dim=1) - 1
    above = at_least.gather(1, chosen[:, None])[:, 0] - counts.gather(1, chosen[:, None])[:, 0]
    return chosen, k - above
