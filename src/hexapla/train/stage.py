"""Entry point of training: jobs and examples in, finished adapters handed out as they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hexapla.adapter import LoraAdapter
from hexapla.base import Base, load_config
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.prompts import Template
from hexapla.representations.layers import resolve_layer
from hexapla.train.spec import TrainSpec
from hexapla.train.task import TrainTask

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from hexapla.train.reference.trainer import AdapterTrainer

Deliver = Callable[[str, Callable[[Path], None]], None]
"""Receives a finished adapter's name and what fills a folder with it (see `result`)."""

Translate = Callable[[str, LoraAdapter, Sequence[Example]], list[str]]
"""From an adapter's name, its factors and examples to translations of their sources; can be pickled."""


def train_adapters(
    base: Base,
    template: Template,
    spec: TrainSpec,
    seed: int,
    tasks: Sequence[TrainTask],
    *,
    deliver: Deliver,
    finished: frozenset[str] = frozenset(),
    work: Path,
    translate: Translate | None = None,
    log: EventLog | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Train the adapters of all tasks that are not `finished`, with the method that `spec` names.

    Args:
        deliver: called once for each adapter, as soon as it ends.
        finished: names of adapters that were delivered by an earlier call; the bank goes on as if they were there.
        work: where checkpoints lie; the same folder takes a killed run up again. The caller empties it.
        translate: makes the translations that `development.metric: chrf` is measured on.
        log: receives events as they come.
        device: None takes the first GPU, else the CPU.

    Raises:
        UserError: the base cannot be loaded, a target layer or the layer to be aligned does not exist, the device lacks
            the precision, a task has no examples, a checkpoint in `work` is of another run, or memory does not suffice.
            What was delivered stays.
    """
    log = log if log is not None else EventLog(None)
    aligned_layer(spec, load_config(base))  # a layer that this base lacks is refused before anything is loaded
    if spec.method == "lora":
        from hexapla.train.bank.trainer import train_bank

        train_bank(
            base,
            template,
            spec,
            seed,
            tasks,
            deliver=deliver,
            finished=finished,
            work=work,
            translate=translate,
            log=log,
            device=device,
        )
        return
    from hexapla.train.reference.trainer import AdapterTrainer

    with AdapterTrainer(base, template, spec, seed, device) as trainer:
        for task in tasks:
            name = task.job.name
            if name not in finished:
                deliver(name, partial(_train_one, trainer, task, work / name, log))


def aligned_layer(spec: TrainSpec, config: PretrainedConfig) -> int | None:
    """The layer whose states are aligned; None where nothing is.

    Raises:
        UserError: the base has no such layer.
    """
    objectives = spec.acting_objectives
    if objectives is None:
        return None
    depth = config.get_text_config().num_hidden_layers
    return resolve_layer(objectives.layer, depth, where="train.objectives.layer")


def _train_one(trainer: AdapterTrainer, task: TrainTask, work: Path, log: EventLog, folder: Path) -> None:
    trainer.train(task, folder, work, log)
