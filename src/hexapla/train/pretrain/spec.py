"""Settings of continued pre-training. The defaults are those of LMT (arXiv 2511.07003) where the paper gives them."""

from __future__ import annotations

from pydantic import Field

from hexapla.data.mixing import MixSpec
from hexapla.train.full.spec import WholeModelSpec
from hexapla.train.spec import OptimizerSpec, Rate, Schedule, WarmUp, rate_field, schedule_field, warmup_field


class PretrainOptimizerSpec(OptimizerSpec):
    """AdamW with LMT's rate and schedule."""

    lr: Rate = rate_field(2e-5, "Default: LMT.")
    schedule: Schedule = schedule_field("cosine", "Default: LMT.")
    warmup: WarmUp = warmup_field(0.05, "Default: LMT.")


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
