"""A wave: the adapters that are trained beside each other, from their checkpoint to their ends.

Every adapter keeps its own batch size, loss normalisation, gradient clipping, learning-rate clock, weight decay, bias
correction, dropout and end; what they share is the base and the micro-batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.common.progress import EventLog
from hexapla.common.seeds import derive_seed
from hexapla.train.align.degenerate import tell_degenerate
from hexapla.train.bank.checkpoint import BankCheckpoints
from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.life import AdapterLife, State
from hexapla.train.bank.milestones import Milestones, References
from hexapla.train.bank.model import BankedModel
from hexapla.train.bank.objectives import BankObjectives, Whole, head_shape
from hexapla.train.bank.packing import PackedBatch, Piece, pack
from hexapla.train.bank.schedule import Clock, next_pieces
from hexapla.train.bank.snapshot import RowSource
from hexapla.train.bank.states import make_optimizers
from hexapla.train.bank.table import LiveTable, Table
from hexapla.train.result import StepRecord, TrainResult
from hexapla.train.spec import TrainSpec
from hexapla.train.stage import Translate
from hexapla.train.task import PreparedTask

if TYPE_CHECKING:
    from hexapla.train.encoding import EncodedExample

_TABLE_EVERY_S = 1.0
_EVENTS_EVERY_S = 10.0  # a run of hours with dozens of adapters shall not fill a disk with them


@dataclass(frozen=True)
class FinishedAdapter:
    """An adapter whose training has ended."""

    task: PreparedTask
    adapter: LoraAdapter
    result: TrainResult
    records: list[StepRecord]


@dataclass(frozen=True)
class WaveSettings:
    """What all waves of a trainer share.

    Attributes:
        lora_settings: adapter's spec → its configuration.
        micro_batch_tokens: tokens of a micro-batch at most.
        precision: of the base and of the arithmetic, for the result.
        translate: see `stage.Translate`; needed where chrF is measured.
        table: what shows the adapters' progress.
    """

    spec: TrainSpec
    seed: int
    lora_settings: Callable[[TrainSpec], LoraSettings]
    micro_batch_tokens: int
    precision: str
    translate: Translate | None = None
    table: Callable[[Sequence[AdapterLife]], Table] = LiveTable


class Wave:
    """Trains some tasks beside each other.

    Args:
        model: the base, which this wave's bank is put into.
        work: folder for checkpoints and snapshots.
        run: digest of everything that the result depends on, to the byte on a CPU.
    """

    def __init__(
        self,
        model: BankedModel,
        tasks: Sequence[PreparedTask],
        settings: WaveSettings,
        *,
        work: Path,
        run: str,
        log: EventLog,
    ) -> None:
        self._model, self._settings, self._log = model, settings, log
        loras = [task.spec.lora for task in tasks]
        aligned = settings.spec.acting_objectives
        self._bank = FactorBank(
            model.groups,
            [lora.rank for lora in loras],
            [lora.alpha / lora.rank for lora in loras],
            model.device,
            head_shape(aligned, model.width),
        )
        model.load(self._bank, [lora.dropout for lora in loras])
        self._has_dropout = any(lora.dropout > 0 for lora in loras)
        self._lives = [AdapterLife(Clock.start(slot, task, settings.seed)) for slot, task in enumerate(tasks)]
        self._optimizers = make_optimizers(
            self._bank.values,
            self._bank.gradients,
            [task.spec.optimizer for task in tasks],
            settings.spec.bank.optimizer_states,
        )
        self._checkpoints = BankCheckpoints(work / "checkpoints", run, keep=settings.spec.bank.keep_checkpoints)
        self._milestones = Milestones(work / "milestones", keep=settings.spec.bank.keep_checkpoints)
        self._changes = [0] * len(tasks)
        self._objectives = None
        if aligned is not None:
            self._objectives = BankObjectives(
                model, self._bank, aligned, pack=self._pack, max_tokens=settings.micro_batch_tokens
            )

    def run(self, deliver: Callable[[FinishedAdapter], None]) -> None:
        """Train until every adapter has ended, going on from the checkpoint where there is one.

        Args:
            deliver: called as soon as an adapter ends; after a resumption also for those that had ended before.
        """
        try:
            self._start_or_resume(deliver)
            self._train(deliver)
        finally:
            # Whatever ends the wave, nothing is written behind its back: the same folder may be taken up at once. And
            # the base holds this bank no longer, which would otherwise lie in memory beside the next wave's.
            self._milestones.settle()
            self._checkpoints.finish()
            self._model.unload()

    def _train(self, deliver: Callable[[FinishedAdapter], None]) -> None:
        """One micro-batch after another."""
        table = self._settings.table(self._lives)
        saved = shown = logged = time.monotonic()
        while any(life.clock.running for life in self._lives):
            start = time.monotonic()
            pieces = next_pieces([life.clock for life in self._lives], self._settings.micro_batch_tokens)
            self._micro_batch(pieces)
            self._share_seconds(pieces, time.monotonic() - start)
            for piece in pieces:
                if piece.ends_batch:
                    self._end_batch(self._lives[piece.slot], deliver)
            now = time.monotonic()
            table.advance(sum(piece.num_tokens for piece in pieces))
            if now - shown >= _TABLE_EVERY_S:
                table.show()
                shown = now
            if now - logged >= _EVENTS_EVERY_S:
                self._log_lives()
                logged = now
            if now - saved >= self._settings.spec.checkpoint_every_s:
                self._checkpoint()
                saved = time.monotonic()
        table.close()

    # One micro-batch

    def _micro_batch(self, pieces: Sequence[Piece]) -> None:
        """Forward, backward; the losses go to their adapters, the gradients to their rows."""
        for piece in pieces:
            self._checkpoints.touch(piece.slot)
            self._changes[piece.slot] += 1
        beside = None
        if self._objectives is not None:
            batches = [self._lives[piece.slot].clock.batch for piece in pieces]
            beside = self._objectives.beside(
                [Whole(piece, batch.examples) for piece, batch in zip(pieces, batches, strict=True)]
            )
        batch = self._pack(pieces)
        nll = self._model.backward(batch, beside)
        sums = torch.stack([part.sum() for part in nll.split(batch.piece_targets)]).tolist()
        for piece, loss_sum, num_targets in zip(pieces, sums, batch.piece_targets, strict=True):
            self._lives[piece.slot].note(loss_sum, num_targets, piece.num_tokens)

    def _pack(self, pieces: Sequence[Piece]) -> PackedBatch:
        return pack(pieces, self._model.device, self._sequence_seeds(pieces))

    def _sequence_seeds(self, pieces: Sequence[Piece]) -> list[int] | None:
        """What the sequences' dropout is drawn from: seed, adapter, step and example."""
        if not self._has_dropout:
            return None
        return [
            derive_seed(
                self._settings.seed,
                self._lives[piece.slot].name,
                "dropout",
                self._lives[piece.slot].clock.step,
                example.id,
            )
            for piece in pieces
            for example in piece.examples
        ]

    def _share_seconds(self, pieces: Sequence[Piece], seconds: float) -> None:
        num_tokens = sum(piece.num_tokens for piece in pieces)
        for piece in pieces:
            self._lives[piece.slot].seconds += seconds * piece.num_tokens / num_tokens

    # One step of one adapter

    def _end_batch(self, life: AdapterLife, deliver: Callable[[FinishedAdapter], None]) -> None:
        """The adapter's global batch is complete: measure, keep, and update, or go back if it diverges."""
        slot = life.clock.slot
        optimizer = self._optimizers[slot]
        objectives = self._end_objectives(life)
        record = life.record(optimizer.gradient_norm(), objectives)
        if not life.is_sound(record):
            self._diverge(life, record, deliver)
            return
        if life.is_milestone():
            self._keep(life)
            if life.has_lost_patience():
                self._end(life, "stopped-early", deliver)
                return
        optimizer.step(record.lr, record.gradient_norm)
        optimizer.zero_gradients()
        life.advance(record)
        if life.clock.step == life.clock.task.num_steps:
            if not bool(optimizer.values.isfinite().all()):
                self._diverge(life, record, deliver)
                return
            self._measure(life)
            self._end(life, "finished", deliver)

    def _end_objectives(self, life: AdapterLife) -> dict[str, float]:
        """What the batch's losses beside the language model's were; their last gradients are added."""
        if self._objectives is None:
            return {}
        values = self._objectives.end(life.clock.slot)
        tell_degenerate(values, life.degenerate, self._log, adapter=life.name, step=life.clock.step + 1)
        return values.to_record()

    def _keep(self, life: AdapterLife) -> None:
        """Measure at a milestone and keep a snapshot of the values, whose loss has just been seen to be sound."""
        self._measure(life)
        life.good_step = life.clock.step
        self._milestones.save(life.name, life.clock.step, self._bank.values[life.clock.slot])

    def _measure(self, life: AdapterLife) -> None:
        """Mean loss a target token, and chrF if asked for, on the adapter's development examples if it has some."""
        slot = life.clock.slot
        examples = life.clock.task.development
        if not examples:
            return
        loss_sum, num_targets = 0.0, 0
        for part in _parts(examples, self._settings.micro_batch_tokens):
            targets = sum(example.num_target_tokens for example in part)
            loss_sum += float(
                self._model.nll(pack([Piece(slot, tuple(part), targets, True)], self._model.device)).sum()
            )
            num_targets += targets
        loss, chrf = loss_sum / num_targets, self._chrf(life)
        life.measured(loss, chrf)
        self._log.write("train-development", adapter=life.name, step=life.clock.step, loss=loss, chrf=chrf)

    def _chrf(self, life: AdapterLife) -> float | None:
        """chrF (Popović 2015) of greedy translations of the development examples, where that is asked for."""
        task = life.clock.task
        if task.spec.development is None or task.spec.development.metric != "chrf":
            return None
        from sacrebleu.metrics import CHRF

        assert self._settings.translate is not None, "whoever asks for chrF gives a translator"
        adapter = self._bank.to_adapter(life.clock.slot, self._settings.lora_settings(task.spec))
        hypotheses = self._settings.translate(task.name, adapter, task.measured)
        return float(CHRF().corpus_score(hypotheses, [[example.target for example in task.measured]]).score)

    def _diverge(self, life: AdapterLife, record: StepRecord, deliver: Callable[[FinishedAdapter], None]) -> None:
        """Back to the latest snapshot; once more at half the rate, or parked with it."""
        slot = life.clock.slot
        again = life.diverged(record)
        self._log.write("train-diverge", adapter=life.name, again=again, back_to=life.good_step, **asdict(record))
        self._go_back(life, life.good_step)
        self._optimizers[slot].reset()
        if not again:
            self._end(life, "diverged", deliver)

    def _go_back(self, life: AdapterLife, step: int) -> None:
        slot = life.clock.slot
        if step == 0:
            self._bank.initialise(slot, self._settings.seed, life.name)
        else:
            self._bank.values[slot].copy_(self._milestones.load(life.name, step))

    def _end(self, life: AdapterLife, state: State, deliver: Callable[[FinishedAdapter], None]) -> None:
        """The adapter becomes its best state and is handed out."""
        if life.kept_step != life.clock.step:
            self._go_back(life, life.kept_step)
        self._optimizers[life.clock.slot].zero_gradients()
        life.end(state)
        deliver(self._finished(life))
        self._log.write("train-end", adapter=life.name, status=state, step=life.clock.step)

    def _finished(self, life: AdapterLife) -> FinishedAdapter:
        task, records = life.clock.task, life.records
        assert life.state != "training"
        result = TrainResult.of(
            task,
            records,
            status=life.state,
            num_steps=life.kept_step,
            seconds=round(life.seconds, 3),
            development=life.development,
            development_chrf=life.development_chrf,
            story=life.story(),
            device=str(self._model.device),
            precision=self._settings.precision,
            trainer="bank",
            company=len(self._lives),
        )
        adapter = self._bank.to_adapter(life.clock.slot, self._settings.lora_settings(task.spec))
        return FinishedAdapter(task, adapter, result, records)

    # Checkpoints

    def _checkpoint(self) -> None:
        rows = [
            RowSource(life.name, self._changes[slot], partial(self._row_state, slot, life.clock.taken > 0))
            for slot, life in enumerate(self._lives)
        ]
        self._milestones.settle()  # what the checkpoint refers to is on disk before it
        self._checkpoints.begin({"lives": [life.to_record() for life in self._lives]}, rows)
        self._milestones.checkpointed(self._references())
        self._log.write("train-checkpoint", steps={life.name: life.clock.step for life in self._lives})

    def _row_state(self, slot: int, within_batch: bool) -> dict[str, torch.Tensor]:
        """The row's tensors; between two batches its gradients are zero."""
        state = self._optimizers[slot].state()
        return {**state, "gradients": self._bank.gradients[slot]} if within_batch else state

    def _references(self) -> References:
        """The snapshots that adapters may still go back to."""
        running = [life for life in self._lives if life.clock.running]
        return {life.name: {step for step in (life.good_step, life.best_step) if step} for life in running}

    def _start_or_resume(self, deliver: Callable[[FinishedAdapter], None]) -> None:
        loaded = self._checkpoints.load()
        if loaded is None:
            for life in self._lives:
                self._bank.initialise(life.clock.slot, self._settings.seed, life.name)
                encoded = life.clock.task.encoded
                counts = {"examples": len(encoded.examples), "set_asides": encoded.set_asides}
                self._log.write("train-start", adapter=life.name, **counts)
            return
        for slot, (life, record) in enumerate(zip(self._lives, loaded.state["lives"], strict=True)):
            life.restore(record)
            stored = loaded.rows[life.name]
            self._changes[slot] = stored.version
            tensors = stored.tensors()
            gradients = tensors.pop("gradients", None)
            self._optimizers[slot].load_state(tensors)
            if gradients is not None:
                self._bank.gradients[slot].copy_(gradients)
        self._milestones.require(self._references())
        self._log.write("train-resume", steps={life.name: life.clock.step for life in self._lives}, note=loaded.note)
        for life in self._lives:
            if not life.clock.running:
                deliver(self._finished(life))

    def _log_lives(self) -> None:
        for life in self._lives:
            if life.clock.running and life.records:
                self._log.write("train-step", adapter=life.name, **asdict(life.records[-1]))


def _parts(examples: Sequence[EncodedExample], max_tokens: int) -> list[list[EncodedExample]]:
    """Examples in order, in parts of at most `max_tokens`."""
    parts: list[list[EncodedExample]] = []
    room = 0
    for example in examples:
        if example.num_input_tokens > room:
            parts.append([])
            room = max_tokens
        parts[-1].append(example)
        room -= example.num_input_tokens
    return parts
