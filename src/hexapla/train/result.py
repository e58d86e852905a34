"""What a trainer leaves of an adapter: a PEFT folder with a card, `training.json` and `log.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from hexapla.adapter import LoraAdapter, write_adapter
from hexapla.common.artifacts import read_json, write_json, write_jsonl
from hexapla.train.task import PreparedTask

SUMMARY_FILE = "training.json"
LOG_FILE = "log.jsonl"
TOLD_LOSSES = 8  # losses before a divergence that its story tells


@dataclass(frozen=True)
class StepRecord:
    """What happened in one step; a line of `log.jsonl`.

    Attributes:
        step: from 1.
        loss: mean over the batch's target tokens, before the update.
        gradient_norm: before clipping.
        objectives: losses beside the language model's, and what they found, by name (`AlignmentValues`).
    """

    step: int
    loss: float
    lr: float
    gradient_norm: float
    num_target_tokens: int
    num_input_tokens: int
    objectives: dict[str, float] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether an update may be made from this."""
        return all(map(math.isfinite, (self.loss, self.gradient_norm, *self.objectives.values())))

    def told_as_divergence(self, losses_before: Sequence[float]) -> str:
        """What a step that could not be made was like, after steps with these losses."""
        losses = ", ".join(f"{loss:.4g}" for loss in losses_before) or "none"
        beside = "".join(f", {name} {value:.4g}" for name, value in self.objectives.items())
        return (
            f"At step {self.step} the loss was {self.loss:.4g}{beside} and the gradient's norm "
            f"{self.gradient_norm:.4g}, at learning rate {self.lr:.3g}. Losses before: {losses}."
        )


@dataclass(frozen=True)
class TrainResult:
    """Summary of one adapter's training, as in `training.json`.

    Attributes:
        status: `stopped-early` when the development loss no longer fell; `diverged` when losses or gradients were not
            finite or exploded: the adapter is then its last good state.
        num_steps: updates that are in the adapter.
        num_planned_steps: updates that the settings asked for.
        num_examples: examples trained on, an epoch; `set_asides` counts the others by reason.
        num_target_tokens: learned tokens of all steps, epochs counted.
        num_input_tokens: tokens of all steps that went through the base, padding not counted.
        seconds: time of the steps, over all resumptions; in a bank this adapter's share of it by tokens.
        first_loss, final_loss: mean loss a target token of the first and of the latest finite step; None without one.
        development: [step, mean loss a target token] of every measurement on development examples.
        development_chrf: [step, chrF] of the same, where that decides which state is best.
        story: what happened, in words, when it diverged.
        threads: CPU threads that torch used; equal bytes need an equal number.
        trainer: bank, peft, full, or lora (an adapter folded into the base); `company` is the number of adapters that
            it was trained beside, itself included.
    """

    adapter: str
    status: Literal["finished", "stopped-early", "diverged"]
    num_steps: int
    num_planned_steps: int
    num_examples: int
    set_asides: dict[str, int]
    num_target_tokens: int
    num_input_tokens: int
    seconds: float
    first_loss: float | None
    final_loss: float | None
    development: list[list[float]]
    development_chrf: list[list[float]]
    story: str | None
    device: str
    precision: str
    threads: int
    trainer: str
    company: int

    @classmethod
    def of(cls, task: PreparedTask, records: Sequence[StepRecord], **others: Any) -> Self:
        """The summary of a task after the steps recorded; `others` are the fields that neither of them says."""
        return cls.after(
            records,
            adapter=task.name,
            num_planned_steps=task.num_steps,
            num_examples=len(task.encoded.examples),
            set_asides=task.encoded.set_asides,
            **others,
        )

    @classmethod
    def after(cls, records: Sequence[StepRecord], **others: Any) -> Self:
        """The summary after the steps recorded; `others` are the fields that they do not say."""
        import torch

        return cls(
            num_target_tokens=sum(record.num_target_tokens for record in records),
            num_input_tokens=sum(record.num_input_tokens for record in records),
            first_loss=records[0].loss if records else None,
            final_loss=records[-1].loss if records else None,
            threads=torch.get_num_threads(),
            **others,
        )

    @classmethod
    def load(cls, folder: Path) -> TrainResult:
        """The summary in a trained adapter's folder."""
        return cls(**read_json(folder / SUMMARY_FILE))


def write_result(
    folder: Path,
    adapter: LoraAdapter,
    result: TrainResult,
    records: Sequence[StepRecord],
    task: PreparedTask,
    *,
    seed: int,
    template_name: str,
) -> None:
    """Write everything about a trained adapter into `folder`."""
    card = _card(task, seed, template_name, result)
    write_adapter(folder, adapter, card=card)
    write_jsonl(folder / LOG_FILE, [asdict(record) for record in records])
    write_json(folder / SUMMARY_FILE, asdict(result))


def divergence_story(divergence: StepRecord, records: Sequence[StepRecord], kept_steps: int) -> str:
    """What a user needs to judge a divergence."""
    told = divergence.told_as_divergence([record.loss for record in records[-TOLD_LOSSES:]])
    return f"{told} {kept_state(kept_steps)}"


def kept_state(kept_steps: int) -> str:
    """The end of the story of an adapter that diverged."""
    return f"The adapter is its state after {kept_steps} updates. A lower train.optimizer.lr or more warm-up may help."


def _card(task: PreparedTask, seed: int, template_name: str, result: TrainResult) -> str:
    """The README's text: a function of what was trained, not of when or where."""
    job, spec = task.job, task.spec
    lora, optimizer = spec.lora, spec.optimizer
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    settings: dict[str, Any] = {
        "Directions": ", ".join(map(str, job.directions)),
        "Prompt template": template_name,
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, targets {targets}",
        "Optimiser": f"AdamW, learning rate {optimizer.lr:g} ({optimizer.schedule}, warm-up {optimizer.warmup:g}), "
        f"weight decay {optimizer.weight_decay:g}, gradient norm at most {optimizer.max_grad_norm:g}",
        "Batch": f"{spec.batch} sequences, {spec.epochs} epoch(s), seed {seed}",
        "Trained": f"{result.num_steps} of {result.num_planned_steps} steps on {result.num_examples} examples, "
        f"{result.status}, {result.precision}",
    }
    lines = [f"# {job.name}", "", "A translation adapter made by Hexapla.", ""]
    return "\n".join(lines + [f"* {key}: {value}" for key, value in settings.items()])
