"""The analysis of a run with variants: each against the one before it, and the course of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hexapla.analyze.ablation import AblationStep, ablation_section
from hexapla.analyze.present import Section
from hexapla.analyze.repetition import Target
from hexapla.analyze.sweep import SweepPoint, sweep_section
from hexapla.evaluate.scores import ScoreTable
from hexapla.pipeline.finished import BASE_POOL, PRETRAINED_POOL, FinishedPart, FinishedRun


def analyze_variants(run: FinishedRun) -> Iterator[Section]:
    """An ablation of the variants, in their order, and a section on the sweep; bare bases stand before the first."""
    variants, sweep = run.recipe.variants, run.recipe.sweep
    if variants:
        steps = [AblationStep(name, table) for name, table in _bases(run).items()]
        steps += [
            AblationStep(name, last_table(run.parts[name]), changes, _targets(run.parts[name]))
            for name, changes in variants.items()
        ]
        yield ablation_section(steps)
    for key, values in sweep.items():
        points = [_point(run, key, value) for value in values]
        yield sweep_section(points, key=key)


def last_table(part: FinishedPart) -> ScoreTable:
    """The scores of what a part is for: its trained pool, or the pool that was merged of it."""
    return list(part.tables.values())[-1]


def _targets(part: FinishedPart) -> Iterator[Target]:
    """Read when they are counted, so that no two variants' are in memory together."""
    for targets in part.training_targets.values():
        yield from targets


def _point(run: FinishedRun, key: str, value: Any) -> SweepPoint:
    part = run.parts[run.recipe.swept_name(key, value)]
    return SweepPoint(value, last_table(part), _targets(part))


def _bases(run: FinishedRun) -> dict[str, ScoreTable]:
    tables = {name: table for part in run.parts.values() for name, table in part.tables.items()}
    return {name: tables[name] for name in (BASE_POOL, PRETRAINED_POOL) if name in tables}
