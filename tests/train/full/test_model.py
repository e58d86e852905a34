"""Packed losses are those of every document alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from hexapla.base import Base, load_model
from hexapla.common.errors import UserError
from hexapla.train.full import model as packed
from hexapla.train.full.layout import lay_out
from hexapla.train.full.model import PackedModel
from hexapla.train.full.packing import join_documents
from tests.tiny_models import tiny_base


def _gemma2() -> PreTrainedModel:
    """Sliding windows, soft-capped scores and logits: all that attention and head may do otherwise."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=6,
        final_logit_softcapping=2.0,
        attn_logit_softcapping=3.0,
        attn_implementation="eager",
        initializer_range=0.3,
    )
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma", "gemma2"])
def test_losses_and_gradients_are_those_of_documents_alone(
    tmp_path_factory: pytest.TempPathFactory, architecture: str
) -> None:
    if architecture == "gemma2":
        plain, model = _gemma2(), _gemma2()
    else:
        base = Base(str(tiny_base(tmp_path_factory, architecture)))
        plain, model = (load_model(base, dtype=torch.float32, device=torch.device("cpu")) for _ in range(2))
    generator = np.random.default_rng(3)
    documents = [generator.integers(3, 380, length).astype(np.int32) for length in (12, 3, 9, 9)]
    prompts = [5, 1, 1, 8]
    expected = []
    for document, prompt in zip(documents, prompts, strict=True):
        ids = torch.from_numpy(document).long()
        logits = plain.requires_grad_(True)(input_ids=ids[None]).logits[0, prompt - 1 : -1].float()
        expected.append(F.cross_entropy(logits, ids[prompt:], reduction="none"))
    torch.cat(expected).pow(2).sum().backward()
    taken = PackedModel(model)
    model.requires_grad_(True)
    nll = taken(lay_out([join_documents(documents, prompts, [0] * 4)]))
    nll.pow(2).sum().backward()
    assert torch.allclose(nll, torch.cat(expected), atol=1e-5)
    for name, parameter in model.named_parameters():
        gradient = plain.get_parameter(name).grad
        assert parameter.grad is not None
        assert gradient is not None
        assert float((parameter.grad - gradient).norm() / gradient.norm()) < 1e-4, name


def test_losses_of_logits_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packed._CHUNK_BYTES, "cpu", 3 * 4 * 50)  # three rows
    torch.manual_seed(0)
    logits = torch.randn(8, 50, requires_grad=True)
    targets, weights = torch.randint(0, 50, (8,)), torch.rand(8)
    (packed._TokenLosses.apply(logits, targets) * weights).sum().backward()
    found = logits.grad
    logits.grad = None
    (F.cross_entropy(logits, targets, reduction="none") * weights).sum().backward()
    assert found is not None
    assert logits.grad is not None
    assert torch.allclose(found, logits.grad, atol=1e-6)


def test_an_architecture_that_mixes_documents_is_refused(qwen3_base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(qwen3_base).eval()
    layer = model.model.layers[0].mlp

    def leak(_module: torch.nn.Module, _arguments: object, output: torch.Tensor) -> torch.Tensor:
        return output + output.cumsum(1)  # as state-space layers do

    layer.register_forward_hook(leak)
    with pytest.raises(UserError, match=r"qwen3\) cannot be trained on packed text"):
        PackedModel(model)
