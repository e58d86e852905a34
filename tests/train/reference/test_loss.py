"""The narrowed loss against transformers' own, on three architectures, in any accumulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.base import Base, load_model, load_tokenizer
from hexapla.prompts import get_template
from hexapla.train.encoding import EncodedExample, Limits, encode_examples
from hexapla.train.reference.batching import collate
from hexapla.train.reference.layers import attach
from hexapla.train.reference.loss import target_logits, target_loss_sum
from hexapla.train.spec import LoraSpec
from tests.train.material import examples

CPU = torch.device("cpu")


def _model(folder: Path) -> Any:
    return load_model(Base(str(folder)), dtype=torch.float32, device=CPU)


def _encoded(folder: Path, num: int = 8) -> list[EncodedExample]:
    tokenizer = load_tokenizer(Base(str(folder)))
    return encode_examples(tokenizer, get_template("alma"), examples(num), Limits(512, 512)).examples


def _one_by_one(model: Any, encoded: list[EncodedExample]) -> torch.Tensor:
    """Sum of transformers' own loss over single unpadded sequences, labels −100 on the prompt."""
    total = torch.zeros(())
    for example in encoded:
        ids = torch.tensor(example.ids, dtype=torch.long)[None]
        labels = ids.clone()
        labels[:, : example.num_prompt_tokens] = -100
        total = total + model(input_ids=ids, labels=labels).loss * example.num_target_tokens
    return total


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma"])
def test_a_padded_batch_equals_single_sequences_with_their_gradients(
    architecture: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"{architecture}_base")
    encoded = _encoded(folder)
    assert len({example.num_input_tokens for example in encoded}) > 1
    layers = attach(_model(folder), LoraSpec(rank=4), gradient_checkpointing=False)
    layers.initialise(0, "a")
    with torch.no_grad():
        for _, b in layers.factors.values():
            b.add_(0.02)
    ours = target_loss_sum(layers.model, collate(encoded, CPU))
    theirs = _one_by_one(layers.model, encoded)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    parameters = list(layers.parameters())
    for mine, other in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        assert float((mine - other).norm()) <= 1e-4 * float(other.norm())


def test_logits_are_computed_for_targets_only_and_the_hook_is_gone(qwen3_base: Path) -> None:
    model, encoded = _model(qwen3_base), _encoded(qwen3_base, 3)
    batch = collate(encoded, CPU)
    logits = target_logits(model, batch)
    assert logits.shape == (sum(e.num_target_tokens for e in encoded), model.config.vocab_size)
    full = model(input_ids=batch.input_ids).logits
    assert full.shape[:2] == batch.input_ids.shape
    torch.testing.assert_close(logits, full.flatten(0, 1)[batch.predictors])


def test_soft_capping_after_the_head_stays_in_force() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=1.0,
        attn_implementation="eager",
    )
    model = Gemma2ForCausalLM(config).eval()
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=2.0)
    example = EncodedExample("e", torch.arange(3, 12, dtype=torch.int32).numpy(), 4)
    batch = collate([example], CPU)
    logits = target_logits(model, batch)
    assert 0.5 < float(logits.detach().abs().max()) <= 1.0
    torch.testing.assert_close(logits, model(input_ids=batch.input_ids).logits[0, 3:])


def test_gradient_checkpointing_changes_nothing_but_recomputes(qwen3_base: Path) -> None:
    encoded = _encoded(qwen3_base, 4)
    gradients = []
    calls = []
    for checkpointing in (False, True):
        layers = attach(_model(qwen3_base), LoraSpec(rank=4), gradient_checkpointing=checkpointing)
        layers.initialise(0, "a")
        counted: list[int] = []
        layers.model.get_submodule("base_model.model.model.layers.0.mlp").register_forward_pre_hook(
            lambda *_, counted=counted: counted.append(1)
        )
        target_loss_sum(layers.model, collate(encoded, CPU)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in layers.parameters()]))
        calls.append(len(counted))
    assert calls == [1, 2]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_bases_own_dropout_never_acts_and_the_adapters_does(qwen3_base: Path) -> None:
    model = _model(qwen3_base)
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    batch = collate(_encoded(qwen3_base, 2), CPU)
    plain = attach(model, LoraSpec(rank=4), gradient_checkpointing=True)
    plain.initialise(0, "a")
    assert torch.equal(target_logits(plain.model, batch), target_logits(plain.model, batch))
    dropping = attach(_model(qwen3_base), LoraSpec(rank=4, dropout=0.5), gradient_checkpointing=False)
    dropping.initialise(0, "a")
    with torch.no_grad():
        for _, b in dropping.factors.values():
            b.add_(0.1)
    assert not torch.equal(target_logits(dropping.model, batch), target_logits(dropping.model, batch))
