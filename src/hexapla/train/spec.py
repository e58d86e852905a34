"""Settings of training. The defaults are those of DAT (arXiv 2502.11223) where the paper gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hexapla.common.errors import nearest
from hexapla.common.spec import Spec
from hexapla.plan import SHARED, STRATEGIES
from hexapla.train.align.objectives import AlignmentSpec


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


Rate = Annotated[float, Field(gt=0)]
Schedule = Literal["inverse-sqrt", "cosine", "constant"]
WarmUp = Annotated[float, Field(ge=0, lt=1)]


def rate_field(default: float, source: str) -> Any:
    """The field `lr` of an optimiser; `source` says where its default is from, as in the two below."""
    return Field(default=default, description=f"Highest learning rate. {source}")


def schedule_field(default: Schedule, source: str) -> Any:
    """The field `schedule` of an optimiser."""
    return Field(default=default, description=f"Course of the rate after the linear warm-up. {source}")


def warmup_field(default: float, source: str) -> Any:
    """The field `warmup` of an optimiser."""
    return Field(default=default, description=f"Share of all steps with linearly rising rate. {source}")


class OptimizerSpec(Spec):
    """AdamW with decoupled weight decay (arXiv 1711.05101) and a learning rate that follows a schedule."""

    lr: Rate = rate_field(2e-3, "Default: DAT.")
    schedule: Schedule = schedule_field("inverse-sqrt", "Default: DAT.")
    warmup: WarmUp = warmup_field(0.01, "Default: DAT.")
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


class AdapterSpec(Spec):
    """What one adapter has otherwise than the others; None: as the others."""

    rank: int | None = Field(default=None, ge=1, description="As train.lora.rank.")
    alpha: float | None = Field(default=None, gt=0, description="As train.lora.alpha.")
    dropout: float | None = Field(default=None, ge=0, lt=1, description="As train.lora.dropout.")
    lr: float | None = Field(default=None, gt=0, description="As train.optimizer.lr.")
    batch: int | None = Field(default=None, ge=1, description="As train.batch.")
    epochs: int | None = Field(default=None, ge=1, description="As train.epochs.")


class DevelopmentSpec(Spec):
    """Measuring on development rows while an adapter is trained: its best state is kept."""

    metric: Literal["loss", "chrf"] = Field(
        default="loss",
        description="What is better: a lower loss, or a higher chrF of greedy translations, which a second copy of the "
        "base makes. The loss is measured in either case.",
    )
    every: float = Field(default=0.1, gt=0, le=1, description="Share of an adapter's steps between two measurements.")
    patience: int | None = Field(
        default=None, ge=1, description="Measurements without a better one after which an adapter stops; null: never."
    )
    examples: int = Field(
        default=200, ge=1, description="Development examples of an adapter at most, chosen by a hash of their ids."
    )


class BankSpec(Spec):
    """How many adapters share the device, and what of them lies there. All but 8-bit moments change results by
    summation order only.
    """

    adapters_at_once: int | None = Field(
        default=None, ge=1, description="Adapters trained beside each other at most; null: as many as memory holds."
    )
    optimizer_states: Literal["device", "host", "8bit"] = Field(
        default="device",
        description="Where Adam's moments lie: on the device, in the host's memory (fetched for each step), or on the "
        "device in 8 bits (bitsandbytes).",
    )
    processes: int | None = Field(
        default=None,
        ge=1,
        description="Processes that share out the adapters, each with its own copy of the base; null: one a GPU, on a "
        "CPU one a thread where memory, balance and work allow it.",
    )
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept; older ones are removed.")

    @property
    def moments(self) -> Literal["fp32", "8bit"]:
        """Precision of Adam's moments, wherever they lie."""
        return "8bit" if self.optimizer_states == "8bit" else "fp32"


class TrainSpec(Spec):
    """How the adapters of a plan are trained."""

    strategy: str | tuple[str, ...] = Field(
        default="direction-aware",
        description="Which directions share an adapter: multilingual, group, separate, direction-aware (DAT); a list "
        "trains every strategy, equal adapters once.",
    )
    method: Literal["lora", "peft", "full"] = Field(
        default="lora",
        description="lora: many adapters at once over one base (the bank); peft: one after another, the reference; "
        "full: every parameter of one model for all directions.",
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
    adapters: dict[str, AdapterSpec] = Field(
        default_factory=dict, description="Adapter name → what it has otherwise than the others (bank only)."
    )
    development: DevelopmentSpec | None = Field(
        default=None, description="Measure on data.dev while training (bank only); null: the last state is kept."
    )
    objectives: AlignmentSpec | None = Field(
        default=None,
        description="Losses that align representations beside the language model's, for every adapter among its own "
        "examples (AlignX); null: none.",
    )
    bank: BankSpec = Field(default_factory=BankSpec, description="Settings of the bank.")
    micro_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that go through the base at once: bounds memory, changes results by summation order only. "
        "null: 1024 on a CPU, 8192 on a GPU, more where one example is longer. Ours, fastest in benchmarks.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Precision of the base and of the arithmetic; adapters and optimiser are fp32. auto: bf16 on a GPU "
        "that has it, else fp32. DAT: half precision.",
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(
        default="none", description="Quantise the base's weights on loading (bitsandbytes; bank only). Ours."
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute layers in the backward pass: less memory, a third more time. Ours.",
    )
    checkpoint_every_s: float = Field(
        default=300.0, ge=0, description="Seconds between checkpoints; 0: after every step. Ours."
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

    @model_validator(mode="after")
    def _others_are_plain(self) -> Self:
        if self.method != "lora":
            for field, unused in (("adapters", {}), ("development", None), ("quantization", "none")):
                if getattr(self, field) != unused:
                    raise ValueError(f"{field} needs method: lora")
        return self

    @model_validator(mode="after")
    def _full_is_one_model(self) -> Self:
        if self.method == "full":
            if self.strategies != (SHARED,):
                raise ValueError(f"method: full trains one model for all directions, so strategy must be {SHARED}")
            if "lr" not in self.optimizer.model_fields_set:
                raise ValueError("optimizer.lr: the default is for adapters; method: full needs its own (LMT: 2e-5)")
        return self

    @property
    def acting_objectives(self) -> AlignmentSpec | None:
        """The losses beside the language model's; None where none has a weight."""
        return self.objectives if self.objectives is not None and self.objectives.acts else None

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies as a tuple, one or several."""
        return (self.strategy,) if isinstance(self.strategy, str) else self.strategy

    def of(self, adapter: str) -> TrainSpec:
        """The settings of one adapter: its own where it has them, written into the common ones."""
        own = self.adapters.get(adapter, AdapterSpec())

        def changes(*fields: str) -> dict[str, Any]:
            return {field: value for field in fields if (value := getattr(own, field)) is not None}

        return self.model_copy(
            update={
                **changes("batch", "epochs"),
                "adapters": {},
                "lora": self.lora.model_copy(update=changes("rank", "alpha", "dropout")),
                "optimizer": self.optimizer.model_copy(update=changes("lr")),
            }
        )

    def outcome(self, adapter: str) -> dict[str, Any]:
        """What of the settings an adapter depends on, beyond the order of summation, as JSON data."""
        spec = self.of(adapter).resolved()
        for neutral in (
            "strategy",
            "adapters",
            "bank",
            "micro_batch_tokens",
            "gradient_checkpointing",
            "checkpoint_every_s",
        ):
            del spec[neutral]
        spec["moments"] = self.bank.moments
        return spec
