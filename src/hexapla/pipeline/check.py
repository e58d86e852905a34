"""Everything about a recipe that can be found wrong before hours are spent on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hexapla import prompts
from hexapla.base import load_config, load_shape, load_tokenizer
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.data.cleaning import rows_of
from hexapla.data.rows import Row
from hexapla.data.stage import check_corpus
from hexapla.evaluate.stage import require_metrics
from hexapla.pipeline.bases import aligned_layers
from hexapla.pipeline.corpora import corpus_settings
from hexapla.pipeline.costing import adapters_at_once, largest_rank, plan_pools, training_cost
from hexapla.pipeline.counting import expected_examples
from hexapla.pipeline.instructions import InstructionStore
from hexapla.recipe import Recipe
from hexapla.train.cost import TrainingCost
from hexapla.train.encoding import Limits, encode_examples

_SAMPLED_ROWS = 200
_ADAPTER_BYTES = 4  # of a parameter
_REFERENCE_STATE_BYTES = 4 * 4  # of a parameter in a checkpoint: value, two moments, and the value before
_BANK_STATE_BYTES = 4 * 4  # value, gradient, two moments


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    text: str

    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.verdict:<5} {self.subject:<11} {self.text}"


def check_recipe(recipe: Recipe, out: Path) -> Iterator[Finding]:
    """Check a valid recipe against what lies here; every check runs, whatever the others find.

    Yields as it goes: reading corpora can take a while.
    """
    said: set[Finding] = set()
    read: set[str] = set()
    instructions = InstructionStore()
    for label, part in recipe.parts.items():
        corpus = digest_of(corpus_settings(part))
        for finding in _check_part(part, out, instructions, has_read=corpus in read):
            if finding not in said:  # variants have most of what they are in common
                said.add(finding)
                yield replace(finding, text=f"{label}: {finding.text}") if label else finding
        read.add(corpus)


def _check_part(recipe: Recipe, out: Path, instructions: InstructionStore, *, has_read: bool) -> Iterator[Finding]:
    """Check one part; its corpora are left out when another part `has_read` them."""
    trained = "a whole model" if recipe.train.method == "full" else f"{len(recipe.plan.jobs)} adapters"
    yield Finding("recipe", "ok", f"{len(recipe.layout.directions)} directions, {trained} to train")
    yield from _guarded("base", lambda: _base(recipe))
    yield from _guarded("tokenizer", lambda: _tokenizer(recipe))
    if not has_read:
        yield from _guarded("corpora", lambda: _corpora(recipe, instructions))
    yield from _guarded("metrics", lambda: _metrics(recipe))
    yield from _guarded("disk", lambda: _disk(recipe, out))


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except UserError as error:
        yield Finding(subject, "fail", error.paragraph())


def _base(recipe: Recipe) -> Iterator[Finding]:
    base = recipe.base_model
    config = load_config(base)
    yield Finding("base", "ok", f"{recipe.base}: {config.model_type}")
    if not base.has_weights():
        yield Finding("base", "fail", f"{recipe.base} has no weights (*.safetensors)")
    for where, (layer, depth) in aligned_layers(recipe).items():
        yield Finding("base", "ok", f"{where.partition('.')[0]} draws languages together at layer {layer} of {depth}")


def _tokenizer(recipe: Recipe) -> Iterator[Finding]:
    """Every language's sentences must come back from the tokenizer unchanged and fit the limits."""
    tokenizer = load_tokenizer(recipe.base_model)
    template = prompts.get_template(recipe.prompt)
    prompts.template_hash(template, tokenizer)
    rows = _sampled_rows(recipe)
    tokens_per_character = {}
    for code in recipe.languages:
        texts = [row.texts[code] for row in rows if code in row.texts][:_SAMPLED_ROWS]
        broken = [text for text in texts if _round_trip(tokenizer, text) != text]
        if broken:
            text = f"{code}: {len(broken)} of {len(texts)} sentences come back changed, such as {broken[0]!r}"
            yield Finding("tokenizer", "warn", text)
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
        tokens_per_character[code] = sum(map(len, encoded)) / max(1, sum(map(len, texts)))
    worst = max(tokens_per_character, key=lambda code: tokens_per_character[code])
    most = f"most tokens a character: {worst} ({tokens_per_character[worst]:.2f})"
    yield Finding("tokenizer", "ok", f"round trip of {len(recipe.languages)} languages; {most}")
    yield _limits(recipe, tokenizer, template, rows)


def _sampled_rows(recipe: Recipe) -> list[Row]:
    """Rows from the start of the training corpora: reading ends when every language has enough of them."""
    wanted = dict.fromkeys(recipe.languages, _SAMPLED_ROWS)
    rows = []
    for reader in recipe.data.train:
        for _, row in rows_of(reader, recipe.languages):
            if not isinstance(row, Row) or not any(wanted.get(code) for code in row.texts):
                continue
            rows.append(row)
            for code in row.texts:
                wanted[code] = max(0, wanted[code] - 1)
            if not any(wanted.values()):
                return rows
    return rows


def _round_trip(tokenizer: Any, text: str) -> str:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return decoded.removeprefix(" ") if not text.startswith(" ") else decoded


def _limits(recipe: Recipe, tokenizer: Any, template: prompts.Template, rows: list[Row]) -> Finding:
    """How many of a sample of examples training would set aside; with PMP they show what training shows them."""
    spec = recipe.train
    window = getattr(load_shape(recipe.base_model).get_text_config(), "max_position_embeddings", None)
    if recipe.data.pmp is not None:  # only a row of three languages can show a third one
        rows = sorted(rows, key=lambda row: len(row.texts) < 3)
    sample = rows[:_SAMPLED_ROWS]
    maker = replace(expected_examples(recipe, sample), downsample=None)
    examples = maker.training(sample, recipe.layout.directions)
    limits = Limits(spec.max_source_tokens, spec.max_target_tokens, window)
    aligns = any(stage is not None and stage.acting_objectives is not None for stage in (recipe.align, spec))
    encoded = encode_examples(tokenizer, template, examples, limits, needs_spans=aligns)
    lost = sum(encoded.set_asides.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in encoded.set_asides.items())
    verdict: Literal["ok", "warn"] = "ok" if lost <= 0.01 * len(examples) else "warn"
    text = f"{lost} of {len(examples)} sampled examples would be set aside" + (f" ({reasons})" if reasons else "")
    if recipe.data.pmp is not None:
        num_shown = sum(example.auxiliary is not None for example in examples)
        text += f"; {num_shown} of them show an auxiliary sentence"
    return Finding("tokenizer", verdict, text)


def _corpora(recipe: Recipe, instructions: InstructionStore) -> Iterator[Finding]:
    summary = check_corpus(
        recipe.data,
        recipe.languages,
        seed=recipe.seed,
        hubs=recipe.hubs,
        directions=recipe.layout.directions,
    )
    for section in ("train", "dev", "test", "monolingual", "bilingual"):
        for name, tally in summary[section].items():
            lost = [*tally["rows_set_aside"].items(), *tally["texts_set_aside"].items()]
            reasons = ", ".join(f"{count} {reason}" for reason, count in lost)
            text = f"{section} {name}: {tally['rows']} rows in {len(tally['texts'])} languages"
            yield Finding("corpora", "warn" if lost else "ok", text + (f"; set aside: {reasons}" if lost else ""))
    if recipe.data.instructions is not None:
        for name, found in instructions.survey(recipe.data.instructions).items():
            reasons = ", ".join(f"{count} {reason}" for reason, count in found.set_asides.items())
            text = f"instructions {name}: {len(found)}" + (f"; set aside: {reasons}" if reasons else "")
            yield Finding("corpora", "warn" if reasons else "ok", text)
    if untested := summary["directions_without_test"]:
        yield Finding("corpora", "warn", f"no test rows in {len(untested)} directions: {', '.join(untested[:10])}")


def _metrics(recipe: Recipe) -> Iterator[Finding]:
    require_metrics(recipe.evaluate, recipe.layout)
    yield Finding("metrics", "ok", ", ".join(recipe.evaluate.metrics))


def _disk(recipe: Recipe, out: Path) -> Iterator[Finding]:
    cost = training_cost(recipe)
    trained = sum(cost.num_adapter_parameters(job.name) for job in recipe.plan.jobs)
    merged = sum(pool.num_parameters for pool in plan_pools(recipe, cost)[0] if "+" in pool.name)
    needed = (trained + merged) * _ADAPTER_BYTES + _checkpoint_bytes(recipe, cost)
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    text = f"about {needed / 2**30:.2f} GiB needed for what is trained, {free / 2**30:.1f} GiB free at {there}"
    yield Finding("disk", "ok" if needed < free else "fail", text)


def _checkpoint_bytes(recipe: Recipe, cost: TrainingCost) -> int:
    """Room for the checkpoints of training: those kept, and the one being written.

    A bank writes all its adapters, as rows of the largest rank, and beside them values that each may go back to: the
    latest good ones and, where development is measured, the best ones.
    """
    spec = recipe.train
    if spec.method == "full":
        return 3 * cost.num_base_parameters * _REFERENCE_STATE_BYTES  # two are kept, one is being written
    num_parameters = cost.num_parameters(largest_rank(recipe))
    if spec.method == "peft":
        return num_parameters * _REFERENCE_STATE_BYTES * 2
    num_values = 1 if spec.development is None else 2
    num_written = spec.bank.keep_checkpoints + 1
    of_parameter = (_BANK_STATE_BYTES + num_values * _ADAPTER_BYTES) * num_written
    return adapters_at_once(recipe) * num_parameters * of_parameter
