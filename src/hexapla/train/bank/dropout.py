"""Dropout of the adapters' inputs by hashing: what is dropped depends on (seed, adapter, epoch, example, place, layer).

No random stream is drawn from, so an adapter's mask is the same in any company, micro-batch and on any device, and it
is computed anew in the backward pass instead of being kept. Layers that read the same input share its mask. Shapes: N
tokens, I input width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hexapla.train.bank.packing import PackedBatch

_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - 2**32)  # of the 32-bit mixer "lowbias32" by C. Wellons, as signed numbers
_STEP = 0x9E3779B1 - 2**32  # 2³²/φ as a signed number: spreads consecutive columns and layers
_LEVELS = 2**15  # shares are rounded to multiples of 1/_LEVELS
_BLOCK_ENTRIES = 2**18  # hashed at once on a CPU: few calls, and what its second cache holds
_BLOCK_ENTRIES_GPU = 2**25


def drop(x: Tensor, batch: PackedBatch, layer: int, dropouts: Sequence[float], *, out: Tensor | None = None) -> Tensor:
    """x [N, I] with the dropped entries at 0 and the others divided by the share kept; x itself without dropout.

    Args:
        layer: a number of its own for every layer, or group of layers with one input.
        dropouts: the share dropped, by slot.
        out: where the result goes, x itself perhaps; None: a new tensor.
    """
    seeds = batch.token_seeds
    if seeds is None:
        return x
    out = torch.empty_like(x) if out is None else out
    width = x.shape[1]
    lengths = torch.diff(batch.segment_ends, prepend=batch.segment_ends.new_zeros(1))
    shares = torch.tensor(dropouts, device=x.device).index_select(0, batch.slots)
    shares = shares.repeat_interleave(lengths, output_size=len(x))[:, None]
    rows = _mix((seeds ^ (seeds >> 32)).to(torch.int32) ^ _as_int32(layer * _STEP))[:, None]
    columns = _mix(torch.arange((width + 1) // 2, device=x.device, dtype=torch.int32) * _STEP)
    offsets = (_LEVELS // 2 - (shares * _LEVELS).round()).to(torch.int16)
    factors = 1 / (1 - shares)
    num_rows = max(1, (_BLOCK_ENTRIES_GPU if x.is_cuda else _BLOCK_ENTRIES) // width)
    for start in range(0, len(x), num_rows):
        part = slice(start, start + num_rows)
        noise = _mix(rows[part] ^ columns).view(torch.int16)  # two entries from one 32-bit number
        kept = noise[:, :width].bitwise_right_shift_(1).add_(offsets[part]).clamp_(-1, 0).add_(1)
        torch.mul(x[part], kept * factors[part], out=out[part])
    return out


def _mix(values: Tensor) -> Tensor:
    """A bijection of signed 32-bit numbers, in place, whose every output bit depends on every input bit."""
    buffer = torch.empty_like(values)
    for shift, multiplier in zip((16, 15), _MULTIPLIERS, strict=True):
        values.bitwise_xor_(_shifted(values, shift, buffer)).mul_(multiplier)
    return values.bitwise_xor_(_shifted(values, 16, buffer))


def _shifted(values: Tensor, bits: int, buffer: Tensor) -> Tensor:
    """Logical shift to the right of signed 32-bit numbers, in `buffer`."""
    return torch.bitwise_right_shift(values, bits, out=buffer).bitwise_and_((1 << (32 - bits)) - 1)


def _as_int32(value: int) -> int:
    """The 32-bit number with the same low bits."""
    return (value + 2**31) % 2**32 - 2**31
