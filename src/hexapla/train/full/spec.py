"""How a whole model is held in memory, run and saved while it is trained. Nothing here changes what is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hexapla.common.spec import Spec


class FullSpec(Spec):
    """Where and how a whole model is trained; results change by rounding only."""

    micro_batch_tokens: int | None = Field(
        default=None, ge=1, description="Tokens that go through the model at once on a device; null: as suits it."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Arithmetic; weights and moments are fp32. auto: bf16 on a GPU that has it, else fp32.",
    )
    gradient_checkpointing: bool = Field(default=False, description="Recompute layers in the backward pass.")
    fsdp: bool = Field(
        default=False, description="Share weights, gradients and moments out over the GPUs (FSDP2); needs several."
    )
    checkpoint_every_s: float = Field(default=900.0, ge=0, description="Seconds between checkpoints. Ours.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept; older ones are removed.")
