"""What a recipe would do and cost, before a weight is loaded: directions, jobs, routes, examples, FLOPs, memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hexapla.base import load_shape
from hexapla.common.errors import UserError
from hexapla.data.examples import Example, make_examples
from hexapla.data.rows import Row
from hexapla.data.stage import read_training_rows
from hexapla.evaluate.comparison import MISSING, parameter_count
from hexapla.languages import Direction
from hexapla.merge.sets import merge_sets
from hexapla.pipeline.examples import example_maker
from hexapla.pipeline.finished import ALIGNED_POOL
from hexapla.plan import Job, Side
from hexapla.recipe import Recipe
from hexapla.train.align.spec import AlignSpec
from hexapla.train.batching import num_steps
from hexapla.train.cost import TrainingCost, estimate_tokens

_ARITHMETIC = {True: "4 a base weight and token, 6 an adapter weight", False: "6 a weight and token"}


@dataclass(frozen=True)
class JobCost:
    """One adapter to train; None where the corpora cannot be read here."""

    job: Job
    num_parameters: int
    num_examples: int | None
    num_steps: int | None
    flops: float | None

    def to_record(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "name": self.job.name,
            "directions": [str(direction) for direction in self.job.directions],
            "parameters": self.num_parameters,
            "examples": self.num_examples,
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
        unknown: why examples, steps and FLOPs are not known; None when they are.
    """

    recipe: Recipe
    jobs: tuple[JobCost, ...]
    pools: tuple[PoolSize, ...]
    routes: Mapping[str, Mapping[Direction, str]]
    num_base_parameters: int
    num_adapter_parameters: int
    memory: Memory
    unknown: str | None
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
            "unknown": self.unknown,
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
                    _or_missing(cost.num_steps),
                    MISSING if cost.flops is None else f"{cost.flops:.1e}",
                ]
                for cost in self.jobs
            ],
            headers=["adapter", "directions", "examples", "steps", "FLOPs"],
            disable_numparse=True,
            colalign=("left", "left", "right", "right", "right"),
        )
        note = [f"\nExamples are not known: {self.unknown}"] if self.unknown else []
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
            ("training", f"{total} FLOPs (estimate: {_ARITHMETIC[self.has_adapters]})"),
            ("memory", self._memory()),
        ]
        return [f"{name:<11} {text}" for name, text in facts]

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


def plan_text(recipe: Recipe) -> str:
    """The plan of a recipe for people; of a recipe with variants, one behind the other.

    Raises:
        UserError: as `cost_recipe`.
    """
    plans = {label: cost_recipe(part).to_text() for label, part in recipe.parts.items()}
    return "\n\n".join(f"== {label} ==\n{text}" if label else text for label, text in plans.items())


def plan_json(recipe: Recipe) -> str:
    """The plan of a recipe for programs; of a recipe with variants, a map from each to its plan.

    Raises:
        UserError: as `cost_recipe`.
    """
    plans = {label: cost_recipe(part).to_record() for label, part in recipe.parts.items()}
    return json.dumps(plans.get("", {"variants": plans}), ensure_ascii=False, indent=2)


def cost_recipe(recipe: Recipe) -> Costing:
    """Plan and cost a recipe or a part of it. Corpora are read to count examples where they are; weights never are.

    Raises:
        UserError: the base's shape is neither here nor bundled.
    """
    cost = training_cost(recipe)
    rows, unknown = _training_rows(recipe)
    plan = recipe.plan
    maker = example_maker(recipe)
    examples = {job.name: None if rows is None else maker.training(rows, job.directions) for job in plan.jobs}
    jobs = tuple(_job_cost(job, examples[job.name], cost) for job in plan.jobs)
    pools, routes = plan_pools(recipe, cost)
    return Costing(
        recipe,
        jobs,
        pools,
        routes,
        num_base_parameters=cost.num_base_parameters,
        num_adapter_parameters=cost.num_adapter_parameters(),
        memory=_memory(recipe, cost),
        unknown=unknown,
        alignment=None if recipe.align is None else _alignment_cost(recipe, recipe.align, rows, cost),
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


def _training_rows(recipe: Recipe) -> tuple[list[Row] | None, str | None]:
    try:
        return read_training_rows(recipe.data, recipe.languages, seed=recipe.seed), None
    except UserError as error:
        return None, error.paragraph()


def _job_cost(job: Job, examples: list[Example] | None, cost: TrainingCost) -> JobCost:
    parameters = cost.num_adapter_parameters(job.name)
    if examples is None:
        return JobCost(job, parameters, None, None, None)
    tokens = estimate_tokens(examples) * cost.spec.of(job.name).epochs
    steps, flops = cost.num_steps(len(examples), job.name), cost.flops(tokens, job.name)
    return JobCost(job, parameters, len(examples), steps, flops)


def _alignment_cost(recipe: Recipe, spec: AlignSpec, rows: list[Row] | None, cost: TrainingCost) -> JobCost:
    """Of the whole base, with the passes that come before the gradients' own where a step is no single micro-batch."""
    job = Job(ALIGNED_POOL, recipe.layout.directions)
    if rows is None:
        return JobCost(job, cost.num_base_parameters, None, None, None)
    examples = make_examples(rows, job.directions)
    number = min(len(examples), spec.examples or len(examples))
    tokens = round(estimate_tokens(examples) * spec.epochs * number / max(1, len(examples)))
    flops = cost.pretraining_flops(tokens, gradient_checkpointing=spec.gradient_checkpointing)
    if spec.objectives.acts:
        flops += cost.pretraining_flops(tokens, gradient_checkpointing=False) / 3
    return JobCost(job, cost.num_base_parameters, number, num_steps(number, spec.batch, spec.epochs), flops)


def _directions(job: Job) -> str:
    shown = " ".join(map(str, job.directions[:3]))
    return shown if len(job.directions) <= 3 else f"{shown} … ({len(job.directions)})"


def _or_missing(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"


def _gib(num_bytes: int) -> str:
    """One digit where there are whole GiB, else two figures."""
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib:.2g} GiB"
