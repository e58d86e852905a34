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
from hexapla.plan import Job, Side
from hexapla.recipe import Recipe
from hexapla.train.cost import TrainingCost, estimate_tokens


@dataclass(frozen=True)
class JobCost:
    """One adapter to train; None where the corpora cannot be read here."""

    job: Job
    num_examples: int | None
    num_steps: int | None
    flops: float | None


@dataclass(frozen=True)
class PoolSize:
    """A pool that the recipe makes: how many adapters and parameters."""

    name: str
    num_adapters: int
    num_parameters: int


@dataclass(frozen=True)
class Costing:
    """A recipe's plan with its costs.

    Attributes:
        unknown: why examples, steps and FLOPs are not known; None when they are.
    """

    recipe: Recipe
    jobs: tuple[JobCost, ...]
    pools: tuple[PoolSize, ...]
    routes: Mapping[str, Mapping[Direction, str]]
    num_base_parameters: int
    num_adapter_parameters: int
    memory_bytes: int
    unknown: str | None

    def to_json(self) -> str:
        """Everything, for programs; what is not known is null."""
        layout = self.recipe.layout
        record: dict[str, Any] = {
            "name": self.recipe.name,
            "base": {"id": self.recipe.base, "parameters": self.num_base_parameters},
            "directions": [str(direction) for direction in layout.directions],
            "groups": {name: list(members) for name, members in layout.groups.items()},
            "adapter_parameters": self.num_adapter_parameters,
            "memory_bytes": self.memory_bytes,
            "jobs": [
                {
                    "name": cost.job.name,
                    "directions": [str(direction) for direction in cost.job.directions],
                    "examples": cost.num_examples,
                    "steps": cost.num_steps,
                    "flops": cost.flops,
                }
                for cost in self.jobs
            ],
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
        return json.dumps(record, ensure_ascii=False, indent=2)

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
        facts = [
            ("recipe", self.recipe.name),
            ("base", f"{self.recipe.base}, {parameter_count(self.num_base_parameters)} parameters"),
            ("languages", f"{len(layout.languages)} with hubs {', '.join(layout.hubs)}, {len(layout.groups)} groups"),
            ("directions", f"{len(layout.directions)} ({by_side})"),
            ("to train", f"{len(self.jobs)} adapters of {parameter_count(self.num_adapter_parameters)} parameters"),
            ("training", f"{total} FLOPs (estimate: 4 a base weight and token, 6 an adapter weight)"),
            ("memory", f"{self.memory_bytes / 2**30:.1f} GiB at the peak of training (estimate)"),
        ]
        return [f"{name:<11} {text}" for name, text in facts]


def cost_recipe(recipe: Recipe) -> Costing:
    """Plan and cost a recipe. Corpora are read to count examples where they are there; weights never are.

    Raises:
        UserError: the base's shape is neither here nor bundled.
    """
    cost = TrainingCost(load_shape(recipe.base_model), recipe.train)
    rows, unknown = _training_rows(recipe)
    plan = recipe.plan
    jobs = tuple(_job_cost(job, rows, cost, recipe.train.epochs) for job in plan.jobs)
    sizes = {name: len(plan.jobs_of(name)) for name in recipe.train.strategies}
    routes: dict[str, Mapping[Direction, str]] = dict(plan.routes)
    for strategy in recipe.merged_strategies:
        assert recipe.merge is not None
        name = f"{strategy}+{recipe.merge.operator}"
        merged = dict(plan.routes[strategy])
        for merge_set in merge_sets(recipe.layout, plan.routes[strategy], recipe.merge, pool=strategy):
            merged.update(dict.fromkeys(merge_set.directions, merge_set.name))
        routes[name], sizes[name] = merged, len(set(merged.values()))
    parameters = cost.num_adapter_parameters
    pools = tuple(PoolSize(name, number, number * parameters) for name, number in sizes.items())
    return Costing(recipe, jobs, pools, routes, cost.num_base_parameters, parameters, cost.memory_bytes, unknown)


def _training_rows(recipe: Recipe) -> tuple[list[Row] | None, str | None]:
    try:
        return read_training_rows(recipe.data, recipe.languages, seed=recipe.seed), None
    except UserError as error:
        return None, error.paragraph()


def _job_cost(job: Job, rows: list[Row] | None, cost: TrainingCost, epochs: int) -> JobCost:
    if rows is None:
        return JobCost(job, None, None, None)
    examples: list[Example] = make_examples(rows, job.directions)
    tokens = estimate_tokens(examples) * epochs
    return JobCost(job, len(examples), cost.num_steps(len(examples)), cost.flops(tokens))


def _directions(job: Job) -> str:
    shown = " ".join(map(str, job.directions[:3]))
    return shown if len(job.directions) <= 3 else f"{shown} … ({len(job.directions)})"


def _or_missing(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"
