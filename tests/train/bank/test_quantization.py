"""A base in 4 or 8 bits: what is loaded, how its layers compute, and that the bank trains on it (bitsandbytes)."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from hexapla.base import Base, linear_shapes, load_model
from hexapla.common.errors import UserError
from hexapla.quantization import Quantization, dequantized_weight, is_quantized
from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.model import BankedModel
from tests.train.bank.packs import CPU, packed, piece
from tests.train.bank.test_bf16 import losses_and_adapter
from tests.train.material import train_spec

KINDS: tuple[Quantization, ...] = ("4bit", "8bit")
# Largest error of a weight as a share of the largest one that shares its scale: half of the widest step between two
# codes (NormalFloat of 4 bits: 1 − 0.7230), and what the scale itself, in 8 bits, is off by.
ERRORS = {"4bit": 0.1385 + 0.02, "8bit": 0.5 / 127 + 0.001}

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra quantization"
)


def _load(folder: Path, quantization: Quantization, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return load_model(Base(str(folder)), dtype=dtype, device=CPU, quantization=quantization)


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_layers_keep_their_shapes_and_the_rest_its_precision(kind: Quantization, llama_base: Path) -> None:
    plain, quantized = _load(llama_base, "none"), _load(llama_base, kind)
    shapes = linear_shapes(quantized, "all-linear")
    assert shapes == linear_shapes(plain, "all-linear")
    assert all(is_quantized(quantized.get_submodule(shape.path)) for shape in shapes)
    assert not is_quantized(quantized.get_output_embeddings())
    assert torch.equal(quantized.get_output_embeddings().weight, plain.get_output_embeddings().weight)
    assert not quantized.training
    assert not any(parameter.requires_grad for parameter in quantized.parameters())


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_dequantized_weights_are_the_bases_rounded(kind: Quantization, llama_base: Path) -> None:
    plain, quantized = _load(llama_base, "none"), _load(llama_base, kind)
    for shape in linear_shapes(plain, "all-linear"):
        weight = plain.get_submodule(shape.path).weight
        rounded = dequantized_weight(quantized.get_submodule(shape.path), torch.float32)
        assert rounded.shape == weight.shape
        assert not torch.equal(rounded, weight)
        # One scale a row in 8 bits, one for 64 entries in a row of the flattened weights in 4 bits.
        width = weight.shape[1] if kind == "8bit" else 64
        largest = weight.reshape(-1, width).abs().amax(1, keepdim=True)
        errors = (rounded - weight).reshape(-1, width).abs() / largest
        assert float(errors.max()) <= ERRORS[kind]
        assert torch.equal(
            dequantized_weight(quantized.get_submodule(shape.path), torch.bfloat16), rounded.to(torch.bfloat16)
        )


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_and_its_gradient_are_those_of_its_dequantized_weight(kind: Quantization, llama_base: Path) -> None:
    layer = _load(llama_base, kind).get_submodule("model.layers.1.mlp.down_proj")
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    dy = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1))
    weight = dequantized_weight(layer, torch.float32)
    y = layer(x)
    (dx,) = torch.autograd.grad(y, x, dy)
    expected = F.linear(x, weight)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(dx, torch.autograd.grad(expected, x, dy)[0])


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_the_bank_is_one_over_the_dequantized_base(kind: Quantization, qwen3_base: Path) -> None:
    """Losses and gradients of every adapter; that the bank takes the base at all is its self-check."""
    quantized, rounded = _load(qwen3_base, kind), _load(qwen3_base, "none")
    with torch.no_grad():
        for shape in linear_shapes(rounded, "all-linear"):
            layer = quantized.get_submodule(shape.path)
            rounded.get_submodule(shape.path).weight.copy_(dequantized_weight(layer, torch.float32))
    losses, gradients = zip(*(_pass(base) for base in (quantized, rounded)), strict=True)
    torch.testing.assert_close(losses[0], losses[1])
    assert gradients[1].any(dim=1).all()
    torch.testing.assert_close(gradients[0], gradients[1])


def _pass(base: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Losses and gradients of two random adapters on some layers; gradients reach them through all the others."""
    model = BankedModel(base, ("q_proj", "k_proj", "down_proj"))
    bank = FactorBank(model.groups, [4, 4], [2.0, 0.5], CPU)
    model.load(bank, [0.0, 0.0])
    bank.values.copy_(torch.randn(bank.values.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    nll = model.backward(packed(piece(0, 9, 4), piece(1, 6, 11, seed=1)))
    return nll, bank.gradients


@needs_bitsandbytes
def test_training_over_a_base_in_4_bits(qwen3_base: Path, tmp_path: Path) -> None:
    runs = {}
    for kind in ("none", "4bit"):
        spec = train_spec(quantization=kind, epochs=5)
        runs[kind], adapter = losses_and_adapter(qwen3_base, spec, tmp_path / kind)
        assert all(a.dtype == b.dtype == torch.float32 for a, b in adapter.factors.values())
    assert runs["4bit"][-1] < 0.9 * runs["4bit"][0]
    assert runs["4bit"] == pytest.approx(runs["none"], rel=0.1)
    assert runs["4bit"] != pytest.approx(runs["none"], rel=1e-3)


def test_a_missing_extra_is_named(qwen3_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"train\.quantization: 4bit.*pip install \"hexapla\[quantization\]\""):
        _load(qwen3_base, "4bit")


def test_a_base_that_is_quantized_already_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(qwen3_base, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="quantised already"):
        _load(folder, "8bit")
