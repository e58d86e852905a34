"""Linear layers whose frozen weights lie in 4 or 8 bits (bitsandbytes): how they are made, and how they compute.

Weights are dequantised for every product and thrown away after it, in the backward pass again. So both kinds round the
weights and nothing else: bitsandbytes' own 8-bit product (LLM.int8, arXiv 2208.07339) also rounds what it is given, and
picks the columns that it leaves alone by all tokens of a batch; an adapter would then depend on its company.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

from hexapla.common.errors import require_extra

Quantization = Literal["none", "8bit", "4bit"]

_LARGEST_CODE = 127  # of the 8-bit codes: a row's scale is its largest weight


def quantization_config(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """What transformers is to quantise by: 4-bit NormalFloat with doubly quantised scales (QLoRA, arXiv 2305.14314).

    Args:
        dtype: of the products.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    if quantization == "none":
        return None
    require_extra("bitsandbytes", "quantization", f"train.quantization: {quantization}")
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def compute_dequantized(model: PreTrainedModel) -> None:
    """Let every quantised layer of a model compute as `FrozenProduct` does."""
    for module in model.modules():
        if is_quantized(module):
            module.forward = MethodType(_forward, module)


def is_quantized(layer: torch.nn.Module) -> bool:
    """Whether a linear layer's weights are codes."""
    return isinstance(layer, torch.nn.Linear) and not layer.weight.is_floating_point()


def dequantized_weight(layer: torch.nn.Module, dtype: torch.dtype) -> Tensor:
    """A quantised layer's weights [O, I] as numbers, a new tensor."""
    weight: Any = layer.weight
    if weight.dtype == torch.int8:
        scales = weight.SCB[:, None] / _LARGEST_CODE
        return torch.mul(weight.data, scales, out=torch.empty(weight.shape, dtype=dtype, device=weight.device))
    functional = require_extra("bitsandbytes.functional", "quantization", "A base in 4 bits")
    numbers: Tensor = functional.dequantize_4bit(weight.data, weight.quant_state)
    return numbers.to(dtype)


class FrozenProduct(torch.autograd.Function):
    """x Wᵀ + b for x [..., I] and a quantised layer; keeps codes for the backward pass, no numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: torch.nn.Linear) -> Tensor:
        """See class."""
        ctx.layer = layer
        bias = layer.bias
        return F.linear(x, dequantized_weight(layer, x.dtype), bias if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        """dY W."""
        return dy @ dequantized_weight(ctx.layer, dy.dtype), None


def _forward(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    product: Tensor = FrozenProduct.apply(x, layer)
    return product
