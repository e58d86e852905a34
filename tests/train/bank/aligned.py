"""Tasks and settings of adapters whose representations are aligned while they are trained."""

from __future__ import annotations

from typing import Any

from hexapla.data.instructions import Instruction
from hexapla.plan import Job
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.spec import LoraSpec, OptimizerSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.bank.runs import SIZES
from tests.train.material import DE_EN, EN_DE, examples, train_spec

OBJECTIVES = AlignmentSpec(matching_width=8)
FEW_TOKENS = 180  # about as many as a batch has: some fit into one micro-batch, others do not


def instructions(number: int) -> list[Instruction]:
    """General ones, all different."""
    return [
        Instruction(f"general#{place}", None, "Count on.", f"{place}", f"{place + 1}, {place + 2}")
        for place in range(number)
    ]


def tasks(number: int) -> list[TrainTask]:
    """`adapter-0`, `adapter-1`...: of different sizes and of two directions; every second has general instructions."""
    made = []
    for index, size in enumerate(SIZES[:number]):
        given = [each for pair in zip(examples(size, DE_EN), examples(size, EN_DE), strict=True) for each in pair]
        general = instructions(size // 3) if index % 2 else []
        made.append(TrainTask(Job(f"adapter-{index}", (DE_EN, EN_DE)), given[:size], instructions=general))
    return made


def aligned_spec(objectives: AlignmentSpec | None = OBJECTIVES, **changes: Any) -> TrainSpec:
    """Settings for tiny bases, with objectives and gradients that are sometimes clipped."""
    settings: dict[str, Any] = {
        "batch": 4,
        "epochs": 2,
        "lora": LoraSpec(rank=4, alpha=8),
        # With Adam's usual eps an entry whose gradient is nothing but rounding would make a full step.
        "optimizer": OptimizerSpec(lr=2e-3, warmup=0.1, weight_decay=0.1, max_grad_norm=2.5, eps=1e-4),
        "micro_batch_tokens": FEW_TOKENS,
        **changes,
    }
    return train_spec(objectives=objectives, **settings)
