"""Run a recipe: corpus, adapters, pools, merges, scores, report; each stage once, found again by its key."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hexapla import prompts
from hexapla.analyze.store import read_sections
from hexapla.base import fingerprint, load_tokenizer
from hexapla.common.artifacts import digest_of, is_complete, read_json, write_text
from hexapla.common.errors import UserError
from hexapla.common.progress import duration
from hexapla.data.examples import make_examples
from hexapla.data.stage import Corpus, build_corpus, input_digests, load_corpus
from hexapla.evaluate.metrics.comet import release_scorers
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.stage import require_metrics
from hexapla.merge.stage import merge_pool, remove_leftovers
from hexapla.pipeline.analysis import analyze_once
from hexapla.pipeline.development import DevelopmentTranslator
from hexapla.pipeline.finished import FinishedRun
from hexapla.pipeline.reporting import Outcome, report_run
from hexapla.pipeline.scoring import Measurement
from hexapla.pipeline.workspace import Workspace, machine, versions
from hexapla.plan import Job
from hexapla.pool import Pool, PoolDescription, describe_base, write_pool
from hexapla.prompts import Template
from hexapla.recipe import Recipe
from hexapla.train.result import SUMMARY_FILE
from hexapla.train.task import TrainTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hexapla.translate.engines.torch_engine import TorchEngine
    from hexapla.translate.translator import Translator

BASE_POOL = "base"


def run_recipe(recipe: Recipe, out: Path) -> Outcome:
    """Run every stage of `recipe` that is not finished in `out`.

    Interrupted at any moment, the same call continues. A change in the recipe redoes only what depends on it.

    Raises:
        UserError: something that the user gave cannot be used; what was finished stays.
    """
    with Workspace.open(out) as workspace:
        return _Run(recipe, workspace).execute()


@dataclass
class _Run:
    """One pass over the stages; the base is loaded when a stage needs it and not before."""

    recipe: Recipe
    workspace: Workspace
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def execute(self) -> Outcome:
        recipe = self.recipe
        require_metrics(recipe.evaluate, recipe.layout)
        if not recipe.base_model.has_weights():
            raise UserError(
                f"The base {recipe.base!r} has no weights (*.safetensors).",
                where="base",
                hint="`hexapla plan` works without them, `hexapla run` does not.",
            )
        text = yaml.safe_dump(recipe.resolved(), allow_unicode=True, sort_keys=False)
        write_text(self.workspace.out / "recipe.yaml", text)
        self.workspace.log.write("run", recipe=recipe.name, versions=versions())
        with self._stage("corpus"):
            corpus_folder = self._corpus()
            corpus = load_corpus(corpus_folder)
        with self._stage("adapters"):
            adapters = self._adapters(corpus)
        with self._stage("pools"):
            pools = self._pools(adapters)
        with self._stage("merge"):
            pools |= self._merged(pools)
        with self._stage("scores"):
            tables = self._scores(corpus, pools)
        return self._report(corpus_folder, adapters, pools, tables)

    # Corpus

    def _corpus(self) -> Path:
        recipe = self.recipe
        key = {
            "data": recipe.data.resolved(),
            "languages": list(recipe.languages),
            "seed": recipe.seed,
            "inputs": input_digests(recipe.data, recipe.languages),
        }
        return self.workspace.make(
            "corpus",
            recipe.name,
            key,
            lambda aside, _: build_corpus(
                recipe.data, recipe.languages, aside, seed=recipe.seed, directions=recipe.layout.directions
            ),
        )

    # Adapters

    def _adapters(self, corpus: Corpus) -> dict[str, Path]:
        """Train what is not trained yet; returns the PEFT folder of every job."""
        tasks = [self._task(job, corpus) for job in self.recipe.plan.jobs]
        keys = {task.job.name: self._adapter_key(task) for task in tasks}
        folders = {name: self.workspace.location("adapter", name, key) for name, key in keys.items()}
        finished = frozenset(name for name, folder in folders.items() if is_complete(folder))
        work = self.workspace.work(self.workspace.location("adapter", "all", keys))
        if len(finished) < len(tasks):
            from hexapla.train.stage import train_adapters

            train_adapters(
                self.recipe.base_model,
                self._template,
                self.recipe.train,
                self.recipe.seed,
                tasks,
                deliver=lambda name, fill: self._keep_adapter(name, keys[name], fill),
                finished=finished,
                work=work,
                translate=DevelopmentTranslator(self._base_description, self.recipe.translate),
                log=self.workspace.log,
            )
        shutil.rmtree(work, ignore_errors=True)
        for name, folder in folders.items():
            self._warn_of_divergence(name, folder / SUMMARY_FILE)
        return folders

    def _task(self, job: Job, corpus: Corpus) -> TrainTask:
        development = make_examples(corpus.dev, job.directions) if self.recipe.train.development else ()
        return TrainTask(job, make_examples(corpus.train, job.directions), development)

    def _keep_adapter(self, name: str, key: dict[str, Any], fill: Callable[[Path], None]) -> None:
        self.workspace.make("adapter", name, key, lambda aside, _: fill(aside))

    def _warn_of_divergence(self, name: str, summary_file: Path) -> None:
        summary = read_json(summary_file)
        if summary["status"] == "diverged":
            self.warnings.append(
                f"the adapter {name} diverged and was left at its state after {summary['num_steps']} steps "
                f"(see {summary_file}); a lower train.optimizer.lr may help"
            )

    def _adapter_key(self, task: TrainTask) -> dict[str, Any]:
        """What an adapter depends on: its own examples, not the corpus, so that a new language leaves it alone."""
        texts = [
            [[example.id, example.source, example.target] for example in examples]
            for examples in (task.examples, task.development)
        ]
        return {
            "base": self._fingerprint,
            "template": self._template_hash,
            "train": self.recipe.train.outcome(task.job.name),
            "seed": self.recipe.seed,
            "job": task.job.name,
            "directions": [str(direction) for direction in task.job.directions],
            "examples": digest_of(texts),
        }

    # Pools

    def _pools(self, adapters: dict[str, Path]) -> dict[str, Pool]:
        recipe, plan = self.recipe, self.recipe.plan
        base = self._base_description
        pools = {}
        if recipe.evaluate.baseline:
            pools[BASE_POOL] = self._pool(base, {})
        for name, routes in plan.routes.items():
            folders = {job.name: adapters[job.name] for job in plan.jobs_of(name)}
            described = replace(base, name=name, layout=plan.layouts[name], routes=dict(routes))
            pools[name] = self._pool(described, folders)
        return pools

    def _pool(self, description: PoolDescription, adapters: dict[str, Path]) -> Pool:
        recipe = self.recipe
        provenance = {
            "made_by": "hexapla run",
            "recipe": {"train": recipe.train.resolved(), "data": recipe.data.resolved(), "seed": recipe.seed},
            "adapters": {name: folder.name for name, folder in adapters.items()},
            "versions": versions(),
        }
        description = replace(description, provenance=provenance)
        key = {
            "base": description.base_fingerprint,
            "template": description.template_hash,
            "routes": {str(direction): route for direction, route in description.routes.items()},
            "groups": {name: list(members) for name, members in description.layout.groups.items()},
            "provenance": provenance,
        }
        folder = self.workspace.location("pool", description.name, key)
        pool = Pool.load(folder) if is_complete(folder) else write_pool(folder, description, adapters)
        self.workspace.link("pools", description.name, folder)
        return pool

    def _merged(self, pools: dict[str, Pool]) -> dict[str, Pool]:
        spec = self.recipe.merge
        merged = {}
        for strategy in self.recipe.merged_strategies:
            assert spec is not None
            name = f"{strategy}+{spec.operator}"
            key = {"pool": pools[strategy].digest, "merge": spec.resolved(), "seed": self.recipe.seed}
            folder = self.workspace.location("pool", name, key)
            if is_complete(folder):
                remove_leftovers(folder)
                merged[name] = Pool.load(folder)
            else:
                merged[name] = merge_pool(pools[strategy], spec, folder, name=name, seed=self.recipe.seed)
            self.workspace.link("pools", name, folder)
        return merged

    # Scores

    def _scores(self, corpus: Corpus, pools: dict[str, Pool]) -> dict[str, ScoreTable]:
        recipe = self.recipe
        measurement = Measurement(corpus.tests, recipe.evaluate, recipe.translate, recipe.seed)
        tables = {
            name: measurement.of(pool, self.workspace, partial(self._translator, pool)) for name, pool in pools.items()
        }
        release_scorers()
        return tables

    def _translator(self, pool: Pool) -> Translator:
        from hexapla.translate.translator import Translator

        return Translator(pool, self.recipe.translate, engine=self._engine)

    @cached_property
    def _engine(self) -> TorchEngine:
        """The base for decoding, loaded when the first scores are missing."""
        from hexapla.translate.engines.torch_engine import TorchEngine

        return TorchEngine(self.recipe.base_model, precision=self.recipe.translate.precision)

    # Report

    def _report(
        self, corpus: Path, adapters: dict[str, Path], pools: dict[str, Pool], tables: dict[str, ScoreTable]
    ) -> Outcome:
        finished = FinishedRun(
            out=self.workspace.out,
            recipe=self.recipe,
            folders={
                "corpus": {self.recipe.name: corpus},
                "adapters": adapters,
                "pools": {name: pool.folder for name, pool in pools.items()},
                "scores": {name: table.folder for name, table in tables.items()},
            },
            versions=versions(),
            machine=machine(),
            stage_seconds=self.seconds,
            warnings=tuple(self.warnings),
        )
        with self._stage("analysis"):
            analysis = analyze_once(finished, self.workspace)
        finished.save()
        return report_run(finished, read_sections(analysis))

    # What all stages need of the base

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.recipe.base_model)

    @cached_property
    def _base_description(self) -> PoolDescription:
        """The pool that is the bare base."""
        return describe_base(
            name=BASE_POOL,
            base=self.recipe.base_model,
            tokenizer=self._tokenizer,
            template=self._template,
            layout=self.recipe.layout,
        )

    @cached_property
    def _template(self) -> Template:
        return prompts.get_template(self.recipe.prompt)

    @cached_property
    def _template_hash(self) -> str:
        return prompts.template_hash(self._template, self._tokenizer)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.recipe.base_model)

    # Bookkeeping

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Say what runs and how long it took."""
        print(f"[{name}]", file=sys.stderr, flush=True)
        self.workspace.log.write("stage-start", stage=name)
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        self.workspace.log.write("stage-end", stage=name, seconds=round(self.seconds[name], 3))
        print(f"[{name}] {duration(self.seconds[name])}", file=sys.stderr, flush=True)
