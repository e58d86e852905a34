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
from hexapla.train.align.degenerate import tell_degenerate
from hexapla.train.align.objective import PairStates, surrogate
from hexapla.train.batching import BatchOrder, default_micro_batch_tokens
from hexapla.train.encoding import EncodedExample
from hexapla.train.optimizer import FlatAdamW, flatten, learning_rate
from hexapla.train.reference.batching import collate, micro_batches
from hexapla.train.reference.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hexapla.train.reference.layers import LoraLayers
from hexapla.train.reference.loss import target_loss_sum
from hexapla.train.reference.objectives import ReferenceObjectives
from hexapla.train.result import StepRecord
from hexapla.train.spec import TrainSpec
from hexapla.train.stage import aligned_layer
from hexapla.train.task import PreparedTask

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the records of its updates, and the step that was not finite, if any."""

    records: list[StepRecord]
    divergence: StepRecord | None
    seconds: float
    kept_steps: int


@dataclass(frozen=True)
class Engine:
    """What all adapters of a trainer share: the layers, their optimiser, the settings and the device.

    Attributes:
        objectives: the losses beside the language model's; their head is optimised with the factors.
        good_values: the values before the latest update, the last ones whose loss is known.
    """

    layers: LoraLayers
    objectives: ReferenceObjectives | None
    optimizer: FlatAdamW
    good_values: torch.Tensor
    spec: TrainSpec
    seed: int
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def over(cls, layers: LoraLayers, spec: TrainSpec, seed: int, device: torch.device, dtype: torch.dtype) -> Engine:
        """An engine with a new optimiser over the layers' factors.

        Raises:
            UserError: the base lacks the layer that is to be aligned.
        """
        aligned, layer = spec.acting_objectives, aligned_layer(spec, layers.model.config)
        objectives = None
        if aligned is not None and layer is not None:
            objectives = ReferenceObjectives(layers.model, aligned, layer)
        parameters = list(layers.parameters())
        if objectives is not None and objectives.head is not None:
            parameters.append(objectives.head)
        optimizer = FlatAdamW(*flatten(parameters), spec.optimizer)
        return cls(layers, objectives, optimizer, optimizer.values.clone(), spec, seed, device, dtype)

    @property
    def micro_batch_tokens(self) -> int:
        """Tokens, padding included, that go through the base at once; a longer example goes alone."""
        given = self.spec.micro_batch_tokens
        return default_micro_batch_tokens(self.device) if given is None else given

    def start(self, adapter: str) -> None:
        """Initial factors and a fresh optimiser for a new adapter."""
        self.layers.initialise(self.seed, adapter)
        if self.objectives is not None:
            self.objectives.initialise(self.seed, adapter)
        self.optimizer.reset()
        self.good_values.copy_(self.optimizer.values)

    def step(self, examples: list[EncodedExample], *, adapter: str, step: int, num_steps: int) -> StepRecord:
        """Gradient of a global batch's losses, the language model's a mean over target tokens; an update if finite."""
        lr = learning_rate(self.spec.optimizer, step, num_steps)
        num_targets = sum(example.num_target_tokens for example in examples)
        self.optimizer.zero_gradients()
        loss_sum = self._add_gradients(examples, num_targets, adapter, step)
        record = StepRecord(
            step=step,
            loss=loss_sum / num_targets,
            lr=lr,
            gradient_norm=self.optimizer.gradient_norm(),
            num_target_tokens=num_targets,
            num_input_tokens=sum(example.num_input_tokens for example in examples),
            objectives={} if self.objectives is None else self.objectives.values.to_record(),
        )
        if record.is_finite:
            self.good_values.copy_(self.optimizer.values)
            self.optimizer.step(lr, record.gradient_norm)
        return record

    def undo(self) -> None:
        """Go back to the values before the latest update."""
        self.optimizer.values.copy_(self.good_values)

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint needs, by name."""
        return {**self.optimizer.state(), "good_values": self.good_values}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what `state` returned."""
        self.good_values.copy_(state["good_values"])
        self.optimizer.load_state(state)

    def _add_gradients(self, examples: list[EncodedExample], num_targets: int, adapter: str, step: int) -> float:
        """Gradients of a step's losses; returns the sum of the target tokens' losses.

        Several micro-batches that are aligned are passed twice, with the same dropout: first for the states of all.
        """
        import torch

        parts = micro_batches(examples, self.micro_batch_tokens)
        wanted: list[PairStates] = []
        if self.objectives is not None and len(parts) > 1:
            with self._randomness(adapter, step), torch.no_grad():
                states = [self._pass(part)[1] for part in parts]
            wanted = self.objectives.cached(examples, parts, [each for each in states if each is not None])
        loss_sum = torch.zeros((), device=self.device)
        with self._randomness(adapter, step):
            for place, part in enumerate(parts):
                part_sum, pairs = self._pass(part)
                loss = part_sum / num_targets
                if self.objectives is not None and pairs is not None:
                    plain = len(parts) == 1
                    loss = loss + (
                        self.objectives.plain(examples, part, pairs) if plain else surrogate(pairs, wanted[place])
                    )
                loss.backward()
                loss_sum += part_sum.detach()
        return float(loss_sum)

    def _pass(self, part: list[EncodedExample]) -> tuple[torch.Tensor, PairStates | None]:
        """Through the model once: the sum of the target tokens' losses, and the states to be aligned, if any are."""
        import torch

        batch = collate(part, self.device)
        tap = contextlib.nullcontext() if self.objectives is None else self.objectives.tap
        with tap, torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            part_sum = target_loss_sum(self.layers.model, batch)
        return part_sum, None if self.objectives is None else self.objectives.states(part)

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

    def __init__(self, engine: Engine, task: PreparedTask, *, work: Path, run: str) -> None:
        self._engine, self._adapter, self._work, self._run = engine, task.name, work, run
        self._examples = task.encoded.examples
        self._order = BatchOrder(
            [example.id for example in self._examples],
            batch=task.spec.batch,
            seed=engine.seed,
            adapter=task.name,
            meanings=None if engine.objectives is None else [example.meaning for example in self._examples],
        )
        self._degenerate: list[str] = []
        self.num_steps = task.num_steps
        self._records: list[StepRecord] = []
        self._seconds_before = 0.0

    def complete(self, log: EventLog) -> Outcome:
        """Train to the end, going on from the checkpoint where there is one.

        A loss that is not finite ends the run with the values before the latest update, the last ones whose losses were
        finite; a gradient that is not finite ends it with the values as they are.
        """
        self._start_or_resume(log)
        start = saved = shown = time.monotonic()
        progress = Progress(self._adapter, self.num_steps, unit="steps", done=len(self._records))
        num_tokens = 0
        divergence = None
        while len(self._records) < self.num_steps:
            record = self._next_step(log)
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
        if divergence is not None and not all(map(math.isfinite, (divergence.loss, *divergence.objectives.values()))):
            self._engine.undo()
            kept_steps = max(kept_steps - 1, 0)
        return Outcome(self._records, divergence, self._seconds_before + time.monotonic() - start, kept_steps)

    def _start_or_resume(self, log: EventLog) -> None:
        self._engine.start(self._adapter)
        checkpoint = load_checkpoint(self._work, self._run)
        if checkpoint is None:
            return
        self._engine.load_state(checkpoint.tensors)
        self._records = [StepRecord(**record) for record in checkpoint.history]
        self._seconds_before = checkpoint.seconds
        self._degenerate = list(checkpoint.degenerate)
        log.write("train-resume", adapter=self._adapter, step=checkpoint.step)

    def _next_step(self, log: EventLog) -> StepRecord:
        index = len(self._records)
        batch = [self._examples[position] for position in self._order.positions(index)]
        record = self._engine.step(batch, adapter=self._adapter, step=index + 1, num_steps=self.num_steps)
        if self._engine.objectives is not None:
            values = self._engine.objectives.values
            tell_degenerate(values, self._degenerate, log, adapter=self._adapter, step=record.step)
        return record

    def _save(self, seconds: float) -> None:
        history: list[dict[str, Any]] = [asdict(record) for record in self._records]
        state = Checkpoint(self._run, len(history), history, seconds, self._engine.state(), self._degenerate)
        save_checkpoint(self._work, state)
