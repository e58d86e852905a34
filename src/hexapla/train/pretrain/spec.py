"""Settings of continued pre-training. The defaults are those of LMT (arXiv 2511.07003) where the paper gives them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hexapla.common.spec import Spec
from hexapla.data.mixing import MixSpec
from hexapla.train.spec import LoraSpec, OptimizerSpec


class PretrainOptimizerSpec(OptimizerSpec):
    """AdamW with LMT's rate and schedule."""

    lr: float = Field(default=2e-5, gt=0, description="Highest learning rate. Default: LMT.")
    schedule: Literal["inverse-sqrt", "cosine", "constant"] = Field(
        default="cosine", description="Course of the rate after the linear warm-up. Default: LMT."
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="Share of all steps with linearly rising rate. Default: LMT."
    )


class PretrainSpec(Spec):
    """Continued pre-training of the base on `data.monolingual` and `data.bilingual`.

    Sources of the mix are `monolingual` and one for each hub, under its code: the pairs of that hub with every other
    language, each pair in one direction (half of them in each), as `<en2ky> SOURCE <ky> TARGET`.
    """

    mix: MixSpec = Field(
        default_factory=MixSpec,
        description="Weights of monolingual and of every hub's pairs. LMT: 1 each; null weights: as large as they are.",
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens to train on; null: until every source was seen once (LMT: 90 billion).",
    )
    length: int = Field(default=2048, ge=8, description="Tokens of a packed sequence. Default: LMT.")
    batch: int = Field(default=1536, ge=1, description="Packed sequences whose gradient makes a step. Default: LMT.")
    lora: LoraSpec | None = Field(
        default=None, description="Train an adapter and fold it into the base; null: every parameter, as LMT."
    )
    optimizer: PretrainOptimizerSpec = Field(
        default_factory=PretrainOptimizerSpec, description="Optimiser and learning rate."
    )
    micro_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that go through the model at once on a device, at least one sequence; null: as suits it.",
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
