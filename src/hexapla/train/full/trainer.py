"""transformers' Trainer for whole models on packed text.

From it come devices, data parallelism, FSDP2, mixed precision, clipping and the loop; what a step is, what it logs, and
what a checkpoint holds is here. Data depend on the step alone, so a run that goes on starts at its step and skips
nothing.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from transformers import PrinterCallback, Trainer, TrainingArguments

from hexapla.common.progress import EventLog, Progress
from hexapla.common.seeds import derive_seed
from hexapla.train.align.objective import PairStates
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.spec import AlignSpec
from hexapla.train.batching import default_micro_batch_tokens
from hexapla.train.full import checkpoint as checkpoints
from hexapla.train.full.batches import Batches
from hexapla.train.full.layout import MicroBatch, StepWork, step_works
from hexapla.train.full.model import PackedModel
from hexapla.train.full.objectives import HEAD, StepObjectives, clip_together
from hexapla.train.full.records import Diverged, SourcedRecord
from hexapla.train.full.surroundings import Ahead, Clock, quiet
from hexapla.train.optimizer import learning_rate
from hexapla.train.pretrain.spec import PretrainSpec
from hexapla.train.spec import LoraSpec, OptimizerSpec, TrainSpec

_EVENT_EVERY_S = 1.0
_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Course:
    """What is trained on, how, and where the state lies.

    Attributes:
        name: of the model, for people and for seeds.
        open_batches: gives the batches, in every process anew; can be pickled.
        settings: how the model is run and saved; what it learns is in the other fields.
        lora: train an adapter of this shape in place of every parameter.
        run: digest of everything that the result depends on, the order of summation aside.
        work: folder of checkpoints.
        objectives: losses beside the language model's, of which one at least has a weight; None: none.
    """

    name: str
    open_batches: Callable[[], Batches]
    settings: TrainSpec | PretrainSpec | AlignSpec
    lora: LoraSpec | None
    seed: int
    run: str
    work: Path
    objectives: AlignmentSpec | None = None

    @cached_property
    def batches(self) -> Batches:
        """The global batch of every step."""
        return self.open_batches()

    @property
    def optimizer(self) -> OptimizerSpec:
        """Optimiser and learning rate."""
        return self.settings.optimizer

    @property
    def dropout(self) -> float:
        """Share of an adapter's inputs dropped; the model itself drops nothing."""
        return 0.0 if self.lora is None else self.lora.dropout

    def micro_batch_tokens(self, device: torch.device) -> int:
        """Tokens that go through the model at once; a longer sequence goes alone."""
        given = self.settings.micro_batch_tokens
        return default_micro_batch_tokens(device) if given is None else given


@dataclass
class _Step:
    """The step under way: what is known before its update."""

    loss: float
    losses: dict[str, float]
    tokens: dict[str, int]
    num_input_tokens: int
    objectives: dict[str, float]


class PackedTrainer(Trainer):
    """Trains a `PackedModel` along a course, from its latest checkpoint on.

    Attributes:
        records: one an update.
    """

    def __init__(self, model: PackedModel, course: Course, log: EventLog, arguments: TrainingArguments) -> None:
        self.course, self._log = course, log
        self.records: list[SourcedRecord] = []
        self._clock = Clock()
        self._objectives: StepObjectives | None = None
        if (spec := course.objectives) is not None:
            self._objectives = StepObjectives(
                spec, seed=course.seed, name=course.name, width=model.width, device=arguments.device, log=log
            )
        self._save_due = False
        with quiet():
            super().__init__(model, arguments, train_dataset=course.batches)
        self.remove_callback(PrinterCallback)
        if self.is_fsdp_enabled:  # Accelerate would sum gradients and hand on losses in bf16
            dtype = torch.bfloat16 if arguments.bf16 else torch.float32
            policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=torch.float32)
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = policy
        self._micro_batch_tokens = course.micro_batch_tokens(arguments.device)
        latest = checkpoints.load_checkpoints(course.work, course.run)[-1:]
        self._checkpoint = latest[0] if latest else None
        if self._checkpoint is not None:
            self.records = list(self._checkpoint.progress.records)
            self._clock.before = self._checkpoint.progress.seconds
            if self._objectives is not None:
                self._objectives.degenerate = list(self._checkpoint.progress.degenerate)
            log.write("train-resume", adapter=course.name, step=self._checkpoint.step)

    @property
    def seconds(self) -> float:
        """Time spent, earlier sessions included."""
        return self._clock.seconds

    @property
    def num_steps(self) -> int:
        """Updates that there are to make."""
        return len(self.course.batches)

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name in the model without any wrapper."""
        model = self.accelerator.unwrap_model(self.model)
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def complete(self) -> None:
        """Train to the end.

        Raises:
            Diverged: a loss or gradient is not finite. The parameters are those that gave it.
        """
        if len(self.records) >= self.num_steps:
            return
        self._clock = Clock(before=self._clock.before)
        self._progress = Progress(
            self.course.name if self.args.process_index == 0 else f"{self.course.name} ({self.args.process_index})",
            self.num_steps,
            unit="steps",
            done=len(self.records),
        )
        with quiet():
            self.train()
        if self.is_world_process_zero():
            self._progress.close(f"loss {self.records[-1].loss:.3f}")

    # What Trainer asks for on its way, in this order.

    def get_train_dataloader(self) -> Any:
        """The parts of this process, each made ready while the one before is trained on; no length, see `max_steps`."""
        return Ahead(
            lambda: step_works(
                self.course.batches,
                first=len(self.records),
                max_tokens=self._micro_batch_tokens,
                rank=self.args.process_index,
                num_ranks=self.args.world_size,
            )
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; as is usual for whole models, norms and biases do not decay."""
        spec = self.course.optimizer
        trained = [parameter for parameter in (model or self.model).parameters() if parameter.requires_grad]
        groups = [
            {"params": [each for each in trained if each.ndim >= 2], "weight_decay": spec.weight_decay},
            {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=True
        )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The rate of the settings, going on where the records end.

        Only now that FSDP has exchanged the model's parameters for its own does the optimiser take the head's.
        """
        done = len(self.records)
        spec = self.course.optimizer
        if self._head is not None:
            self._plain_optimizer.add_param_group({"params": [self._head], "weight_decay": spec.weight_decay})
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: self._rate(done + step + 1) / spec.lr
        )
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: dict[str, StepWork], num_items_in_batch: Any = None) -> Tensor:
        """Gradient of the mean loss over all learned tokens of the step, of all processes."""
        device, work = self.args.device, inputs["work"]
        num_learned = int(work.num_learned.sum())
        sums = torch.zeros(len(work.num_learned) + 1, device=device)  # by source; the last: a checkpoint is due
        world = self.args.world_size  # whose mean data parallelism takes of the gradients
        last = len(work.micro_batches) - 1
        self._begin_objectives(model, work)
        for place, micro_batch in enumerate(work.micro_batches):
            batch = micro_batch.to(device)
            counts = float(place < work.num_real)
            with self._together(model, place == last), self._randomness(place):
                nll, states = self._pass(model, batch)
                loss = nll.sum() * (counts * world / num_learned)
                if states is not None and self._objectives is not None:
                    loss = loss + counts * world * self._objectives.term(states, batch.places)
                self.accelerator.backward(loss)
            sums.index_add_(0, batch.sources, nll.detach() * counts)
        sums[-1] = float(self.is_world_process_zero() and self._is_save_due())
        *by_source, save_due = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._save_due = save_due > 0
        step = self._summary(work, by_source)
        self._under_way = step
        if not all(map(math.isfinite, (step.loss, *step.objectives.values()))):
            raise Diverged(self._record(float("nan")))
        return torch.tensor(step.loss, device=device)

    def _begin_objectives(self, model: Any, work: StepWork) -> None:
        """Without gradients through all of the step, unless one pass will see all of it anyway."""
        if self._objectives is None:
            return
        self._objectives.begin(work.labels)
        if self._is_one_pass(work):
            return
        all_states = self._objectives.no_states()
        with torch.no_grad():
            for place, micro_batch in enumerate(work.micro_batches):
                batch = micro_batch.without_targets.to(self.args.device)
                with self._randomness(place):
                    _, states = self._pass(model, batch)
                assert states is not None
                if place < work.num_real:
                    all_states[:, batch.places] = torch.stack(states.tensors)
        # every state comes from one process and is 0 on the others, so that the sum is exact
        self._objectives.cache(self.accelerator.reduce(all_states, reduction="sum"))

    def _is_one_pass(self, work: StepWork) -> bool:
        return self.args.world_size * len(work.micro_batches) == 1

    def _pass(self, model: Any, batch: MicroBatch) -> tuple[Tensor, PairStates | None]:
        told = model(batch)
        return (told, None) if isinstance(told, Tensor) else (told[0], PairStates(*told[1:]))

    def _clip_grad_norm(self, model: Any) -> float:
        """Clip, and take the record of the step: all that precedes its update is known."""
        if self._head is None:
            norm = super()._clip_grad_norm(model)
        else:
            norm = clip_together(model.parameters(), self._head, self.args.max_grad_norm)
        norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        record = self._record(norm)
        if not record.is_finite:
            raise Diverged(record)
        self.records.append(record)
        return norm

    def _maybe_log_save_evaluate(self, *_arguments: Any, **_keywords: Any) -> None:
        """After an update (and once more at the end): show, log, save."""
        if self._under_way is None:
            return
        self._under_way = None
        clock, record = self._clock, self.records[-1]
        clock.num_tokens += record.num_input_tokens
        if self.is_world_process_zero():
            now = time.monotonic()
            rate = clock.num_tokens / (now - clock.start)
            self._progress.advance(note=f"{record.told}, {rate:.0f} tokens/s")
            if self._objectives is not None:
                self._objectives.tell_degenerate(record.step)
            if now - clock.shown >= _EVENT_EVERY_S:
                clock.shown = now
                fields = asdict(record)
                self._log.write("train-step", adapter=self.course.name, **fields, tokens_per_s=round(rate))
        if self._save_due:
            self._take_checkpoint()

    def _init_training_state(self, *arguments: Any, **keywords: Any) -> tuple[int, int]:
        start: tuple[int, int] = super()._init_training_state(*arguments, **keywords)
        self.state.global_step = len(self.records)
        return start

    def _prepare_for_training(self, *arguments: Any, **keywords: Any) -> Any:
        prepared = super()._prepare_for_training(*arguments, **keywords)
        if self._checkpoint is not None:
            checkpoints.load_state(self._checkpoint, self._kept, self._plain_optimizer)
        return prepared

    @property
    def _head(self) -> torch.nn.Parameter | None:
        """Of language matching: trained as the model is, but no part of it."""
        return None if self._objectives is None else self._objectives.head

    @property
    def _kept(self) -> dict[str, torch.nn.Parameter]:
        """What checkpoints hold."""
        return self.parameters if self._head is None else {**self.parameters, HEAD: self._head}

    @property
    def _plain_optimizer(self) -> torch.optim.Optimizer:
        """Without Accelerate's wrapper."""
        optimizer: torch.optim.Optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return optimizer

    def _take_checkpoint(self) -> None:
        degenerate = [] if self._objectives is None else self._objectives.degenerate
        progress = checkpoints.Progress(self.course.run, self.records, self.seconds, degenerate)
        checkpoints.save_checkpoint(
            self.course.work,
            progress,
            self._kept,
            self._plain_optimizer,
            keep=_KEPT_CHECKPOINTS,
            is_main=self.is_world_process_zero(),
        )
        self._clock.saved = time.monotonic()
        if self.is_world_process_zero():
            self._log.write("train-checkpoint", adapter=self.course.name, step=len(self.records))

    def _is_save_due(self) -> bool:
        waited = time.monotonic() - self._clock.saved
        return waited >= self.course.settings.checkpoint_every_s and len(self.records) + 1 < self.num_steps

    def _rate(self, step: int) -> float:
        """Learning rate of a step, from 1."""
        return learning_rate(self.course.optimizer, step, self.num_steps)

    def _summary(self, work: StepWork, sums: list[float]) -> _Step:
        losses: dict[str, float] = {}
        tokens: dict[str, int] = {}
        for source, total, num_learned in zip(self.course.batches.sources, sums, work.num_learned, strict=True):
            if num_learned:
                losses[source] = total / int(num_learned)
                tokens[source] = int(num_learned)
        objectives = {} if self._objectives is None else self._objectives.values.to_record()
        return _Step(sum(sums) / sum(tokens.values()), losses, tokens, work.num_input_tokens, objectives)

    def _record(self, gradient_norm: float) -> SourcedRecord:
        step, number = self._under_way, len(self.records) + 1
        assert step is not None
        return SourcedRecord(
            step=number,
            loss=step.loss,
            lr=self._rate(number),
            gradient_norm=gradient_norm,
            num_target_tokens=sum(step.tokens.values()),
            num_input_tokens=step.num_input_tokens,
            objectives=step.objectives,
            losses=step.losses,
            tokens=step.tokens,
        )

    _under_way: _Step | None = None

    def _together(self, model: Any, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Replicas exchange gradients in the last pass only; shares (FSDP) in each, or all would hold all gradients."""
        if is_last or self.args.world_size == 1 or self.is_fsdp_enabled:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = self.accelerator.no_sync(model)
        return context

    @contextlib.contextmanager
    def _randomness(self, place: int) -> Iterator[None]:
        """An adapter's dropout by (seed, name, step, the micro-batch's number in the step) only.

        So both passes of a micro-batch drop the same, whatever is trained beside the language model.

        Args:
            place: of the micro-batch among those of this process.
        """
        if self.course.dropout == 0:
            yield
            return
        device = self.args.device
        number = place * self.args.world_size + self.args.process_index
        names = (self.course.name, "dropout", len(self.records), number)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.course.seed, *names))
            yield
