"""Entry point of alignment training: sentence pairs in, a base that is used like the one it came from out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.base import Base, choose_device, fingerprint, load_config, load_tokenizer
from hexapla.common.artifacts import digest_of, write_json
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.prompts import Template, template_hash
from hexapla.representations.layers import resolve_layer
from hexapla.train.align.spec import AlignSpec
from hexapla.train.encoding import EncodedSet, Limits, encode_examples
from hexapla.train.result import SUMMARY_FILE, StepRecord, TrainResult
from hexapla.train.task import context_window, sample_examples

if TYPE_CHECKING:
    import torch

    from hexapla.train.full.examples import Lesson

NAME = "align"
"""What the trained model is called in logs and in seeds."""


@dataclass(frozen=True)
class AlignResult(TrainResult):
    """Summary of a base's alignment training, as in `training.json`.

    Attributes:
        objectives: loss or accuracy (see `AlignmentValues`) → means of the first and of the last tenth of the steps
            that had one (`first`, `final`).
    """

    objectives: dict[str, dict[str, float]]


def align_model(
    base: Base,
    template: Template,
    spec: AlignSpec,
    seed: int,
    *,
    examples: Sequence[Example],
    folder: Path,
    work: Path,
    log: EventLog | None = None,
    device: torch.device | str | None = None,
    num_processes: int | None = None,
) -> AlignResult:
    """Train a base to translate while its representations are aligned.

    Where no objective has a weight it is plain fine-tuning on the same examples in the same batches: the control.

    Args:
        folder: receives the new base, which transformers loads, in the base's own precision, with its tokenizer, and
            what training left (`training.json`, `log.jsonl`). Making it appear whole is the caller's part.
        work: where checkpoints lie; the same folder takes a killed run up again. The caller empties it.
        log: receives events as they come.
        device: None takes every GPU, or else the CPU; one with an index that GPU alone.
        num_processes: that share out every step; None: one a GPU.

    Raises:
        UserError: the base cannot be loaded or trained on packed text or has no such layer, no example is left, a
            checkpoint in `work` is of another run, or memory does not suffice.
    """
    from hexapla.train.full.card import write_card
    from hexapla.train.full.examples import ExampleBatches
    from hexapla.train.full.run import Place, train_whole
    from hexapla.train.full.trainer import Course

    log = log if log is not None else EventLog(None)
    chosen = choose_device(device)
    objectives = spec.acting_objectives
    depth: int = load_config(base).get_text_config().num_hidden_layers
    if objectives is not None:
        resolve_layer(objectives.layer, depth, where="align.objectives.layer")
    chosen_examples = examples if spec.examples is None else sample_examples(examples, spec.examples, seed, NAME)
    encoded = _encode(base, template, spec, chosen_examples)
    lesson = _lesson(base, template, spec, seed, encoded)
    course = Course(
        name=NAME,
        open_batches=partial(ExampleBatches, lesson, seed, apart=True, aligned=objectives is not None),
        settings=spec,
        lora=spec.lora,
        seed=seed,
        run=lesson.digest,
        work=work,
        objectives=objectives,
    )
    log.write("train-start", adapter=NAME, examples=len(encoded.examples), set_asides=encoded.set_asides)
    outcome = train_whole(course, Place(base, chosen, "align"), folder, log, num_processes=num_processes)
    result = AlignResult.after(
        outcome.records,
        adapter=NAME,
        num_planned_steps=len(course.batches),
        num_examples=len(encoded.examples),
        set_asides=encoded.set_asides,
        trainer="full" if spec.lora is None else "lora",
        objectives=summary_of(outcome.records),
        **outcome.facts,
    )
    log.write("train-end", **asdict(result))
    write_json(folder / SUMMARY_FILE, asdict(result))
    directions = [example.direction for example in encoded.examples if example.direction is not None]
    codes = sorted({code for direction in directions for code in (direction.source, direction.target)})
    settings = {"Prompt template": template.name, **_told(spec, depth, seed)}
    write_card(folder, base_id=base.id, languages=codes, settings=settings, result=result)
    return result


def _told(spec: AlignSpec, depth: int, seed: int) -> dict[str, str]:
    """The settings in words, for the card."""
    from hexapla.train.full.card import told_objectives, told_optimizer

    adapter = {} if spec.lora is None else {"Adapter, folded in": f"rank {spec.lora.rank}, alpha {spec.lora.alpha:g}"}
    return {
        **told_objectives(spec.acting_objectives, depth),
        "Optimiser": told_optimizer(spec.optimizer),
        "Batch": f"{spec.batch} sequences, {spec.epochs} epoch(s), seed {seed}",
        **adapter,
    }


def summary_of(records: Sequence[StepRecord]) -> dict[str, dict[str, float]]:
    """Of everything that steps recorded beside the language model's loss, the means of their first and last tenth."""
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.objectives.items():
            values.setdefault(name, []).append(value)

    def means(each: list[float]) -> dict[str, float]:
        tenth = max(1, len(each) // 10)
        return {"first": sum(each[:tenth]) / tenth, "final": sum(each[-tenth:]) / tenth}

    return {name: means(each) for name, each in values.items()}


def _encode(base: Base, template: Template, spec: AlignSpec, examples: Sequence[Example]) -> EncodedSet:
    limits = Limits(spec.max_tokens, spec.max_tokens, context_window(load_config(base)))
    encoded = encode_examples(load_tokenizer(base), template, examples, limits, needs_spans=True)
    if not encoded.examples:
        reasons = ", ".join(f"{count} {reason}" for reason, count in encoded.set_asides.items())
        raise UserError(
            "There are no examples to align the base on"
            + (f": all were set aside ({reasons})." if reasons else ": no row has both sides of a direction."),
            where="data.train",
            hint="Raise align.max_tokens where sentences are too long; else give rows in two languages at least.",
        )
    return encoded


def _lesson(base: Base, template: Template, spec: AlignSpec, seed: int, encoded: EncodedSet) -> Lesson:
    from hexapla.train.full.examples import Lesson

    identity: dict[str, Any] = {
        "spec": spec.outcome(),
        "seed": seed,
        "base": fingerprint(base),
        "template": template_hash(template, load_tokenizer(base)),
        "examples": encoded.digest(spans=True),
    }
    return Lesson(NAME, encoded.examples, spec.batch, spec.epochs, digest_of(identity))
