"""Settings of alignment training. The defaults are AlignX's (arXiv 2509.24338) where the paper gives them."""

from __future__ import annotations

from pydantic import Field

from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.full.spec import WholeModelSpec
from hexapla.train.spec import OptimizerSpec, Rate, Schedule, WarmUp, rate_field, schedule_field, warmup_field


class AlignOptimizerSpec(OptimizerSpec):
    """AdamW with AlignX's rate."""

    lr: Rate = rate_field(2e-6, "Default: AlignX.")
    schedule: Schedule = schedule_field("cosine", "AlignX does not say; ours.")
    warmup: WarmUp = warmup_field(0.03, "AlignX does not say; ours.")


class AlignSpec(WholeModelSpec):
    """AlignX's first stage: the base learns to translate `data.train` while its representations are aligned.

    What follows in the recipe (`train`) is then done with the aligned base; AlignX's second stage is `train` with
    method full and `data.instructions`.
    """

    objectives: AlignmentSpec = Field(default_factory=AlignmentSpec, description="The losses that align.")
    examples: int | None = Field(
        default=None, ge=2, description="Examples at most, chosen by a hash of their ids; null: all. Ours."
    )
    optimizer: AlignOptimizerSpec = Field(
        default_factory=AlignOptimizerSpec, description="Optimiser and learning rate."
    )
    batch: int = Field(default=128, ge=1, description="Examples whose gradient makes a step. Default: AlignX.")
    epochs: int = Field(default=2, ge=1, description="Times that every example is seen. Default: AlignX.")
    max_tokens: int = Field(
        default=512,
        ge=8,
        description="Examples with a longer source sentence, or a longer target, are set aside. Default: AlignX.",
    )

    @property
    def acting_objectives(self) -> AlignmentSpec | None:
        """The losses that align; None where none has a weight."""
        return self.objectives if self.objectives.acts else None
