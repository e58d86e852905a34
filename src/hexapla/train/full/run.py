"""A course from the base to a folder with the trained model: in this process, or in one for each GPU."""

from __future__ import annotations

import gc
import math
import os
import re
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainingArguments

from hexapla.base import Base, choose_dtype, load_config, load_model, load_tokenizer, no_progress_bar
from hexapla.common.artifacts import explain_os_errors, read_json, write_json, write_jsonl
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.representations.layers import resolve_layer
from hexapla.train.bank.workers import Call, Link, run_apart
from hexapla.train.cost import TrainingCost
from hexapla.train.full.checkpoint import load_checkpoints, load_values, whole
from hexapla.train.full.model import PackedModel
from hexapla.train.full.records import Diverged, SourcedRecord
from hexapla.train.full.trainer import Course, PackedTrainer
from hexapla.train.lora import checkpoint_layers
from hexapla.train.reference.layers import attach
from hexapla.train.result import LOG_FILE, TOLD_LOSSES
from hexapla.train.spec import TrainSpec

_OUTCOME_FILE = "outcome.json"
_VALUE_BYTES = 4  # of a parameter, in fp32
_STATE_BYTES = 4 * _VALUE_BYTES  # with its gradient and two moments
_SHARE_FOR_STATE = 0.6  # of a GPU's memory; the rest is for activations. Assumption.
_WRAPPER = "model."  # the packed model's, before the names of what it holds
_FACTOR = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<which>[AB])\.[^.]+\.weight")


@dataclass(frozen=True)
class Outcome:
    """How a course ended.

    Attributes:
        kept_steps: updates that are in the model.
        story: what happened, in words, when it diverged.
        seconds: over all sessions.
    """

    records: list[SourcedRecord]
    kept_steps: int
    story: str | None
    seconds: float
    device: str
    precision: str

    @property
    def facts(self) -> dict[str, Any]:
        """What of it a `TrainResult` of a whole model holds."""
        return {
            "status": "finished" if self.story is None else "diverged",
            "num_steps": self.kept_steps,
            "seconds": self.seconds,
            "development": [],
            "development_chrf": [],
            "story": self.story,
            "device": self.device,
            "precision": self.precision,
            "company": 1,
        }


@dataclass(frozen=True)
class Place:
    """Where a course is trained.

    Attributes:
        where: section of the recipe with the settings, for messages.
    """

    base: Base
    device: torch.device
    where: str


def train_whole(
    course: Course, place: Place, folder: Path, log: EventLog, *, num_processes: int | None = None
) -> Outcome:
    """Train along a course and write the model and its log of steps into `folder`.

    Args:
        num_processes: that share out every step; None: one a GPU.

    Raises:
        UserError: the base cannot be used, memory does not suffice, or a checkpoint is of another run.
    """
    number = _num_devices(place.device) if num_processes is None else num_processes
    _aligned_layer(course, place)
    load_checkpoints(course.work, course.run)  # one of another run is refused before a model is loaded
    if number == 1:
        return _train_here(course, place, folder, log)
    # replaced: without the batches that this process opened, which would be sent with all that they hold
    num_threads = max(1, torch.get_num_threads() // number) if place.device.type == "cpu" else None
    port = _free_port()
    calls = [
        Call(
            f"{course.name} {rank}",
            course.work / "aside",
            _train_apart,
            (replace(course), place, folder, (number, port)),
        )
        for rank in range(number)
    ]
    run_apart(calls, num_processes=number, deliver=_nothing_comes, log=log, num_threads=num_threads)
    told = read_json(course.work / _OUTCOME_FILE)
    return Outcome(**{**told, "records": [SourcedRecord(**record) for record in told["records"]]})


def _train_apart(link: Link, rank: int, course: Course, place: Place, folder: Path, group: tuple[int, int]) -> None:
    """One process of several. torch.distributed and Accelerate find each other through the environment only."""
    number, port = group
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_PORT": port}
    os.environ.update({"MASTER_ADDR": "127.0.0.1", **{key: str(value) for key, value in own.items()}})
    outcome = _train_here(course, place, folder, link.log if rank == 0 else EventLog(None))
    if rank == 0:
        write_json(course.work / _OUTCOME_FILE, asdict(outcome))
    torch.distributed.destroy_process_group()


def _train_here(course: Course, place: Place, folder: Path, log: EventLog) -> Outcome:
    arguments = _arguments(course, place)
    device = arguments.device
    dtype = choose_dtype(course.settings.precision, device)
    model = _load(course, place, torch.device("cpu") if arguments.fsdp else device)
    trainer = PackedTrainer(model, course, log, arguments)
    del model
    diverged: SourcedRecord | None = None
    try:
        trainer.complete()
    except Diverged as end:
        diverged = end.record
    except torch.OutOfMemoryError as error:
        tokens = course.micro_batch_tokens(device)
        raise UserError(
            f"Memory does not suffice to train {course.name!r} with {tokens} tokens at once.",
            where=f"{place.where}.micro_batch_tokens",
            hint=f"Lower it, or set {place.where}.gradient_checkpointing: true; results stay the same up to rounding.",
        ) from error
    kept_steps = _go_back(trainer, diverged)
    outcome = Outcome(
        records=trainer.records,
        kept_steps=kept_steps,
        story=None if diverged is None else _story(diverged, trainer.records, kept_steps),
        seconds=round(trainer.seconds, 3),
        device=str(device),
        precision=str(dtype).removeprefix("torch."),
    )
    trained = trainer.parameters if kept_steps else {}
    with torch.no_grad():
        _write(course, place.base, trained, folder if trainer.is_world_process_zero() else None)
    if trainer.is_world_process_zero():
        write_jsonl(folder / LOG_FILE, [asdict(record) for record in outcome.records])
    if device.type == "cuda":  # a Trainer refers to itself, so its model would stay until some later collection
        del trainer
        gc.collect()
        torch.cuda.empty_cache()
    return outcome


def _arguments(course: Course, place: Place) -> TrainingArguments:
    on_cpu = place.device.type == "cpu"
    course.work.mkdir(parents=True, exist_ok=True)
    arguments = TrainingArguments(
        output_dir=str(course.work),
        max_steps=len(course.batches),
        per_device_train_batch_size=1,
        max_grad_norm=course.optimizer.max_grad_norm,
        seed=course.seed % 2**32,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and "WORLD_SIZE" in os.environ else None,
        ddp_find_unused_parameters=False,
        fsdp=_is_shared_out(course, place) or None,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
    )
    if choose_dtype(course.settings.precision, arguments.device) == torch.bfloat16:
        arguments.bf16 = True
        arguments.mixed_precision = "bf16"
    if arguments.n_gpu > 1:  # a process drives one device; the others have their own
        arguments._n_gpu = 1
    return arguments


def _is_shared_out(course: Course, place: Place) -> bool:
    """Whether GPUs share the model out (FSDP2), where the whole state of each replica would not leave room to train."""
    if "WORLD_SIZE" not in os.environ or place.device.type != "cuda":
        return False
    num_parameters = TrainingCost(load_config(place.base), TrainSpec()).num_base_parameters
    state_bytes = num_parameters * (_STATE_BYTES if course.lora is None else _VALUE_BYTES)
    return state_bytes > _SHARE_FOR_STATE * torch.cuda.get_device_properties(place.device).total_memory


def _aligned_layer(course: Course, place: Place) -> int | None:
    """Index of the layer where sentences are aligned; None: nowhere.

    Raises:
        UserError: the base has no such layer.
    """
    if course.objectives is None:
        return None
    depth = load_config(place.base).get_text_config().num_hidden_layers
    return resolve_layer(course.objectives.layer, depth, where=f"{place.where}.objectives.layer")


def _load(course: Course, place: Place, device: torch.device) -> PackedModel:
    """The base in fp32 with what is trained requiring gradients."""
    model = load_model(place.base, dtype=torch.float32, device=device)
    layer = _aligned_layer(course, place)
    if course.lora is not None:
        layers = attach(model, course.lora, gradient_checkpointing=course.settings.gradient_checkpointing)
        layers.initialise(course.seed, course.name)
        return PackedModel(layers.model, layer)
    packed = PackedModel(model, layer)
    model.requires_grad_(True)
    if course.settings.gradient_checkpointing:
        checkpoint_layers(model)
    return packed


def _go_back(trainer: PackedTrainer, diverged: SourcedRecord | None) -> int:
    """Undo the update that a loss which is not finite came from; returns the updates that are in the model then.

    A copy of the model for every step would cost a quarter more memory, so it is the latest checkpoint before that
    update, or the base, that is gone back to. Where the gradient alone is not finite, no update was made from it.
    """
    made = len(trainer.records)
    if diverged is None or made == 0 or all(map(math.isfinite, (diverged.loss, *diverged.objectives.values()))):
        return made
    before = [each for each in load_checkpoints(trainer.course.work, trainer.course.run) if each.step < made]
    if not before:
        return 0
    load_values(before[-1], trainer.parameters)
    return before[-1].step


def _story(diverged: SourcedRecord, records: list[SourcedRecord], kept_steps: int) -> str:
    told = diverged.told_as_divergence([record.loss for record in records[-TOLD_LOSSES:]])
    return f"{told} The model is its state after {kept_steps} updates. A lower learning rate or more warm-up may help."


def _write(course: Course, base: Base, trained: dict[str, torch.nn.Parameter], folder: Path | None) -> None:
    """Write the base with what was trained into a folder, in its own precision.

    All processes call this, since each may hold a share; those without a folder only hand theirs on.
    """
    factors: dict[str, dict[str, torch.Tensor]] = {}
    model = None if folder is None else load_model(base, dtype=torch.float32, device=torch.device("cpu"))
    for name, parameter in trained.items():
        value = whole(parameter.detach())
        if model is None:
            continue
        path = name.removeprefix(_WRAPPER)
        if (factor := _FACTOR.fullmatch(path)) is not None and course.lora is not None:
            factors.setdefault(factor["path"], {})[factor["which"]] = value
        else:
            model.get_parameter(path).copy_(value)
    if model is None or folder is None:
        return
    for path, pair in factors.items():
        assert course.lora is not None
        model.get_parameter(f"{path}.weight").add_(pair["B"] @ pair["A"], alpha=course.lora.alpha / course.lora.rank)
    _save(model.to(_saved_dtype(base)), base, folder)


def _save(model: PreTrainedModel, base: Base, folder: Path) -> None:
    with explain_os_errors(folder), no_progress_bar():
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        load_tokenizer(base).save_pretrained(folder)


def _saved_dtype(base: Base) -> torch.dtype:
    """The precision that the base's weights are in."""
    dtype: Any = load_config(base).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _num_devices(device: torch.device) -> int:
    return torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nothing_comes(*_: Any) -> None:
    raise AssertionError("processes of one model write for themselves")
