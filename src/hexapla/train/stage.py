"""Entry point of training: a base loaded once, its adapters trained one after another through peft.

On the CPU an adapter's bytes depend on settings, seed, name, examples, base and number of threads only: not on the
adapters trained before it, nor on whether it was killed and taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from hexapla.adapter import write_adapter
from hexapla.base import Base, choose_device, choose_dtype, fingerprint, load_model, load_tokenizer
from hexapla.common.artifacts import digest_of, read_json, write_json, write_jsonl
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.plan import Job
from hexapla.prompts import Template, template_hash
from hexapla.train.encoding import EncodedSet, Limits, encode_examples
from hexapla.train.loop import AdapterRun, Engine, Outcome, StepRecord
from hexapla.train.lora import attach, settings_of
from hexapla.train.optimizer import FlatAdamW
from hexapla.train.spec import TrainSpec

if TYPE_CHECKING:
    import torch

SUMMARY_FILE = "training.json"
LOG_FILE = "log.jsonl"


@dataclass(frozen=True)
class TrainResult:
    """Summary of one adapter's training, as in `training.json`.

    Attributes:
        status: `diverged` when a loss or gradient was not finite; the adapter is its last good state.
        num_steps: updates that are in the adapter.
        num_planned_steps: updates that the settings asked for.
        num_examples: examples trained on, an epoch; `set_asides` counts the others by reason.
        num_target_tokens: learned tokens of all steps, epochs counted.
        num_input_tokens: tokens of all steps that went through the base, padding not counted.
        seconds: time of the steps, over all resumptions.
        first_loss, final_loss: mean loss a target token of the first and of the latest finite step; None without one.
        story: what happened, in words, when it diverged.
        threads: CPU threads that torch used; equal bytes need an equal number.
    """

    adapter: str
    status: Literal["finished", "diverged"]
    num_steps: int
    num_planned_steps: int
    num_examples: int
    set_asides: dict[str, int]
    num_target_tokens: int
    num_input_tokens: int
    seconds: float
    first_loss: float | None
    final_loss: float | None
    story: str | None
    device: str
    precision: str
    threads: int

    @classmethod
    def load(cls, folder: Path) -> TrainResult:
        """The summary in a trained adapter's folder."""
        return cls(**read_json(folder / SUMMARY_FILE))


class AdapterTrainer:
    """Trains the jobs of a plan on one base, which it loads once.

    Args:
        device: None takes the first GPU, else the CPU.

    Raises:
        UserError: the base cannot be loaded, a target layer does not exist, or the device lacks the precision.
    """

    def __init__(
        self, base: Base, template: Template, spec: TrainSpec, seed: int, device: torch.device | str | None = None
    ) -> None:

        self._base, self._template, self._spec, self._seed = base, template, spec, seed
        self._device = choose_device(device)
        dtype = choose_dtype(spec.precision, self._device)
        self._tokenizer = load_tokenizer(base)
        self._template_hash = template_hash(template, self._tokenizer)
        self._fingerprint = fingerprint(base)
        model = load_model(base, dtype=dtype, device=self._device)
        self._context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._settings = settings_of(model, base.id, spec.lora)
        layers = attach(model, spec.lora, gradient_checkpointing=spec.gradient_checkpointing)
        optimizer = FlatAdamW(layers.parameters(), spec.optimizer)
        self._engine = Engine(layers, optimizer, spec, seed, self._device, dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the base, so that the next stage has its memory."""
        del self._engine

    def train(
        self, job: Job, examples: Sequence[Example], folder: Path, work: Path, log: EventLog | None = None
    ) -> TrainResult:
        """Train one adapter and write it into `folder`: a PEFT folder with `training.json` and `log.jsonl`.

        Args:
            folder: receives the files; making it appear whole is the caller's part.
            work: where checkpoints lie; the same folder takes a killed run up again. The caller empties it.
            log: receives events as they come.

        Raises:
            UserError: no example is left, a checkpoint of another run lies in `work`, or memory does not suffice.
        """
        import torch

        log = log if log is not None else EventLog(None)
        encoded = self._encode(job, examples)
        run = AdapterRun(self._engine, job.name, encoded.examples, work=work, run=self._run_digest(job, encoded))
        log.write("train-start", adapter=job.name, examples=len(encoded.examples), set_asides=encoded.set_asides)
        try:
            outcome = run.complete(log)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"Memory does not suffice to train {job.name!r} with {self._spec.micro_batch_tokens} tokens at once.",
                where="train.micro_batch_tokens",
                hint="Lower it, or set train.gradient_checkpointing: true; results stay the same up to rounding.",
            ) from error
        result = self._result(job, encoded, outcome, run.num_steps)
        log.write("train-end", **asdict(result))
        self._write(folder, job, result, outcome)
        return result

    def _encode(self, job: Job, examples: Sequence[Example]) -> EncodedSet:
        limits = Limits(self._spec.max_source_tokens, self._spec.max_target_tokens, self._context)
        encoded = encode_examples(self._tokenizer, self._template, examples, limits)
        if not encoded.examples:
            reasons = ", ".join(f"{count} {reason}" for reason, count in encoded.set_asides.items())
            raise UserError(
                f"The adapter {job.name!r} has no examples to train on"
                + (f": all were set aside ({reasons})." if reasons else "."),
                where="data.train",
                hint=f"It needs rows with both sides of {', '.join(map(str, job.directions[:5]))}.",
            )
        return encoded

    def _run_digest(self, job: Job, encoded: EncodedSet) -> str:
        """Identity of a run: what its checkpoint must not be mixed with."""
        spec = self._spec.resolved()
        for field in ("strategy", "checkpoint_every_s", "max_source_tokens", "max_target_tokens"):
            del spec[field]
        return digest_of(
            {
                "spec": spec,
                "dtype": str(self._engine.dtype),
                "seed": self._seed,
                "adapter": job.name,
                "base": self._fingerprint,
                "template": self._template_hash,
                "examples": encoded.digest(),
            }
        )

    def _result(self, job: Job, encoded: EncodedSet, outcome: Outcome, num_planned_steps: int) -> TrainResult:
        import torch

        records = outcome.records
        return TrainResult(
            adapter=job.name,
            status="finished" if outcome.divergence is None else "diverged",
            num_steps=outcome.kept_steps,
            num_planned_steps=num_planned_steps,
            num_examples=len(encoded.examples),
            set_asides=encoded.set_asides,
            num_target_tokens=sum(record.num_target_tokens for record in records),
            num_input_tokens=sum(record.num_input_tokens for record in records),
            seconds=round(outcome.seconds, 3),
            first_loss=records[0].loss if records else None,
            final_loss=records[-1].loss if records else None,
            story=None if outcome.divergence is None else _story(outcome.divergence, records, outcome.kept_steps),
            device=str(self._device),
            precision=str(self._engine.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
        )

    def _write(self, folder: Path, job: Job, result: TrainResult, outcome: Outcome) -> None:
        card = _card(job, self._spec, self._seed, self._template, result)
        write_adapter(folder, self._engine.layers.to_adapter(self._settings), card=card)
        write_jsonl(folder / LOG_FILE, [asdict(record) for record in outcome.records])
        write_json(folder / SUMMARY_FILE, asdict(result))


def _story(divergence: StepRecord, records: list[StepRecord], kept_steps: int) -> str:
    """What a user needs to judge a divergence."""
    tail = ", ".join(f"{record.loss:.4g}" for record in records[-8:]) or "none"
    return (
        f"At step {divergence.step} the loss was {divergence.loss:.4g} and the gradient's norm "
        f"{divergence.gradient_norm:.4g}, at learning rate {divergence.lr:.3g}. Losses before: {tail}. "
        f"The adapter is its state after {kept_steps} updates. A lower train.optimizer.lr or more warm-up may help."
    )


def _card(job: Job, spec: TrainSpec, seed: int, template: Template, result: TrainResult) -> str:
    """The README's text: a function of what was trained, not of when or where."""
    lora, optimizer = spec.lora, spec.optimizer
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    settings: dict[str, Any] = {
        "Directions": ", ".join(map(str, job.directions)),
        "Prompt template": template.name,
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, targets {targets}",
        "Optimiser": f"AdamW, learning rate {optimizer.lr:g} ({optimizer.schedule}, warm-up {optimizer.warmup:g}), "
        f"weight decay {optimizer.weight_decay:g}, gradient norm at most {optimizer.max_grad_norm:g}",
        "Batch": f"{spec.batch} sequences, {spec.epochs} epoch(s), seed {seed}",
        "Trained": f"{result.num_steps} of {result.num_planned_steps} steps on {result.num_examples} examples, "
        f"{result.status}, {result.precision}",
    }
    lines = [f"# {job.name}", "", "A translation adapter made by Hexapla.", ""]
    return "\n".join(lines + [f"* {key}: {value}" for key, value in settings.items()])
