"""Packed sequences against each sequence alone through the model as transformers runs it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from hexapla.base import Base, load_model
from hexapla.train.bank import attention
from hexapla.train.bank.packing import PackedBatch, Piece
from tests.train.bank.packs import CPU, example, packed

LENGTHS = (5, 23, 1, 12, 22, 2, 17, 40)
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
        input_ids=batch.input_ids[None], position_ids=batch.position_ids[None], use_cache=False, packed=batch
    ).last_hidden_state[0]
    return hidden


def _sequences(batch: PackedBatch) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(batch.cumulative.tolist())]


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
        inputs_embeds=embedded[None], position_ids=batch.position_ids[None], use_cache=False, packed=batch
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
            torch.nn.Identity(), states, states, states, None, scaling=1.0, packed=_batch((3,)), s_aux=torch.zeros(2)
        )
