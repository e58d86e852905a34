"""Settings that every training of a whole base has, beside what it learns."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hexapla.common.spec import Spec
from hexapla.train.spec import LoraSpec


class WholeModelSpec(Spec):
    """What is trained of the base, and how it is run."""

    lora: LoraSpec | None = Field(
        default=None, description="Train an adapter and fold it into the base; null: every parameter, as the papers do."
    )
    micro_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that go through the model at once on a device, at least one sequence: bounds memory, "
        "changes results by summation order only. null: as suits it.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Arithmetic; weights and moments are fp32. auto: bf16 on a GPU that has it, else fp32.",
    )
    gradient_checkpointing: bool = Field(default=False, description="Recompute layers in the backward pass.")
    checkpoint_every_s: float = Field(default=900.0, ge=0, description="Seconds between checkpoints. Ours.")

    def outcome(self) -> dict[str, Any]:
        """What of the settings the trained model depends on, beyond the order of summation, as JSON data."""
        settings = self.resolved()
        for neutral in ("micro_batch_tokens", "gradient_checkpointing", "checkpoint_every_s"):
            del settings[neutral]
        return settings
