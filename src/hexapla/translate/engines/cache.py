"""The key-value cache of decoding: preallocated, written in place, its rows expanded, dropped and reordered.

transformers' dynamic cache copies itself at every token and again at every reordering of beams; here a token is
written in place, and as the beams of a request share their prompt, only what they generated is reordered.

Shapes: N rows, H heads, S positions so far, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_GROWTH = 64
"""Positions added when the room is used up: rare enough to cost nothing, small beside the prompts (assumption)."""


class CacheLayer(DynamicLayer):
    """Keys and values [N, H, S, D] of one attention layer, sliding or full (the mask tells them apart)."""

    def __init__(self) -> None:
        super().__init__()
        self._length = 0
        self._buffers: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate room for the prompt and the first tokens."""
        self._buffers = (_room_for(key_states), _room_for(value_states))
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values; returns all of them."""
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
        assert self._buffers is not None
        end = self._length + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            room = end - self._length + _GROWTH
            self._buffers = (_enlarged(self._buffers[0], room), _enlarged(self._buffers[1], room))
        keys, values = self._buffers
        keys[:, :, self._length : end] = key_states
        values[:, :, self._length : end] = value_states
        self._length = end
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self) -> int:
        """Positions written so far."""
        return self._length

    def take_rows(self, rows: Tensor) -> None:
        """Make row i what row `rows[i]` was; rows may be left out and repeated."""
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = (keys.index_select(0, rows), values.index_select(0, rows))

    def permute_tail(self, rows: Tensor, start: int) -> None:
        """As `take_rows`, for the positions from `start` on only."""
        if self._buffers is not None:
            for buffer in self._buffers:
                tail = buffer[:, :, start : self._length]
                tail.copy_(tail.index_select(0, rows))


class RowCache(Cache):
    """A cache of `CacheLayer`s, one a layer of the model."""

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[CacheLayer() for _ in range(num_layers)])

    def take_rows(self, rows: Tensor) -> None:
        """Expand, drop or repeat rows in every layer."""
        for layer in self.layers:
            layer.take_rows(rows)

    def permute_tail(self, rows: Tensor, start: int) -> None:
        """Reorder rows from position `start` on in every layer."""
        for layer in self.layers:
            layer.permute_tail(rows, start)


def _room_for(states: Tensor) -> Tensor:
    rows, heads, length, width = states.shape
    return states.new_empty(rows, heads, length + _GROWTH, width)


def _enlarged(buffer: Tensor, positions: int) -> Tensor:
    rows, heads, _, width = buffer.shape
    return torch.cat([buffer, buffer.new_empty(rows, heads, positions, width)], dim=2)
