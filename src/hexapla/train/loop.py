"""One step, and the steps of one adapter from its checkpoint to its end or its divergence."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.progress import EventLog, Progress
from hexapla.common.seeds import derive_seed
from hexapla.train.batching import BatchOrder, collate, micro_batches, num_steps
from hexapla.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hexapla.train.encoding import EncodedExample
from hexapla.train.lora import LoraLayers
from hexapla.train.loss import target_loss_sum
from hexapla.train.optimizer import FlatAdamW, learning_rate
from hexapla.train.spec import TrainSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StepRecord:
    """What happened in one step; a line of `log.jsonl`.

    Attributes:
        step: from 1.
        loss: mean over the batch's target tokens, before the update.
        gradient_norm: before clipping.
    """

    step: int
    loss: float
    lr: float
    gradient_norm: float
    num_target_tokens: int
    num_input_tokens: int

    @property
    def is_finite(self) -> bool:
        """Whether an update may be made from this."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the records of its updates, and the step that was not finite, if any."""

    records: list[StepRecord]
    divergence: StepRecord | None
    seconds: float
    kept_steps: int


@dataclass(frozen=True)
class Engine:
    """What all adapters of a trainer share: the layers, their optimiser, the settings and the device."""

    layers: LoraLayers
    optimizer: FlatAdamW
    spec: TrainSpec
    seed: int
    device: torch.device
    dtype: torch.dtype

    def start(self, adapter: str) -> None:
        """Initial factors and a fresh optimiser for a new adapter."""
        self.layers.initialise(self.seed, adapter)
        self.optimizer.reset()

    def step(self, examples: list[EncodedExample], *, adapter: str, step: int, num_steps: int) -> StepRecord:
        """Gradient of the mean loss over all target tokens of a global batch; an update if it is finite."""
        import torch

        lr = learning_rate(self.spec.optimizer, step, num_steps)
        num_targets = sum(example.num_target_tokens for example in examples)
        loss_sum = torch.zeros((), device=self.device)
        self.optimizer.zero_gradients()
        with self._randomness(adapter, step):
            for part in micro_batches(examples, self.spec.micro_batch_tokens):
                batch = collate(part, self.device)
                with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                    part_sum = target_loss_sum(self.layers.model, batch)
                (part_sum / num_targets).backward()
                loss_sum += part_sum.detach()
        record = StepRecord(
            step=step,
            loss=float(loss_sum) / num_targets,
            lr=lr,
            gradient_norm=self.optimizer.gradient_norm(),
            num_target_tokens=num_targets,
            num_input_tokens=sum(example.num_input_tokens for example in examples),
        )
        if record.is_finite:
            self.optimizer.step(lr, record.gradient_norm)
        return record

    @contextlib.contextmanager
    def _randomness(self, adapter: str, step: int) -> Iterator[None]:
        """Dropout by (seed, adapter, step) only; the process's own random state is left as it was."""
        import torch

        if self.spec.lora.dropout == 0:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.seed, adapter, "dropout", step))
            yield


class AdapterRun:
    """The steps of one adapter, with checkpoints in `work`.

    Args:
        run: digest of everything that the result depends on; see `checkpoint.load_checkpoint`.
    """

    def __init__(self, engine: Engine, adapter: str, examples: list[EncodedExample], *, work: Path, run: str) -> None:
        spec = engine.spec
        self._engine, self._adapter, self._examples, self._work, self._run = engine, adapter, examples, work, run
        ids = [example.id for example in examples]
        self._order = BatchOrder(ids, batch=spec.batch, seed=engine.seed, adapter=adapter)
        self.num_steps = num_steps(len(examples), spec.batch, spec.epochs)
        self._records: list[StepRecord] = []
        self._seconds_before = 0.0

    def complete(self, log: EventLog) -> Outcome:
        """Train to the end, going on from the checkpoint where there is one.

        A loss that is not finite ends the run with the values before the latest update, the last ones whose loss was
        finite; a gradient that is not finite ends it with the values as they are.
        """
        self._start_or_resume(log)
        start = saved = shown = time.monotonic()
        progress = Progress(self._adapter, self.num_steps, unit="steps", done=len(self._records))
        num_tokens = 0
        divergence = None
        while len(self._records) < self.num_steps:
            record = self._next_step()
            if not record.is_finite:
                divergence = record
                break
            self._records.append(record)
            now = time.monotonic()
            num_tokens += record.num_input_tokens
            progress.advance(note=f"loss {record.loss:.3f}, {num_tokens / (now - start):.0f} tokens/s")
            if now - shown >= 1:
                log.write("train-step", adapter=self._adapter, **asdict(record))
                shown = now
            if now - saved >= self._engine.spec.checkpoint_every_s and record.step < self.num_steps:
                self._save(self._seconds_before + now - start)
                saved = time.monotonic()
                log.write("train-checkpoint", adapter=self._adapter, step=record.step)
        progress.close(f"loss {self._records[-1].loss:.3f}" if self._records else "")
        kept_steps = len(self._records)
        if divergence is not None and not math.isfinite(divergence.loss):
            self._engine.optimizer.undo_values()
            kept_steps = max(kept_steps - 1, 0)
        return Outcome(self._records, divergence, self._seconds_before + time.monotonic() - start, kept_steps)

    def _start_or_resume(self, log: EventLog) -> None:
        self._engine.start(self._adapter)
        checkpoint = load_checkpoint(self._work, self._run)
        if checkpoint is None:
            return
        self._engine.optimizer.load_state(checkpoint.tensors)
        self._records = [StepRecord(**record) for record in checkpoint.history]
        self._seconds_before = checkpoint.seconds
        log.write("train-resume", adapter=self._adapter, step=checkpoint.step)

    def _next_step(self) -> StepRecord:
        index = len(self._records)
        batch = [self._examples[position] for position in self._order.positions(index)]
        return self._engine.step(batch, adapter=self._adapter, step=index + 1, num_steps=self.num_steps)

    def _save(self, seconds: float) -> None:
        history: list[dict[str, Any]] = [asdict(record) for record in self._records]
        tensors = self._engine.optimizer.state()
        save_checkpoint(self._work, Checkpoint(self._run, len(history), history, seconds, tensors))
