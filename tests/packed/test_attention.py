"""Packed sequences against each sequence alone, through the model as transformers runs it and by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from hexapla.base import Base, load_model
from hexapla.common.errors import UserError
from hexapla.packed import attention
from hexapla.packed.layout import sequence_layout
from hexapla.train.bank.packing import PackedBatch, Piece
from tests.train.bank.packs import CPU, example, packed

LENGTHS = (5, 23, 1, 12, 22, 2, 17, 40)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]
ARCHITECTURES = ("qwen3", "llama", "gemma", "mistral", "gemma2", "gemma3")


def _windowed(architecture: str) -> Any:
    """Random models of two layers whose window is shorter than most of the sequences."""
    shape: dict[str, Any] = {
        "vocab_size": 384,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "sliding_window": 6,
        "pad_token_id": 0,
    }
    layer_types = ["sliding_attention", "full_attention"]
    configs = {
        "mistral": lambda: transformers.MistralConfig(**shape),
        "gemma2": lambda: transformers.Gemma2Config(**shape, layer_types=layer_types, attn_logit_softcapping=2.0),
        "gemma3": lambda: transformers.Gemma3TextConfig(**shape, layer_types=layer_types),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(configs[architecture]())
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> Any:
    """A model with its usual attention, eager: the one that knows soft capping."""
    if request.param in ("mistral", "gemma2", "gemma3"):
        base = _windowed(request.param)
    else:
        folder: Path = request.getfixturevalue(f"{request.param}_base")
        base = load_model(Base(str(folder)), dtype=torch.float32, device=CPU)
    base.requires_grad_(False)
    base.set_attn_implementation("eager")
    return base


def _batch(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> PackedBatch:
    examples = tuple(example(length, seed=seed + place) for place, length in enumerate(lengths))
    return packed(Piece(0, examples[:3], 1, True), Piece(1, examples[3:], 1, True))


def _weights_of(model: Any) -> list[Tensor]:
    """The first layer's q, k and v: all gradients of attention come by there."""
    layer = model.base_model.layers[0].self_attn
    return [projection.weight.requires_grad_() for projection in (layer.q_proj, layer.k_proj, layer.v_proj)]


def _run(model: Any, batch: PackedBatch) -> Tensor:
    model.set_attn_implementation(attention.PACKED)
    hidden: Tensor = model.base_model(
        input_ids=batch.input_ids[None], position_ids=batch.position_ids[None], use_cache=False, packed=batch.layout
    ).last_hidden_state[0]
    return hidden


def _sequences(batch: PackedBatch) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(batch.layout.cumulative.tolist())]


@pytest.fixture(autouse=True)
def _registered() -> None:
    attention.register()


def test_packed_sequences_are_as_alone(model: Any) -> None:
    batch, weights = _batch(), _weights_of(model)
    direction = torch.randn(batch.num_tokens, model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    alone = [
        model.base_model(input_ids=batch.input_ids[None, each], use_cache=False).last_hidden_state[0]
        for each in _sequences(batch)
    ]
    expected = torch.cat(alone)
    expected_gradients = torch.autograd.grad((expected * direction).sum(), weights)
    hidden = _run(model, batch)
    gradients = torch.autograd.grad((hidden * direction).sum(), weights)
    torch.testing.assert_close(hidden, expected, rtol=1e-5, atol=1e-5)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        scale = float(wanted.abs().max())
        torch.testing.assert_close(gradient / scale, wanted / scale, rtol=1e-5, atol=2e-6)


def test_a_sequence_changes_no_other(model: Any) -> None:
    batch, other = _batch(), _batch()
    changed = _sequences(batch)[4]
    other.input_ids[changed] = (other.input_ids[changed] + 7) % 384
    before, after = _run(model, batch), _run(model, other)
    same = torch.ones(batch.num_tokens, dtype=torch.bool)
    same[changed] = False
    assert torch.equal(after[same], before[same])
    assert not torch.equal(after[changed], before[changed])


def _gradients(model: Any, batch: PackedBatch, broken: slice | None) -> Tensor:
    """Of the embeddings of every token, with those of one sequence not finite."""
    embedded = model.get_input_embeddings()(batch.input_ids)
    if broken is not None:
        embedded[broken] = float("nan")
    embedded.requires_grad_()
    model.set_attn_implementation(attention.PACKED)
    hidden = model.base_model(
        inputs_embeds=embedded[None], position_ids=batch.position_ids[None], use_cache=False, packed=batch.layout
    ).last_hidden_state
    (gradient,) = torch.autograd.grad(hidden.sum(), embedded)
    return gradient


@pytest.mark.parametrize("place", [0, 3])
def test_a_sequence_that_is_not_finite_spoils_no_gradient_of_another(model: Any, place: int) -> None:
    batch = _batch()
    broken = _sequences(batch)[place]
    expected, found = _gradients(model, batch, None), _gradients(model, batch, broken)
    others = torch.ones(batch.num_tokens, dtype=torch.bool)
    others[broken] = False
    assert torch.equal(found[others], expected[others])
    assert found[broken].isnan().all()


def test_attention_sinks_are_refused() -> None:
    states = torch.zeros(1, 2, 3, 8)
    with pytest.raises(NotImplementedError, match="attention sinks"):
        attention.packed_attention(
            torch.nn.Identity(),
            states,
            states,
            states,
            None,
            scaling=1.0,
            packed=_batch((3,)).layout,
            s_aux=torch.zeros(2),
        )


@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 4), (False, None)])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("device", DEVICES)
def test_every_sequence_is_attended_to_by_itself_alone(
    device: str, causal: bool, window: int | None, softcap: float | None
) -> None:
    lengths = np.array([5, 9, 1, 9, 8])
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1, heads, lengths.sum(), 8, generator=generator) for heads in (4, 2, 2)]
    direction = torch.randn(1, lengths.sum(), 4, 8, generator=generator)
    module = torch.nn.Identity()
    module.is_causal = causal
    # the variable-length kernel takes half precision only
    given = [each.to(device, torch.bfloat16 if device == "cuda" else torch.float32).requires_grad_() for each in states]
    layout = sequence_layout(lengths, device, causal=causal)
    settings: dict[str, Any] = {"scaling": 0.3, "packed": layout, "sliding_window": window, "softcap": softcap}
    found, _ = attention.packed_attention(module, *given, None, **settings)
    gradients = torch.autograd.grad(found, given, direction.to(found))

    alone = [each.clone().requires_grad_() for each in states]
    ends = np.cumsum(lengths)
    parts = [
        _attention_by_hand([each[0, :, start:end] for each in alone], causal, window, softcap)
        for start, end in zip(ends - lengths, ends, strict=True)
    ]
    expected = torch.cat(parts)[None]
    expected_gradients = torch.autograd.grad(expected, alone, direction)
    tolerance = 5e-2 if device == "cuda" else 1e-5
    for one, other in zip((found, *gradients), (expected, *expected_gradients), strict=True):
        torch.testing.assert_close(one.float().cpu(), other, rtol=tolerance, atol=tolerance)


def _attention_by_hand(states: list[Tensor], causal: bool, window: int | None, softcap: float | None) -> Tensor:
    """Of one sequence: [H, T, E], [J, T, E], [J, T, E] → [T, H, E]."""
    q, k, v = states[0], *(each.repeat_interleave(2, dim=0) for each in states[1:])
    scores = q @ k.transpose(1, 2) * 0.3
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    place = torch.arange(q.shape[1])
    distance = place[:, None] - place
    hidden = (distance < 0) if causal else torch.zeros_like(distance, dtype=torch.bool)
    if window is not None:
        hidden |= distance >= window
    return (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v).transpose(0, 1)


def test_windows_that_only_a_mask_would_hold_are_refused_where_they_would_act() -> None:
    shape = {"vocab_size": 384, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2, "sliding_window": 6}
    config = transformers.PhimoeConfig(**shape, **heads, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert _run(model, _batch((6, 2))).isfinite().all()
    with pytest.raises(UserError, match=r"7 tokens is longer than the attention window of this base \(6 tokens\)"):
        _run(model, _batch((6, 7)))


def test_encoders_with_windows_are_refused() -> None:
    states, module = torch.zeros(1, 2, 3, 8), torch.nn.Identity()
    module.is_causal = False
    settings: dict[str, Any] = {"scaling": 1.0, "packed": _batch((3,)).layout, "sliding_window": 2}
    with pytest.raises(NotImplementedError, match="encoders has no windows"):
        attention.packed_attention(module, states, states, states, None, **settings)


def test_autocast_sets_the_precision() -> None:
    states = torch.randn(1, 2, 3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attention.packed_attention(
            torch.nn.Identity(), states, states, states, None, scaling=1.0, packed=_batch((3,)).layout
        )
    assert found.dtype == torch.bfloat16
