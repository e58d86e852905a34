"""The life of one adapter in a bank: its clock, what was seen of it, and what became of it."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hexapla.train.bank.schedule import Clock
from hexapla.train.optimizer import learning_rate
from hexapla.train.result import TOLD_LOSSES, StepRecord, kept_state

State = Literal["training", "finished", "stopped-early", "diverged"]

RETRY_RATE = 0.5
_MILESTONES = 0.25  # share of the steps between two snapshots where nothing is measured
_EXPLOSION = 1000.0  # times the median gradient norm
_MEMORY = 32  # steps that the median is taken over; judged from half as many on


@dataclass
class BatchTally:
    """What the current global batch has given so far."""

    loss_sum: float = 0.0
    num_target_tokens: int = 0
    num_input_tokens: int = 0


@dataclass(frozen=True)
class Divergence:
    """A step that could not be made.

    Attributes:
        losses_before: of the latest steps before it.
        back_to: the step whose snapshot the adapter went back to.
    """

    record: StepRecord
    losses_before: list[float]
    back_to: int

    def story(self) -> str:
        """What happened."""
        told = self.record.told_as_divergence(self.losses_before)
        return f"{told} It went back to its state after {self.back_to} updates."


@dataclass
class AdapterLife:
    """Everything about an adapter but its tensors.

    Attributes:
        rate_factor: what its learning rate is multiplied with: 1, after a divergence `RETRY_RATE`.
        records: of every update but those that a divergence undid.
        development: [step, loss] of every measurement; `development_chrf` [step, chrF], where that is measured.
        good_step: the latest snapshot, a state whose next loss was fine.
        best_step: the best measured state, by the least loss or the highest chrF; None where nothing is measured.
        divergences: at most two.
        degenerate: parts of the objectives that once had nothing to tell apart.
        seconds: its share of the micro-batches' time, by tokens.
    """

    clock: Clock
    state: State = "training"
    rate_factor: float = 1.0
    tally: BatchTally = field(default_factory=BatchTally)
    records: list[StepRecord] = field(default_factory=list)
    development: list[list[float]] = field(default_factory=list)
    development_chrf: list[list[float]] = field(default_factory=list)
    good_step: int = 0
    best_step: int | None = None
    divergences: list[Divergence] = field(default_factory=list)
    degenerate: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.clock.task.name

    @property
    def kept_step(self) -> int:
        """The step whose state is handed out if training ends now."""
        return self.clock.step if self.best_step is None else self.best_step

    def note(self, loss_sum: float, num_target_tokens: int, num_input_tokens: int) -> None:
        """Count a micro-batch's part of the current batch."""
        self.tally.loss_sum += loss_sum
        self.tally.num_target_tokens += num_target_tokens
        self.tally.num_input_tokens += num_input_tokens

    def record(self, gradient_norm: float, objectives: dict[str, float] | None = None) -> StepRecord:
        """The step that the current batch makes; `objectives` as in the record."""
        step, tally, task = self.clock.step + 1, self.tally, self.clock.task
        return StepRecord(
            step=step,
            loss=tally.loss_sum / tally.num_target_tokens,
            lr=self.rate_factor * learning_rate(task.spec.optimizer, step, task.num_steps),
            gradient_norm=gradient_norm,
            num_target_tokens=tally.num_target_tokens,
            num_input_tokens=tally.num_input_tokens,
            objectives=objectives or {},
        )

    def is_sound(self, record: StepRecord) -> bool:
        """Whether an update may be made: all is finite, and the gradient no explosion.

        An explosion is a norm that is clipped and a thousandfold of what it used to be: what need not be clipped harms
        nothing, however small the gradients of sentences known by heart have become.
        """
        if not record.is_finite:
            return False
        norms = [earlier.gradient_norm for earlier in self.records[-_MEMORY:]]
        if len(norms) < _MEMORY // 2 or record.gradient_norm <= self.clock.task.spec.optimizer.max_grad_norm:
            return True
        return record.gradient_norm <= _EXPLOSION * statistics.median(norms)

    def advance(self, record: StepRecord) -> None:
        """The update was made."""
        self.records.append(record)
        self._stand_at(record.step)

    def is_milestone(self) -> bool:
        """Whether the present state is one to measure and to keep a snapshot of, if the next loss is sound."""
        spec, step = self.clock.task.spec.development, self.clock.step
        every = _MILESTONES if spec is None else spec.every
        interval = max(1, math.ceil(round(every * self.clock.task.num_steps, 6)))
        return step > self.good_step and step % interval == 0

    def measured(self, loss: float, chrf: float | None = None) -> None:
        """Take in a measurement of the present step; where there is a chrF, it decides what is best."""
        step = self.clock.step
        self.development.append([step, loss])
        if chrf is not None:
            self.development_chrf.append([step, chrf])
        # From losses and from chrF alike the less is the better; what is no number is never the best.
        sign, series = (1, self.development) if chrf is None else (-1, self.development_chrf)
        costs = {at: sign * value for at, value in series}
        best = math.inf if self.best_step is None else costs[self.best_step]
        if costs[step] < best:
            self.best_step = step

    def has_lost_patience(self) -> bool:
        """Whether so many measurements in a row gave nothing better that training should stop."""
        spec = self.clock.task.spec.development
        if spec is None or spec.patience is None or self.best_step is None:
            return False
        return sum(step > self.best_step for step, _ in self.development) >= spec.patience

    def diverged(self, record: StepRecord) -> bool:
        """Go back to the latest snapshot's step; returns whether the adapter is tried again, at a lower rate."""
        before = [earlier.loss for earlier in self.records if earlier.step < record.step]
        self.divergences.append(Divergence(record, before[-TOLD_LOSSES:], self.good_step))
        self.records = self.records[: self.good_step]
        self._stand_at(self.good_step)
        if len(self.divergences) > 1:
            return False
        self.rate_factor = RETRY_RATE
        return True

    def end(self, state: State) -> None:
        """No more training."""
        self._stand_at(self.clock.step)
        self.state, self.clock.running = state, False

    def story(self) -> str | None:
        """What a user needs to judge an adapter that diverged; None for any other."""
        if not self.divergences:
            return None
        told = " Then, at half the rate: ".join(divergence.story() for divergence in self.divergences)
        if self.state != "diverged":
            told += " From there, at half the rate, all went well."
        return f"{told} {kept_state(self.kept_step)}"

    def to_record(self) -> dict[str, Any]:
        """As JSON data, for a checkpoint."""
        return {
            "name": self.name,
            "step": self.clock.step,
            "taken": self.clock.taken,
            "state": self.state,
            "rate_factor": self.rate_factor,
            "tally": asdict(self.tally),
            "records": [asdict(record) for record in self.records],
            "development": self.development,
            "development_chrf": self.development_chrf,
            "good_step": self.good_step,
            "best_step": self.best_step,
            "divergences": [asdict(divergence) for divergence in self.divergences],
            "degenerate": self.degenerate,
            "seconds": self.seconds,
        }

    def restore(self, record: dict[str, Any]) -> None:
        """Become what `to_record` gave."""
        self.clock.step, self.clock.taken = record["step"], record["taken"]
        self.clock.running = record["state"] == "training"
        self.state, self.rate_factor = record["state"], record["rate_factor"]
        self.tally = BatchTally(**record["tally"])
        self.records = [StepRecord(**entry) for entry in record["records"]]
        self.development, self.development_chrf = record["development"], record["development_chrf"]
        self.good_step, self.best_step = record["good_step"], record["best_step"]
        self.divergences = [
            Divergence(StepRecord(**entry["record"]), entry["losses_before"], entry["back_to"])
            for entry in record["divergences"]
        ]
        self.degenerate = record.get("degenerate", [])  # which older checkpoints lack
        self.seconds = record["seconds"]

    def _stand_at(self, step: int) -> None:
        """After so many updates, nothing of the next batch seen."""
        self.clock.step, self.clock.taken, self.tally = step, 0, BatchTally()
