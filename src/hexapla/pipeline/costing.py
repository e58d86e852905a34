"""What a recipe would do and cost, before a weight is loaded: directions, jobs, routes, examples, FLOPs, memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexapla.base import load_shape
from hexapla.data.examples import ExampleMaker, make_examples
from hexapla.data.instructions import TRANSLATION, mix_counts
from hexapla.data.rows import Row
from hexapla.evaluate.comparison import MISSING, parameter_count
from hexapla.languages import Direction
from hexapla.merge.sets import merge_sets
from hexapla.pipeline.counting import TextReader, TrainingText, expected_examples
from hexapla.pipeline.finished import ALIGNED_POOL
from hexapla.pipeline.instructions import takes_instructions
from hexapla.plan import Job, Side
from hexapla.recipe import Recipe
from hexapla.train.align.spec import AlignSpec
from hexapla.train.batching import num_steps
from hexapla.train.cost import TrainingCost, estimate_instruction_tokens, estimate_tokens

_ARITHMETIC = {True: "4 a base weight and token, 6 an adapter weight", False: "6 a weight and token"}


@dataclass(frozen=True)
class JobCost:
    """One adapter to train; None where the corpora cannot be read here.

    Attributes:
        num_examples: general instructions included, of which there are `num_instructions`.
        num_tokens: estimate for one epoch.
    """

    job: Job
    num_parameters: int
    num_examples: int | None = None
    num_instructions: int | None = None
    num_tokens: int | None = None
    num_steps: int | None = None
    flops: float | None = None

    def to_record(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "name": self.job.name,
            "directions": [str(direction) for direction in self.job.directions],
            "parameters": self.num_parameters,
            "examples": self.num_examples,
            "instructions": self.num_instructions,
            "tokens": self.num_tokens,
            "steps": self.num_steps,
            "flops": self.flops,
        }


@dataclass(frozen=True)
class PoolSize:
    """A pool that the recipe makes: how many adapters and parameters."""

    name: str
    num_adapters: int
    num_parameters: int


@dataclass(frozen=True)
class Memory:
    """Estimates for the device that trains, in bytes.

    Attributes:
        adapter: what each adapter takes that is trained at the same time; `num_adapters` of them are.
    """

    base: int
    activations: int
    adapter: int
    num_adapters: int

    @property
    def total(self) -> int:
        """At the peak of training."""
        return self.base + self.activations + self.num_adapters * self.adapter

    def to_record(self) -> dict[str, int]:
        """JSON data."""
        return {
            "base_bytes": self.base,
            "activation_bytes": self.activations,
            "adapter_bytes": self.adapter,
            "adapters_at_once": self.num_adapters,
            "total_bytes": self.total,
        }


@dataclass(frozen=True)
class Costing:
    """A recipe's plan with its costs.

    Attributes:
        num_adapter_parameters: of an adapter without settings of its own.
        alignment: of the whole base, before the jobs; None: the recipe asks for none.
        text: what is trained on, as far as it can be read.
    """

    recipe: Recipe
    jobs: tuple[JobCost, ...]
    pools: tuple[PoolSize, ...]
    routes: Mapping[str, Mapping[Direction, str]]
    num_base_parameters: int
    num_adapter_parameters: int
    memory: Memory
    text: TrainingText
    alignment: JobCost | None = None

    def to_record(self) -> dict[str, Any]:
        """Everything as JSON data; what is not known is null."""
        layout = self.recipe.layout
        return {
            "name": self.recipe.name,
            "base": {"id": self.recipe.base, "parameters": self.num_base_parameters},
            "directions": [str(direction) for direction in layout.directions],
            "groups": {name: list(members) for name, members in layout.groups.items()},
            "adapter_parameters": self.num_adapter_parameters,
            "memory": self.memory.to_record(),
            "alignment": None if self.alignment is None else self.alignment.to_record(),
            "jobs": [cost.to_record() for cost in self.jobs],
            "pools": [
                {"name": pool.name, "adapters": pool.num_adapters, "parameters": pool.num_parameters}
                for pool in self.pools
            ],
            "routes": {
                name: {str(direction): adapter for direction, adapter in routes.items()}
                for name, routes in self.routes.items()
            },
            "counted": self.text.counted,
            "unknown": self.text.unknown,
        }

    def to_text(self) -> str:
        """The plan for people: totals, pools, jobs."""
        from tabulate import tabulate

        pools = tabulate(
            [[pool.name, pool.num_adapters, parameter_count(pool.num_parameters)] for pool in self.pools],
            headers=["pool", "adapters", "parameters"],
            disable_numparse=True,
            colalign=("left", "right", "right"),
        )
        jobs = tabulate(
            [
                [
                    cost.job.name,
                    _directions(cost.job),
                    _or_missing(cost.num_examples),
                    _or_missing(cost.num_tokens),
                    _or_missing(cost.num_steps),
                    MISSING if cost.flops is None else f"{cost.flops:.1e}",
                ]
                for cost in self.jobs
            ],
            headers=["adapter", "directions", "examples", "tokens", "steps", "FLOPs"],
            disable_numparse=True,
            colalign=("left", "left", "right", "right", "right", "right"),
        )
        note = [f"\nExamples are not known: {self.text.unknown}"] if self.text.unknown else []
        return "\n".join([*self._totals(), "", pools, "", jobs, *note])

    def _totals(self) -> list[str]:
        layout = self.recipe.layout
        sides = {side: sum(layout.side(direction) is side for direction in layout.directions) for side in Side}
        by_side = ", ".join(f"{number} {side.value}" for side, number in sides.items() if number)
        flops = [cost.flops for cost in self.jobs]
        total = MISSING if None in flops else f"{sum(value for value in flops if value is not None):.2e}"
        sizes = [parameter_count(number) for number in sorted({cost.num_parameters for cost in self.jobs})]
        size = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        facts = [
            ("recipe", self.recipe.name),
            ("base", f"{self.recipe.base}, {parameter_count(self.num_base_parameters)} parameters"),
            ("languages", f"{len(layout.languages)} with hubs {', '.join(layout.hubs)}, {len(layout.groups)} groups"),
            ("directions", f"{len(layout.directions)} ({by_side})"),
            *([("pretraining", self._pretraining())] if self.recipe.pretrain is not None else []),
            *([("alignment", self._alignment(self.alignment))] if self.alignment is not None else []),
            ("to train", f"{len(self.jobs)} adapters of {size} parameters" if self.has_adapters else "the whole model"),
            *([("examples", f"counted {self.text.counted}")] if self.text.counted else []),
            *(("mixed in", self._mixed_in(cost)) for cost in self.jobs if cost.num_instructions),
            ("training", f"{total} FLOPs (estimate: {_ARITHMETIC[self.has_adapters]})"),
            ("memory", self._memory()),
        ]
        return [f"{name:<11} {text}" for name, text in facts]

    def _mixed_in(self, cost: JobCost) -> str:
        assert cost.num_examples is not None
        assert cost.num_instructions is not None
        there = sum(len(found) for found in self.text.instructions.values())
        num_translations = cost.num_examples - cost.num_instructions
        return f"{cost.num_instructions:,} instructions, of {there:,}, beside {num_translations:,} translations"

    def _pretraining(self) -> str:
        spec = self.recipe.pretrain
        assert spec is not None
        step = spec.batch * spec.length
        if spec.tokens is None:
            return f"all text once, {step:,} tokens a step"
        flops = training_cost(self.recipe).pretraining_flops(
            spec.tokens, gradient_checkpointing=spec.gradient_checkpointing
        )
        return f"{spec.tokens:,} tokens in {-(-spec.tokens // step):,} steps, {flops:.2e} FLOPs (estimate)"

    def _alignment(self, cost: JobCost) -> str:
        if cost.num_steps is None or cost.num_examples is None:
            return "of the base, on examples that are not known"
        return f"{cost.num_examples:,} examples in {cost.num_steps:,} steps, {cost.flops:.2e} FLOPs (estimate)"

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained, not a whole model."""
        return self.recipe.train.method != "full"

    def _memory(self) -> str:
        memory = self.memory
        if not self.has_adapters:
            return f"{_gib(memory.adapter)} weights, gradients and moments, {_gib(memory.activations)} activations"
        at_once = f"all {memory.num_adapters}" if memory.num_adapters == len(self.jobs) else str(memory.num_adapters)
        return (
            f"{_gib(memory.base + memory.activations)} base and activations, {_gib(memory.adapter)} an adapter; "
            f"{at_once} at once {_gib(memory.total)} (estimate)"
        )


def plan_text(recipe: Recipe, out: Path) -> str:
    """The plan of a recipe for people; of a recipe with variants, one behind the other.

    Raises:
        UserError: as `cost_recipe`.
    """
    plans = {label: costing.to_text() for label, costing in _cost_parts(recipe, out)}
    return "\n\n".join(f"== {label} ==\n{text}" if label else text for label, text in plans.items())


def plan_json(recipe: Recipe, out: Path) -> str:
    """The plan of a recipe for programs; of a recipe with variants, a map from each to its plan.

    Raises:
        UserError: as `cost_recipe`.
    """
    plans = {label: costing.to_record() for label, costing in _cost_parts(recipe, out)}
    return json.dumps(plans.get("", {"variants": plans}), ensure_ascii=False, indent=2)


def _cost_parts(recipe: Recipe, out: Path) -> Iterator[tuple[str, Costing]]:
    reader = TextReader(out)
    return ((label, cost_recipe(part, reader)) for label, part in recipe.parts.items())


def cost_recipe(recipe: Recipe, reader: TextReader) -> Costing:
    """Plan and cost a recipe or a part of it. Corpora are read to count examples where they are; weights never are.

    Raises:
        UserError: the base's shape is neither here nor bundled.
    """
    cost = training_cost(recipe)
    text = reader.read(recipe)
    maker = None if text.rows is None else expected_examples(recipe, text.rows)
    pools, routes = plan_pools(recipe, cost)
    return Costing(
        recipe,
        tuple(_job_cost(recipe, job, text, maker, cost) for job in recipe.plan.jobs),
        pools,
        routes,
        num_base_parameters=cost.num_base_parameters,
        num_adapter_parameters=cost.num_adapter_parameters(),
        memory=_memory(recipe, cost),
        text=text,
        alignment=None if recipe.align is None else _alignment_cost(recipe, recipe.align, text.rows, cost),
    )


def training_cost(recipe: Recipe) -> TrainingCost:
    """What costs are computed from: the base's shapes and the settings. Without `precision` a GPU's bf16 is assumed.

    Raises:
        UserError: the base's shape is neither here nor bundled.
    """
    spec = recipe.train
    return TrainingCost(load_shape(recipe.base_model), spec, weight_bytes=4 if spec.precision == "fp32" else 2)


def adapters_at_once(recipe: Recipe) -> int:
    """Adapters that are trained at the same time at most: all where the settings name no number."""
    spec, num_jobs = recipe.train, len(recipe.plan.jobs)
    if spec.method != "lora":
        return 1
    return num_jobs if spec.bank.adapters_at_once is None else min(num_jobs, spec.bank.adapters_at_once)


def largest_rank(recipe: Recipe) -> int:
    """Of the adapters to train."""
    return max(recipe.train.of(job.name).lora.rank for job in recipe.plan.jobs)


def _memory(recipe: Recipe, cost: TrainingCost) -> Memory:
    return Memory(
        cost.base_bytes,
        cost.activation_bytes(cost.micro_batch_tokens),
        cost.adapter_state_bytes(largest_rank(recipe)),
        adapters_at_once(recipe),
    )


def plan_pools(recipe: Recipe, cost: TrainingCost) -> tuple[tuple[PoolSize, ...], dict[str, Mapping[Direction, str]]]:
    """Sizes and routes of all pools that the recipe makes, trained and merged; no corpus is read."""
    plan = recipe.plan
    routes: dict[str, Mapping[Direction, str]] = dict(plan.routes)
    parameters = {
        name: {job.name: cost.num_adapter_parameters(job.name) for job in plan.jobs_of(name)} for name in plan.routes
    }
    for strategy in recipe.merged_strategies:
        assert recipe.merge is not None
        name = f"{strategy}+{recipe.merge.operator}"
        merged = dict(plan.routes[strategy])
        made = {}
        for merge_set in merge_sets(recipe.layout, plan.routes[strategy], recipe.merge, pool=strategy):
            merged.update(dict.fromkeys(merge_set.directions, merge_set.name))
            rank = recipe.merge.rank
            if rank is None:
                rank = max(recipe.train.of(expert).lora.rank for expert in merge_set.experts)
            made[merge_set.name] = cost.num_parameters(rank)
        routes[name] = merged
        parameters[name] = {member: {**parameters[strategy], **made}[member] for member in merged.values()}
    return tuple(PoolSize(name, len(each), sum(each.values())) for name, each in parameters.items()), routes


def _job_cost(recipe: Recipe, job: Job, text: TrainingText, maker: ExampleMaker | None, cost: TrainingCost) -> JobCost:
    parameters = cost.num_adapter_parameters(job.name)
    if text.rows is None or maker is None:
        return JobCost(job, parameters)
    examples = maker.training(text.rows, job.directions)
    num_translations, num_instructions, tokens = len(examples), 0, estimate_tokens(examples)
    spec = recipe.data.instructions
    if spec is not None and examples and takes_instructions(recipe, job):
        sizes = {name: len(found) for name, found in text.instructions.items()}
        counts = mix_counts(spec, {TRANSLATION: len(examples), **sizes})
        num_translations = counts.pop(TRANSLATION)
        num_instructions = sum(counts.values())
        num_bytes = sum(counts[name] * found.num_bytes / len(found) for name, found in text.instructions.items())
        tokens = round(tokens * num_translations / len(examples))
        tokens += estimate_instruction_tokens(num_bytes, num_instructions)
    number = num_translations + num_instructions
    flops = cost.flops(tokens * cost.spec.of(job.name).epochs, job.name)
    steps = cost.num_steps(number, job.name)
    return JobCost(job, parameters, number, num_instructions, tokens, steps, flops)


def _alignment_cost(recipe: Recipe, spec: AlignSpec, rows: Sequence[Row] | None, cost: TrainingCost) -> JobCost:
    """Of the whole base, with the passes that come before the gradients' own where a step is no single micro-batch."""
    job = Job(ALIGNED_POOL, recipe.layout.directions)
    if rows is None:
        return JobCost(job, cost.num_base_parameters)
    examples = make_examples(rows, job.directions)
    number = min(len(examples), spec.examples or len(examples))
    tokens = round(estimate_tokens(examples) * number / max(1, len(examples)))
    flops = cost.pretraining_flops(tokens * spec.epochs, gradient_checkpointing=spec.gradient_checkpointing)
    if spec.acting_objectives is not None:
        flops += cost.pretraining_flops(tokens * spec.epochs, gradient_checkpointing=False) / 3
    steps = num_steps(number, spec.batch, spec.epochs)
    return JobCost(job, cost.num_base_parameters, number, 0, tokens, steps, flops)


def _directions(job: Job) -> str:
    shown = " ".join(map(str, job.directions[:3]))
    return shown if len(job.directions) <= 3 else f"{shown} … ({len(job.directions)})"


def _or_missing(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"


def _gib(num_bytes: int) -> str:
    """One digit where there are whole GiB, else two figures."""
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib:.2g} GiB"
