"""Settings of continued pre-training. The defaults are those of LMT (arXiv 2511.07003) where the paper gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hexapla.data.mixing import MixSpec
from hexapla.train.full.spec import WholeModelSpec
from hexapla.train.spec import OptimizerSpec


class PretrainOptimizerSpec(OptimizerSpec):
    """AdamW with LMT's rate and schedule."""

    lr: float = Field(default=2e-5, gt=0, description="Highest learning rate. Default: LMT.")
    schedule: Literal["inverse-sqrt", "cosine", "constant"] = Field(
        default="cosine", description="Course of the rate after the linear warm-up. Default: LMT."
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="Share of all steps with linearly rising rate. Default: LMT."
    )


class PretrainSpec(WholeModelSpec):
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
    optimizer: PretrainOptimizerSpec = Field(
        default_factory=PretrainOptimizerSpec, description="Optimiser and learning rate."
    )
