"""From finished runs to what explains their scores: differences, conflict and synergy, geometry, repetition.

Nothing is trained, translated or scored here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import hexapla
from hexapla.analyze.adapter_sets import measure_pool
from hexapla.analyze.conflict import conflict_sections, measure_conflict
from hexapla.analyze.conflict_deltas import Measured
from hexapla.analyze.correlation import Feature, explanations, resource_feature
from hexapla.analyze.differences import differences_section
from hexapla.analyze.geometry_section import geometry_features, geometry_section
from hexapla.analyze.present import Section
from hexapla.analyze.pretraining import pretraining_section
from hexapla.analyze.repetition import memorisation, repetition_features, repetition_section
from hexapla.analyze.representations.section import representations_section
from hexapla.analyze.store import write_sections
from hexapla.common.artifacts import is_complete, read_json
from hexapla.evaluate.comparability import OnPurpose
from hexapla.evaluate.scores import ScoreTable
from hexapla.languages import Direction
from hexapla.pipeline.bases import aligned_layers
from hexapla.pipeline.finished import BASE_POOL, PRETRAINED_POOL, FinishedPart, FinishedRun
from hexapla.pipeline.representations import read_profiles
from hexapla.pipeline.variants import analyze_variants
from hexapla.pipeline.vocabulary import VOCABULARY_FILE
from hexapla.pipeline.workspace import Workspace
from hexapla.plan import SEPARATE, SHARED
from hexapla.pool import Pool


def analyze_once(run: FinishedRun, workspace: Workspace, *, is_whole: bool | None = None) -> Path:
    """The folder of the run's analysis, made once for the same scores.

    Args:
        is_whole: whether everything is made; False: the differences only, which read no adapter. None: everything where
            the recipe asks for an analysis, pre-trains or has variants, or where it was made before.
    """
    made_of = {
        "parts": {
            label: {kind: {name: path.name for name, path in named.items()} for kind, named in part.folders.items()}
            for label, part in run.parts.items()
        },
        "hexapla": hexapla.__version__,
    }

    name = run.recipe.name
    if is_whole is None:
        recipe = run.recipe
        asks = (recipe.analyze.conflict, recipe.analyze.representations, recipe.pretrain)
        asked = run.only is None or any(each is not None for each in asks)
        is_whole = asked or is_complete(workspace.location("analysis", name, {"whole": True, **made_of}))

    def build(aside: Path, _: Path) -> None:
        write_sections(aside, analyze_run(run) if is_whole else differences(run.asked))

    return workspace.make("analysis", name, {"whole": is_whole, **made_of}, build)


def analyze_run(run: FinishedRun) -> Iterator[Section]:
    """All that can be said about a run: what it lacks is left out; of several pre-trained bases the first is shown."""
    pretrained = [part for part in run.parts.values() if PRETRAINED_POOL in part.folders["models"]]
    if pretrained:
        yield _pretraining(pretrained[0])
    if run.only is not None:
        yield from _analyze_part(run.only)
    else:
        yield from analyze_variants(run)
    if profiles := {
        name: each for part in run.parts.values() for name, each in part.folders["representations"].items()
    }:
        yield representations_section(read_profiles(profiles), aligned_layer=_aligned_layer(run))


def _aligned_layer(run: FinishedRun) -> int | None:
    """The layer that the run aligns; of parts that align different ones, none."""
    layers = {layer for part in run.recipe.parts.values() for layer, _ in aligned_layers(part).values()}
    return layers.pop() if len(layers) == 1 else None


def _pretraining(part: FinishedPart) -> Section:
    [vocabulary] = part.folders["vocabulary"].values()
    record = part.training[PRETRAINED_POOL]
    return pretraining_section(record, read_json(vocabulary / VOCABULARY_FILE), part.recipe.hubs[0])


def _analyze_part(run: FinishedPart) -> Iterator[Section]:
    """Differences need two trained pools; conflict and synergy the pools `separate` and another; geometry adapters of
    several languages.
    """
    yield from differences(run.asked)
    has_conflict = SEPARATE in run.tables and len(set(run.tables) - {SEPARATE, BASE_POOL}) > 0
    measured = measure_conflict(run.tables, baseline=BASE_POOL) if has_conflict else None
    if measured is not None:
        parameters = {name: cost.num_parameters for name, cost in run.costs.items()}
        yield from conflict_sections(measured, run.tables, parameters)
    training = run.training_targets
    pool = _compared_pool(run)
    geometry = measure_pool(pool) if pool is not None else None
    if geometry is not None:
        if measured is not None and SHARED in measured.pools:
            features = [
                *geometry_features(geometry),
                *repetition_features(training[job.name] for job in run.recipe.plan.jobs_of(SHARED)),
                resource_feature(run.recipe.layout.directions, run.recipe.layout),
            ]
            yield from _explanations(run, measured, features)
        yield geometry_section(geometry)
    memorised = {
        name: memorisation(_outputs(table), training, _jobs_behind(run, name))
        for name, table in run.tables.items()
        if name != BASE_POOL
    }
    yield repetition_section(training, memorised)


def analyze_together(
    tables: Mapping[str, ScoreTable], num_parameters: Mapping[str, int], on_purpose: OnPurpose
) -> Iterator[Section]:
    """What can be said about pools of several runs by their scores: differences, conflict and synergy."""
    yield from differences(tables)
    if SEPARATE in tables and len(set(tables) - {SEPARATE, BASE_POOL}) > 0:
        measured = measure_conflict(tables, baseline=BASE_POOL)
        yield from conflict_sections(measured, tables, num_parameters, on_purpose)


def differences(tables: Mapping[str, ScoreTable]) -> Iterator[Section]:
    """Every trained pool against the first of them."""
    trained = [table for name, table in tables.items() if name != BASE_POOL]
    if len(trained) > 1:
        yield differences_section(trained)


def _explanations(run: FinishedPart, measured: Measured, features: Sequence[Feature]) -> Iterator[Section]:
    table = run.tables[SEPARATE]
    for test, metric in measured.views:
        if metric in table.metrics:
            deltas = measured.values(test, metric, SHARED)
            yield explanations(
                deltas,
                features,
                run.recipe.layout,
                metric=metric,
                pool=SHARED,
                test=test if len(table.tests) > 1 else None,
                seed=run.recipe.seed,
            )


def _compared_pool(run: FinishedPart) -> Pool | None:
    """The pool with the most adapters, the one with separate training before others."""
    trained = {name: pool for name, pool in run.pools.items() if len(pool.adapters) > 1 and "+" not in name}
    if SEPARATE in trained:
        return trained[SEPARATE]
    return max(trained.values(), key=lambda pool: len(pool.adapters), default=None)


def _outputs(table: ScoreTable) -> dict[Direction, list[tuple[str, str]]]:
    """Direction → hypothesis and reference of each segment, of all test sets."""
    found: dict[Direction, list[tuple[str, str]]] = {}
    for entry in table.entries:
        pairs = [(each["hypothesis"], each["reference"]) for each in table.segments(entry.test, entry.direction)]
        found.setdefault(entry.direction, []).extend(pairs)
    return found


def _jobs_behind(run: FinishedPart, name: str) -> dict[Direction, list[str]]:
    """Direction → the adapters that were trained for it: its own, or the experts that were merged into its own."""
    merged = run.merges.get(name, {})
    routes = run.pools[name].description.routes
    return {
        direction: list(merged[route]["experts"]) if route in merged else [route]
        for direction, route in routes.items()
        if route is not None
    }
