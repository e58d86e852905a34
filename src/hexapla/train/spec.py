"""Settings of training. The defaults are those of DAT (arXiv 2502.11223) where the paper gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from hexapla.common.errors import nearest
from hexapla.common.spec import Spec
from hexapla.plan import STRATEGIES


class LoraSpec(Spec):
    """Shape of an adapter (LoRA, arXiv 2106.09685)."""

    rank: int = Field(default=16, ge=1, description="Rank r of the update B·A. Default: DAT; rank 32 gave it no gain.")
    alpha: float = Field(
        default=32.0, gt=0, description="The update is scaled by alpha/rank. DAT does not say; ours: twice the rank."
    )
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="Layers that carry an update: all-linear (every linear layer but the output head, as DAT's sizes "
        "imply), or last parts of module paths such as [q_proj, v_proj].",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of an adapter's inputs dropped in training. DAT does not say; ours: none.",
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _known_word(cls, value: object) -> object:
        if isinstance(value, str) and value != "all-linear":
            raise ValueError("give all-linear, or a list of layer names such as [q_proj, v_proj]")
        return value

    @field_validator("targets")
    @classmethod
    def _distinct(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return value
        if not value:
            raise ValueError("at least one layer name is needed")
        return tuple(sorted(set(value)))


class OptimizerSpec(Spec):
    """AdamW with decoupled weight decay (arXiv 1711.05101) and a learning rate that follows a schedule."""

    lr: float = Field(default=2e-3, gt=0, description="Highest learning rate. Default: DAT.")
    schedule: Literal["inverse-sqrt", "cosine", "constant"] = Field(
        default="inverse-sqrt", description="Course of the rate after the linear warm-up. Default: DAT."
    )
    warmup: float = Field(
        default=0.01, ge=0, lt=1, description="Share of all steps with linearly rising rate. Default: DAT."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="Decoupled decay, times the rate. Default: DAT.")
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999), description="Decay rates of the moment estimates. DAT does not say; AdamW's paper."
    )
    eps: float = Field(
        default=1e-8, gt=0, description="Added to the second moment's root. DAT does not say; AdamW's paper."
    )
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        description="Greater gradients are scaled down to this norm. DAT does not say; HF Trainer's default.",
    )

    @field_validator("betas")
    @classmethod
    def _below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("both betas must be at least 0 and below 1")
        return value


class TrainSpec(Spec):
    """How the adapters of a plan are trained."""

    strategy: str | tuple[str, ...] = Field(
        default="direction-aware",
        description="Which directions share an adapter: multilingual, group, separate, direction-aware (DAT); a list "
        "trains every strategy, equal adapters once.",
    )
    lora: LoraSpec = Field(default_factory=LoraSpec, description="Shape of the adapters.")
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec, description="Optimiser and learning rate.")
    batch: int = Field(default=128, ge=1, description="Sequences whose gradient makes one step. Default: DAT.")
    epochs: int = Field(default=1, ge=1, description="Times that every example is seen. Default: DAT.")
    max_source_tokens: int = Field(
        default=512, ge=1, description="Examples whose source sentence has more tokens are set aside. Default: DAT."
    )
    max_target_tokens: int = Field(
        default=512,
        ge=2,
        description="Examples whose target has more tokens, end of sequence included, are set aside. Default: DAT.",
    )
    micro_batch_tokens: int = Field(
        default=4096,
        ge=1,
        description="Tokens, padding included, that go through the base at once: bounds memory, changes results by "
        "summation order only. A longer example goes alone. On a CPU about 1000 is fastest. Ours.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Precision of the base and of the arithmetic; adapters and optimiser are fp32. auto: bf16 on a GPU "
        "that has it, else fp32. DAT: half precision.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute layers in the backward pass: less memory, a third more time. Ours.",
    )
    checkpoint_every_s: float = Field(
        default=300.0, ge=0, description="Seconds between checkpoints of a running adapter; 0: after every step. Ours."
    )

    @field_validator("strategy")
    @classmethod
    def _known_strategies(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (value,) if isinstance(value, str) else value
        if not names:
            raise ValueError("at least one strategy is needed")
        for name in names:
            if name not in STRATEGIES:
                raise ValueError(f"there is no strategy {name!r}. {nearest(name, STRATEGIES)}")
        if len(set(names)) < len(names):
            raise ValueError("a strategy is named twice")
        return value

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies as a tuple, one or several."""
        return (self.strategy,) if isinstance(self.strategy, str) else self.strategy
