"""Runs of the whole-model trainer that its tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hexapla.base import Base
from hexapla.common.progress import EventLog
from hexapla.plan import Job
from hexapla.prompts import get_template
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.full.stage import train_model
from hexapla.train.result import TrainResult
from hexapla.train.spec import OptimizerSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.material import DE_EN, EN_DE, examples, task, train_spec

OBJECTIVES = AlignmentSpec(matching_width=12)


def full_spec(**changes: Any) -> TrainSpec:
    """Settings for tiny bases; a batch of 4 in several micro-batches."""
    settings: dict[str, Any] = {
        "method": "full",
        "strategy": "multilingual",
        "optimizer": OptimizerSpec(lr=2e-3, schedule="cosine", warmup=0.2),
        "micro_batch_tokens": 100,
        **changes,
    }
    return train_spec(**settings)


def train(
    base: Path,
    spec: TrainSpec,
    folder: Path,
    *,
    made: TrainTask | None = None,
    work: Path | None = None,
    log: EventLog | None = None,
    num_processes: int | None = None,
) -> TrainResult:
    """Train on 22 examples (or a task) into `folder`, on the CPU; checkpoints lie beside it."""
    return train_model(
        Base(str(base)),
        get_template("alma"),
        spec,
        0,
        made if made is not None else task(22),
        folder=folder,
        work=work if work is not None else folder.with_suffix(".work"),
        log=log,
        device="cpu",
        num_processes=num_processes,
    )


def both_ways(num: int = 11) -> TrainTask:
    """So many sentence pairs in both directions."""
    return TrainTask(Job("both", (DE_EN, EN_DE)), [*examples(num, DE_EN), *examples(num, EN_DE)])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a model's folder."""
    return load_file(folder / "model.safetensors")


def outcome(folder: Path) -> dict[str, bytes]:
    """Content of the files that equal runs have equal."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "training.json"}


def distance(one: Path, other: Path) -> float:
    """Largest relative distance over the tensors of two models."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in ours)
