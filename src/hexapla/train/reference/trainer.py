"""A base loaded once, its adapters trained one after another through peft.

On the CPU an adapter's bytes depend on settings, seed, name, examples, base and number of threads only: not on the
adapters trained before it, nor on whether it was killed and taken up again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hexapla.base import Base, choose_device, choose_dtype, fingerprint, load_model, load_tokenizer
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.prompts import Template, template_hash
from hexapla.train.lora import settings_of
from hexapla.train.reference.layers import attach
from hexapla.train.reference.loop import AdapterRun, Engine, Outcome
from hexapla.train.result import TrainResult, divergence_story, write_result
from hexapla.train.spec import TrainSpec
from hexapla.train.task import Preparation, PreparedTask, TrainTask, context_window

if TYPE_CHECKING:
    import torch


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
        self._template, self._spec = template, spec
        self._device = choose_device(device)
        dtype = choose_dtype(spec.precision, self._device)
        tokenizer = load_tokenizer(base)
        template_hash(template, tokenizer)  # a template that this tokenizer cannot render is refused at once
        model = load_model(base, dtype=dtype, device=self._device)
        self._preparation = Preparation(
            tokenizer, template, fingerprint(base), context_window(model.config), spec, seed
        )
        layers = attach(model, spec.lora, gradient_checkpointing=spec.gradient_checkpointing)
        self._settings = settings_of(layers.factors, base.id, spec.lora)
        self._engine = Engine.over(layers, spec, seed, self._device, dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the base, so that the next stage has its memory."""
        del self._engine

    def train(self, task: TrainTask, folder: Path, work: Path, log: EventLog | None = None) -> TrainResult:
        """Train one adapter and write it into `folder` (see `result`).

        Args:
            folder: receives the files; making it appear whole is the caller's part.
            work: where checkpoints lie; the same folder takes a killed run up again. The caller empties it.
            log: receives events as they come.

        Raises:
            UserError: no example is left, a checkpoint of another run lies in `work`, or memory does not suffice.
        """
        import torch

        log = log if log is not None else EventLog(None)
        prepared = self._preparation.prepare(task)
        encoded = prepared.encoded
        run = AdapterRun(self._engine, prepared, work=work, run=self._run_digest(prepared))
        log.write("train-start", adapter=prepared.name, examples=len(encoded.examples), set_asides=encoded.set_asides)
        try:
            outcome = run.complete(log)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"Memory does not suffice to train {prepared.name!r} with {self._engine.micro_batch_tokens} tokens at "
                "once.",
                where="train.micro_batch_tokens",
                hint="Lower it, or set train.gradient_checkpointing: true; results stay the same up to rounding.",
            ) from error
        result = self._result(prepared, outcome)
        log.write("train-end", **asdict(result))
        adapter = self._engine.layers.to_adapter(self._settings)
        write_result(
            folder,
            adapter,
            result,
            outcome.records,
            prepared,
            seed=self._preparation.seed,
            template_name=self._template.name,
        )
        return result

    def _run_digest(self, task: PreparedTask) -> str:
        """Identity of a run: what its checkpoint must not be mixed with.

        Micro-batches may change under way, since that is what one does when memory did not suffice.
        """
        return digest_of([task.digest, str(self._engine.dtype)])

    def _result(self, task: PreparedTask, outcome: Outcome) -> TrainResult:
        records = outcome.records
        story = None
        if outcome.divergence is not None:
            story = divergence_story(outcome.divergence, records, outcome.kept_steps)
        return TrainResult.of(
            task,
            records,
            status="finished" if outcome.divergence is None else "diverged",
            num_steps=outcome.kept_steps,
            seconds=round(outcome.seconds, 3),
            development=[],
            development_chrf=[],
            story=story,
            device=str(self._device),
            precision=str(self._engine.dtype).removeprefix("torch."),
            trainer="peft",
            company=1,
        )
