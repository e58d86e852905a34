"""What both trainers know of adapters in a base: how factors start, what the configuration says, layers checkpointed.

Shapes: r rank, I input width; A is [r, I].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from hexapla.adapter import LoraSettings
from hexapla.common.errors import UserError
from hexapla.common.seeds import derive_seed
from hexapla.train.spec import LoraSpec

if TYPE_CHECKING:
    import torch


def initial_a(shape: tuple[int, ...], seed: int, adapter: str, path: str) -> torch.Tensor:
    """Initial A [r, I] of one module: uniform in ±1/√I, as peft's default (Kaiming uniform with a = √5).

    It depends on (seed, adapter, path) only, on every device.
    """
    import torch

    generator = torch.Generator().manual_seed(derive_seed(seed, adapter, "init", path))
    bound = 1 / math.sqrt(shape[1])
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def settings_of(paths: Iterable[str], base_id: str, spec: LoraSpec) -> LoraSettings:
    """What an adapter's configuration says; target modules by the last parts of their paths, as peft matches them."""
    names = {path.rsplit(".", 1)[-1] for path in paths}
    return LoraSettings(rank=spec.rank, alpha=spec.alpha, target_modules=tuple(sorted(names)), base_id=base_id)


def checkpoint_layers(model: torch.nn.Module) -> None:
    """Let a model's layers keep their inputs only and be computed again in the backward pass.

    transformers checkpoints layers whose own `training` flag is set, and offers that for whole models only; setting
    the flag on the layer alone leaves the dropout inside it in evaluation mode.

    Raises:
        UserError: its layers do not support it.
    """
    from torch.utils.checkpoint import checkpoint
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError("This base does not support gradient checkpointing.", where="train.gradient_checkpointing")
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.training = True
