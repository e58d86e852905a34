"""The trainable factors: put into a base by peft, re-initialised for every job, read out as an adapter.

One set of peft layers serves every job of a trainer; a new job re-initialises its factors in place. Shapes: r rank,
I input width, O output width; A is [r, I], B is [O, r].
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.base import linear_shapes
from hexapla.common.errors import UserError
from hexapla.train.lora import checkpoint_layers, initial_a
from hexapla.train.spec import LoraSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PEFT_NAME = "trained"


@dataclass(frozen=True)
class LoraLayers:
    """A base with adapter layers of peft in it.

    Attributes:
        model: the base wrapped by peft; only the factors require gradients.
        factors: module path in the base → (A, B), in the model's order.
    """

    model: Any
    factors: dict[str, tuple[torch.nn.Parameter, torch.nn.Parameter]]

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All factors, in the model's order."""
        for a, b in self.factors.values():
            yield a
            yield b

    def initialise(self, seed: int, adapter: str) -> None:
        """Start a new adapter: A uniform (see `initial_a`), B zero, so that it changes nothing yet."""
        import torch

        with torch.no_grad():
            for path, (a, b) in self.factors.items():
                a.copy_(initial_a(tuple(a.shape), seed, adapter, path))
                b.zero_()

    def to_adapter(self, settings: LoraSettings) -> LoraAdapter:
        """A copy of the factors on the CPU."""
        copies = {path: (a.detach().cpu().clone(), b.detach().cpu().clone()) for path, (a, b) in self.factors.items()}
        return LoraAdapter(settings, copies)


def attach(base: PreTrainedModel, spec: LoraSpec, *, gradient_checkpointing: bool) -> LoraLayers:
    """Put adapter layers into a frozen base, which is changed by this.

    The base stays in evaluation mode, so that its own dropout never acts; only the adapters' dropout does.

    Raises:
        UserError: a target names no linear layer of this base, or it has none at all.
    """
    from peft import LoraConfig, get_peft_model

    paths = [shape.path for shape in linear_shapes(base, spec.targets)]
    if not paths:
        raise UserError("The base has no linear layers that could carry an adapter.", where="base")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules=paths,
        lora_dropout=spec.dropout,
        bias="none",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # read by peft
        model = get_peft_model(base, config, adapter_name=_PEFT_NAME, autocast_adapter_dtype=True)
    model.eval()
    for name, module in model.named_modules():
        if f"lora_dropout.{_PEFT_NAME}" in name:
            module.training = True
    if gradient_checkpointing:
        checkpoint_layers(model)
    factors = {}
    for path in paths:
        layer = base.get_submodule(path)
        layer.cast_input_dtype_enabled = False  # autocast does it; casting twice would keep fp32 copies of the inputs
        factors[path] = (layer.lora_A[_PEFT_NAME].weight, layer.lora_B[_PEFT_NAME].weight)
    return LoraLayers(model, factors)
