"""Entry point of fine-tuning a whole model: a job and its examples in, a folder of transformers out."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hexapla.base import Base, choose_device, fingerprint, load_config, load_tokenizer
from hexapla.common.artifacts import digest_of, write_json
from hexapla.common.progress import EventLog
from hexapla.prompts import Template
from hexapla.train.result import SUMMARY_FILE, TrainResult
from hexapla.train.spec import TrainSpec
from hexapla.train.task import Preparation, TrainTask, context_window

if TYPE_CHECKING:
    import torch


def train_model(
    base: Base,
    template: Template,
    spec: TrainSpec,
    seed: int,
    task: TrainTask,
    *,
    folder: Path,
    work: Path,
    log: EventLog | None = None,
    device: torch.device | str | None = None,
    num_processes: int | None = None,
) -> TrainResult:
    """Train every parameter of the base on a task's examples.

    The examples, their order, the batches, the loss and the optimiser are those of an adapter (`train_adapters`); norms
    and biases do not decay.

    Args:
        folder: receives a model that transformers loads, in the base's own precision, with the tokenizer, and what
            training left (`training.json`, `log.jsonl`; see `result`). Making it appear whole is the caller's part.
        work: where checkpoints lie; the same folder takes a killed run up again. The caller empties it.
        log: receives events as they come.
        device: None takes every GPU, or else the CPU; one with an index that GPU alone.
        num_processes: that share out every batch; None: one a GPU.

    Raises:
        UserError: the base cannot be loaded or trained on packed text, no example is left, a checkpoint in `work` is of
            another run, or memory does not suffice.
    """
    from hexapla.train.full.card import told_objectives, told_optimizer, write_card
    from hexapla.train.full.examples import ExampleBatches, Lesson
    from hexapla.train.full.run import Place, train_whole
    from hexapla.train.full.trainer import Course

    log = log if log is not None else EventLog(None)
    chosen = choose_device(device)
    tokenizer, config = load_tokenizer(base), load_config(base)
    window = context_window(config)
    prepared = Preparation(tokenizer, template, fingerprint(base), window, spec, seed).prepare(task)
    encoded = prepared.encoded
    objectives = spec.acting_objectives
    aligned = objectives is not None
    lesson = Lesson(prepared.name, encoded.examples, spec.batch, spec.epochs, prepared.digest)
    course = Course(
        name=prepared.name,
        open_batches=partial(ExampleBatches, lesson, seed, apart=aligned, aligned=aligned),
        settings=spec,
        lora=None,
        seed=seed,
        run=digest_of([prepared.digest, "full", spec.precision]),
        work=work,
        objectives=objectives,
    )
    log.write("train-start", adapter=prepared.name, examples=len(encoded.examples), set_asides=encoded.set_asides)
    outcome = train_whole(course, Place(base, chosen, "train"), folder, log, num_processes=num_processes)
    result = TrainResult.of(prepared, outcome.records, trainer="full", **outcome.facts)
    log.write("train-end", **asdict(result))
    write_json(folder / SUMMARY_FILE, asdict(result))
    depth = config.get_text_config().num_hidden_layers
    settings = {
        "Prompt template": template.name,
        "Optimiser": told_optimizer(spec.optimizer),
        "Batch": f"{spec.batch} sequences, {spec.epochs} epoch(s), seed {seed}",
        **told_objectives(objectives, depth),
    }
    codes = sorted({code for direction in task.job.directions for code in (direction.source, direction.target)})
    write_card(folder, base_id=base.id, languages=codes, settings=settings, result=result)
    return result
