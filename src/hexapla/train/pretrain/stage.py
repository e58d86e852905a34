"""Entry point of continued pre-training: text in, a base that is used like the one it came from out."""

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
from hexapla.train.pretrain.spec import PretrainSpec
from hexapla.train.result import SUMMARY_FILE, TrainResult
from hexapla.train.task import context_window

if TYPE_CHECKING:
    import torch

    from hexapla.train.full.records import SourcedRecord
    from hexapla.train.full.run import Outcome
    from hexapla.train.pretrain.batches import PretrainBatches
    from hexapla.train.pretrain.store import PretrainText

NAME = "pretrain"
"""What the trained model is called in logs and in seeds."""


@dataclass(frozen=True)
class PretrainResult(TrainResult):
    """Summary of a base's continued pre-training, as in `training.json`.

    `num_examples` are packed sequences; `set_asides` counts documents that are in none, by source and reason.

    Attributes:
        sources: source → learned tokens (`tokens`), mean loss of the first and the last tenth of the steps that had any
            of it (`first_loss`, `final_loss`).
        text: what the text was made of, from the tokenised corpus and the mix.
        tokens_per_s: of all that went through the model, of all time spent.
    """

    sources: dict[str, dict[str, float]]
    text: dict[str, Any]
    tokens_per_s: float | None


def pretrain_model(
    base: Base,
    spec: PretrainSpec,
    seed: int,
    *,
    monolingual: Path | None,
    bilingual: Path | None,
    languages: Sequence[str],
    hubs: Sequence[str],
    folder: Path,
    work: Path,
    log: EventLog | None = None,
    device: torch.device | str | None = None,
    num_processes: int | None = None,
) -> PretrainResult:
    """Train a base further on text in one language and on sentence pairs.

    Args:
        monolingual, bilingual: rows of the corpus; None: there are none.
        languages, hubs: codes, in the order of the recipe; what is in the text decides, `languages` are for the card.
        folder: receives the new base, which transformers loads, in the base's own precision, with its tokenizer, and
            what training left (`training.json`, `log.jsonl`). Making it appear whole is the caller's part.
        work: where the tokenised text and checkpoints lie; the same folder takes a killed run up again. The caller
            empties it.
        log: receives events as they come.
        device: None takes every GPU, or else the CPU; one with an index that GPU alone.
        num_processes: that share out every step; None: one a GPU.

    Raises:
        UserError: the base cannot be loaded or trained on packed text, its context is shorter than `length`, no
            document is left, a checkpoint in `work` is of another run, or memory does not suffice.
    """
    from hexapla.train.full.card import told_optimizer, write_card
    from hexapla.train.full.run import Place, train_whole
    from hexapla.train.full.trainer import Course
    from hexapla.train.pretrain.store import PretrainText

    log = log if log is not None else EventLog(None)
    chosen = choose_device(device)
    refuse_long_sequences(base, spec.length)
    text = PretrainText(monolingual, bilingual, tuple(hubs))
    open_batches = partial(_open_batches, work / "text", base, spec, text, seed)
    batches = open_batches()
    identity = [batches.digest(), fingerprint(base), spec.outcome(), seed]
    course = Course(NAME, open_batches, spec, spec.lora, seed, digest_of(identity), work / "checkpoints")
    log.write("train-start", adapter=NAME, **batches.report)
    outcome = train_whole(course, Place(base, chosen, "pretrain"), folder, log, num_processes=num_processes)
    result = _result(spec, batches, outcome)
    log.write("train-end", **asdict(result))
    write_json(folder / SUMMARY_FILE, asdict(result))
    settings = {
        "Text": ", ".join(f"{name} {summary['tokens']} tokens" for name, summary in result.sources.items()),
        "Optimiser": told_optimizer(spec.optimizer),
        "Batch": f"{spec.batch} sequences of {spec.length} tokens, seed {seed}",
        **({} if spec.lora is None else {"Adapter, folded in": f"rank {spec.lora.rank}, alpha {spec.lora.alpha:g}"}),
    }
    write_card(folder, base_id=base.id, languages=languages, settings=settings, result=result)
    return result


def refuse_long_sequences(base: Base, length: int) -> None:
    """Nothing, unless the base takes fewer tokens than a packed sequence has.

    Raises:
        UserError: it does.
    """
    window = context_window(load_config(base))
    if window is not None and length > window:
        raise UserError(
            f"The base {base.id!r} takes {window} tokens at most; packed sequences are to have {length}.",
            where="pretrain.length",
            hint=f"Set it to {window} or less.",
        )


def summary_of(source: str, records: Sequence[SourcedRecord]) -> dict[str, float]:
    """Tokens and losses of one source; empty when no step had any of it."""
    held = [record for record in records if source in record.tokens]
    if not held:
        return {}
    tenth = max(1, len(held) // 10)

    def loss(part: Sequence[SourcedRecord]) -> float:
        num_tokens = sum(record.tokens[source] for record in part)
        return sum(record.losses[source] * record.tokens[source] for record in part) / num_tokens

    num_tokens = sum(record.tokens[source] for record in held)
    return {"tokens": num_tokens, "first_loss": loss(held[:tenth]), "final_loss": loss(held[-tenth:])}


def _result(spec: PretrainSpec, batches: PretrainBatches, outcome: Outcome) -> PretrainResult:
    records = outcome.records
    num_input_tokens = sum(record.num_input_tokens for record in records)
    return PretrainResult.after(
        records,
        adapter=NAME,
        num_planned_steps=len(batches),
        num_examples=batches.report["sequences"],
        set_asides={
            f"{source} {reason}": count
            for source, reasons in batches.report["set_aside"].items()
            for reason, count in reasons.items()
        },
        trainer="full" if spec.lora is None else "lora",
        sources={name: summary for name in batches.sources if (summary := summary_of(name, records))},
        text=batches.report,
        tokens_per_s=round(num_input_tokens / outcome.seconds, 1) if outcome.seconds else None,
        **outcome.facts,
    )


def _open_batches(folder: Path, base: Base, spec: PretrainSpec, text: PretrainText, seed: int) -> PretrainBatches:
    from hexapla.train.pretrain.batches import prepare_batches

    return prepare_batches(folder, load_tokenizer(base), spec, text, seed=seed)
