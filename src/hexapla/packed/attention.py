"""Attention over packed sequences: each sees itself only.

Registered with transformers under `PACKED`, so that every model of its attention interface runs packed by choosing this
implementation, decoders causally and encoders not. On a CUDA device one variable-length kernel takes the sequences as
they lie; elsewhere they are padded, in buckets of similar length, inside attention only. Shapes: N tokens, H query
heads, J key heads, E head width, B sequences of a bucket, T its longest.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from hexapla.common.errors import UserError
from hexapla.packed.layout import AttentionBucket, SequenceLayout

PACKED = "hexapla_packed"


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    packed: SequenceLayout,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_others: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' interface: query [1, H, N, E], key and value [1, J, N, E] → [1, N, H, E].

    The model is in evaluation mode, so its attention dropout is 0. Under autocast, which does not reach it, attention
    computes in autocast's precision: norms hand on fp32.

    Args:
        packed: where the sequences lie; made for an encoder where the model is one.

    Raises:
        NotImplementedError: the model has attention sinks (`s_aux`), or is an encoder with windows.
        UserError: a sequence is longer than a window that the architecture keeps in its mask alone.
    """
    if s_aux is not None:
        raise NotImplementedError("packed attention has no attention sinks")
    causal = bool(getattr(module, "is_causal", True))
    if sliding_window is None:
        _refuse_unseen_window(module, packed.longest)
    elif not causal:
        raise NotImplementedError("packed attention of encoders has no windows")
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    states = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    if softcap is None and _takes_varlen(query, value):
        return _varlen(states, packed, scaling, causal, sliding_window)[None], None
    padded = [_Pad.apply(tensor, packed.gather, packed.scatter) for tensor in states]
    sizes = [bucket.num_sequences * bucket.length for bucket in packed.buckets]
    outputs = [
        _bucket_attention(parts, bucket, scaling, causal, sliding_window, softcap)
        for bucket, *parts in zip(packed.buckets, *(tensor.split(sizes) for tensor in padded), strict=True)
    ]
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return _Unpad.apply(joined, packed.scatter)[None], None


def register() -> None:
    """Make the implementation known to transformers; no mask is ever made for it."""
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, _no_mask)


def _no_mask(*_arguments: Any, **_keywords: Any) -> None:
    return None


def _refuse_unseen_window(module: torch.nn.Module, longest: int) -> None:
    """Nothing, unless a layer that was not told of a window should have one: it is in a mask that is never made."""
    config = getattr(module, "config", None)
    kinds = getattr(config, "layer_types", None)
    kind = "sliding_attention" if kinds is None else kinds[module.layer_idx]
    sizes = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    window = getattr(config, sizes[kind], None) if kind in sizes else None
    if window is not None and window < longest:
        raise UserError(
            f"A sequence of {longest} tokens is longer than the attention window of this base ({window} tokens), which "
            "training without padding does not see in this architecture.",
            where="base",
            hint=f"Keep sequences to {window} tokens, or set train.method: peft, which trains on any architecture.",
        )


def _takes_varlen(query: Tensor, value: Tensor) -> bool:
    """Whether the variable-length kernel is there, and its demands on device, precision and head widths are met."""
    width = query.shape[-1]
    fits = query.dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256
    return query.is_cuda and fits and value.shape[-1] == width and _has_varlen(query.device)


@cache
def _has_varlen(device: torch.device) -> bool:
    """Flash attention wants an Ampere GPU or a later one, our call a torch whose kernel takes windows (2.11)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    takes_windows = "window_size" in inspect.signature(varlen_attn).parameters
    return takes_windows and torch.cuda.get_device_capability(device) >= (8, 0)


def _varlen(states: list[Tensor], packed: SequenceLayout, scaling: float, causal: bool, window: int | None) -> Tensor:
    """The variable-length flash kernel of torch, [N, H, E]."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor.contiguous() for tensor in states)
    heads_per_key = query.shape[1] // key.shape[1]
    if heads_per_key > 1:
        key, value = (tensor.repeat_interleave(heads_per_key, dim=1) for tensor in (key, value))
    window_size = (-1 if window is None else window - 1, 0 if causal else -1)
    starts, longest = packed.cumulative, packed.longest
    out = varlen_attn(query, key, value, starts, starts, longest, longest, scale=scaling, window_size=window_size)
    assert isinstance(out, Tensor)
    return out


def _bucket_attention(
    states: list[Tensor],
    bucket: AttentionBucket,
    scaling: float,
    causal: bool,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """One bucket's outputs, [B·T, H, E]; of real tokens none sees padding, which stands behind them if at all."""
    B, T = bucket
    q, k, v = (tensor.view(B, T, *tensor.shape[1:]).transpose(1, 2) for tensor in states)
    mask = None
    if softcap is not None or (window is not None and window < T):
        place = torch.arange(T, device=q.device)
        distance = place[:, None] - place[None, :]
        mask = (distance > (-1 if causal else -T)) & (distance < (T if window is None else window))
    if softcap is None:
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(
            q, k, v, mask, is_causal=causal and mask is None, scale=scaling, enable_gqa=grouped
        )
    else:
        assert mask is not None
        k, v = (tensor.repeat_interleave(q.shape[1] // tensor.shape[1], dim=1) for tensor in (k, v))
        scores = torch.tanh(q @ k.transpose(2, 3) * (scaling / softcap)) * softcap
        out = scores.masked_fill(~mask, float("-inf")).float().softmax(-1).to(q.dtype) @ v
    return out.transpose(1, 2).reshape(B * T, q.shape[1], v.shape[3])


class _Pad(torch.autograd.Function):
    """[N, H, E] → [Σ B·T, H, E]; the gradient takes every token's only copy, where that of indexing would add up."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        ctx.save_for_backward(scatter)
        return tensor.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (scatter,) = ctx.saved_tensors
        return gradient.index_select(0, scatter), None, None


class _Unpad(torch.autograd.Function):
    """[Σ B·T, H, E] → [N, H, E]; no gradient reaches the padding."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, scatter: Tensor) -> Tensor:
        ctx.save_for_backward(scatter)
        ctx.shape = padded.shape
        return padded.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (scatter,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).index_copy_(0, scatter, gradient), None
