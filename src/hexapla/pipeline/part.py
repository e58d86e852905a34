"""The stages of one recipe, or of one variant of it, from corpora to scores; each once, found again by its key."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla import prompts
from hexapla.analyze.representations.spec import RepresentationsSpec
from hexapla.base import Base, fingerprint, load_tokenizer
from hexapla.common.artifacts import digest_of, is_complete, read_json
from hexapla.data.auxiliaries import Auxiliaries
from hexapla.data.examples import ExampleMaker, examples_digest, make_examples
from hexapla.data.spec import DataSpec
from hexapla.data.stage import Corpus, build_corpus
from hexapla.evaluate.scores import ScoreTable
from hexapla.merge.stage import merge_pool, remove_leftovers
from hexapla.pipeline.bases import Bases
from hexapla.pipeline.corpora import corpus_key, corpus_settings
from hexapla.pipeline.development import DevelopmentTranslator
from hexapla.pipeline.examples import auxiliaries_of, example_maker
from hexapla.pipeline.finished import ALIGNED_POOL, BASE_POOL, PRETRAINED_POOL, FinishedPart
from hexapla.pipeline.representations import profiles_of
from hexapla.pipeline.scoring import Measurement
from hexapla.pipeline.session import Session
from hexapla.pipeline.synthetic import make_synthetic
from hexapla.pipeline.vocabulary import show_vocabulary
from hexapla.pipeline.workspace import MADE_BY_RUN, Workspace, versions
from hexapla.plan import SHARED, Job
from hexapla.pool import Pool, PoolDescription, describe_base, write_pool
from hexapla.prompts import Template
from hexapla.recipe import Recipe
from hexapla.train.result import SUMMARY_FILE
from hexapla.train.task import TrainTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hexapla.translate.translator import Translator


@dataclass
class Part:
    """One pass over the stages of one recipe; the base is loaded when a stage needs it and not before.

    Attributes:
        label: name of the variant; empty when the recipe has none. Pools are called by it.
    """

    recipe: Recipe
    label: str
    session: Session

    def execute(self) -> FinishedPart:
        """Every stage that is not finished."""
        with self._stage("corpus"):
            corpus_folder = self._corpus_folder
        models, vocabulary = {}, {}
        if self.recipe.pretrain is not None:
            with self._stage("pretraining"):
                vocabulary[self.recipe.name] = show_vocabulary(self.recipe, self._corpus, self._workspace)
                models[PRETRAINED_POOL] = self._bases.pretrained
        if self.recipe.align is not None:
            with self._stage("alignment"):
                models[ALIGNED_POOL] = self._bases.aligned
        with self._stage("training"):
            adapters, trained = self._trained()
            models |= trained
        with self._stage("pools"):
            pools = self._pools(adapters, trained)
        with self._stage("merge"):
            pools |= self._merged(pools)
        with self._stage("scores"):
            tables = self._scores(pools)
        profiles = {}
        if self.recipe.analyze.representations is not None:
            with self._stage("representations"):
                profiles = self._profiles(pools, self.recipe.analyze.representations)
        return FinishedPart(
            self.recipe,
            {
                "corpus": {self.recipe.name: corpus_folder},
                "vocabulary": vocabulary,
                "models": models,
                "adapters": adapters,
                "pools": {name: pool.folder for name, pool in pools.items()},
                "scores": {name: table.folder for name, table in tables.items()},
                "representations": profiles,
            },
        )

    # Corpus

    @cached_property
    def _data(self) -> DataSpec:
        """The recipe's corpora, with those that are made by translation."""
        return make_synthetic(self.recipe, self._workspace, self.session.engine)

    @cached_property
    def _corpus_folder(self) -> Path:
        settings = corpus_settings(self.recipe, self._data)
        return self.session.once(["corpus", settings], self._make_corpus)

    def _make_corpus(self) -> Path:
        recipe, data = self.recipe, self._data
        return self._workspace.make(
            "corpus",
            recipe.name,
            corpus_key(recipe, data),
            lambda aside, _: build_corpus(
                data,
                recipe.languages,
                aside,
                seed=recipe.seed,
                hubs=recipe.hubs,
                directions=recipe.layout.directions,
            ),
        )

    @property
    def _corpus(self) -> Corpus:
        return self.session.corpora.read(self._corpus_folder)

    # The base

    @cached_property
    def _bases(self) -> Bases:
        return Bases(self.recipe, self.session, self._corpus_folder)

    @property
    def base(self) -> Base:
        """What is post-trained: the recipe's base, after continued pre-training and alignment if there are any."""
        return self._bases.last

    # Training

    def _trained(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Train what is not trained yet; returns the PEFT folder of every job, or the folder of the whole model."""
        tasks = [self._task(job) for job in self.recipe.plan.jobs]
        if self.recipe.train.method == "full":
            return {}, {SHARED: self._model(tasks[0])}
        return self._adapters(tasks), {}

    def _model(self, task: TrainTask) -> Path:
        def build(aside: Path, work: Path) -> None:
            from hexapla.train.full.stage import train_model

            recipe = self.recipe
            train_model(
                self.base,
                self._template,
                recipe.train,
                recipe.seed,
                task,
                folder=aside,
                work=work,
                log=self._workspace.log,
            )

        folder = self._workspace.make("model", task.job.name, self._adapter_key(task), build)
        self._warn_of_divergence("the model", folder / SUMMARY_FILE)
        return folder

    def _adapters(self, tasks: list[TrainTask]) -> dict[str, Path]:
        keys = {task.job.name: self._adapter_key(task) for task in tasks}
        folders = {name: self._workspace.location("adapter", name, key) for name, key in keys.items()}
        finished = frozenset(name for name, folder in folders.items() if is_complete(folder))
        work = self._workspace.work(self._workspace.location("adapter", "all", keys))
        if len(finished) < len(tasks):
            from hexapla.train.stage import train_adapters

            train_adapters(
                self.base,
                self._template,
                self.recipe.train,
                self.recipe.seed,
                tasks,
                deliver=lambda name, fill: self._keep_adapter(name, keys[name], fill),
                finished=finished,
                work=work,
                translate=DevelopmentTranslator(self._base_description, self.recipe.translate),
                log=self._workspace.log,
            )
        shutil.rmtree(work, ignore_errors=True)
        for name, folder in folders.items():
            self._warn_of_divergence(f"the adapter {name}", folder / SUMMARY_FILE)
        return folders

    def _task(self, job: Job) -> TrainTask:
        corpus = self._corpus
        development = make_examples(corpus.dev, job.directions) if self.recipe.train.development else ()
        translations = self._examples.training(corpus.train, job.directions)
        store = self.session.instructions
        kept, instructions = store.mixed_in(self.recipe, job, translations, self._workspace.log)
        return TrainTask(job, kept, development, instructions)

    def _keep_adapter(self, name: str, key: dict[str, Any], fill: Callable[[Path], None]) -> None:
        self._workspace.make("adapter", name, key, lambda aside, _: fill(aside))

    def _warn_of_divergence(self, what: str, summary_file: Path) -> None:
        summary = read_json(summary_file)
        if summary["status"] == "diverged":
            part = f"{self.label}: " if self.label else ""
            self.session.warnings.append(
                f"{part}{what} diverged and was left at its state after {summary['num_steps']} steps "
                f"(see {summary_file}); a lower train.optimizer.lr may help"
            )

    def _adapter_key(self, task: TrainTask) -> dict[str, Any]:
        """What an adapter depends on: its own examples, not the corpus, so that a new language leaves it alone."""
        return {
            "base": self._fingerprint,
            "template": self._template_hash,
            "train": self.recipe.train.outcome(task.job.name),
            "seed": self.recipe.seed,
            "job": task.job.name,
            "directions": [str(direction) for direction in task.job.directions],
            "examples": [examples_digest(examples) for examples in (task.examples, task.development)],
            "instructions": digest_of([asdict(instruction) for instruction in task.instructions]),
        }

    @cached_property
    def _examples(self) -> ExampleMaker:
        return example_maker(self.recipe, self._auxiliaries)

    @cached_property
    def _auxiliaries(self) -> Auxiliaries:
        return auxiliaries_of(self.recipe, self._corpus_folder, self.base, self._workspace)

    # Pools

    def _pools(self, adapters: dict[str, Path], models: dict[str, Path]) -> dict[str, Pool]:
        recipe, plan = self.recipe, self.recipe.plan
        described = replace(
            self._base_description, auxiliaries=self._auxiliaries.by_direction(recipe.layout.directions)
        )
        own = self._bases.own
        pools = self._bare_pools(described) if recipe.evaluate.baseline else {}
        for strategy, routes in plan.routes.items():
            name = self._pool_name(strategy)
            if strategy in models:
                base = Base(str(models[strategy]))
                trained = replace(described, name=name, base=base, base_fingerprint=fingerprint(base))
                pools[name] = self._pool(trained, {}, models[strategy])
                continue
            folders = {job.name: adapters[job.name] for job in plan.jobs_of(strategy)}
            trained = replace(described, name=name, layout=plan.layouts[strategy], routes=dict(routes))
            pools[name] = self._pool(trained, folders, own)
        return pools

    def _bare_pools(self, described: PoolDescription) -> dict[str, Pool]:
        """The first base and the aligned one without adapters, unless an earlier part has had them."""
        recipe = self.recipe
        pretrained = None if recipe.pretrain is None else self._bases.pretrained
        found = {BASE_POOL if pretrained is None else PRETRAINED_POOL: (self._bases.first, pretrained)}
        if recipe.align is not None:
            name = f"{self.label}.{ALIGNED_POOL}" if self.label else ALIGNED_POOL
            found[name] = (self._bases.last, self._bases.aligned)
        pools = {}
        for name, (base, folder) in found.items():
            identity = fingerprint(base)
            if identity not in self.session.baselines:
                self.session.baselines.add(identity)
                pools[name] = self._pool(
                    replace(described, name=name, base=base, base_fingerprint=identity), {}, folder
                )
        return pools

    def _pool_name(self, strategy: str) -> str:
        if not self.label:
            return strategy
        return self.label if len(self.recipe.plan.routes) == 1 else f"{self.label}.{strategy}"

    def _pool(self, description: PoolDescription, adapters: dict[str, Path], model: Path | None) -> Pool:
        recipe = self.recipe
        provenance = {
            "made_by": MADE_BY_RUN,
            "recipe": {
                "pretrain": None if recipe.pretrain is None else recipe.pretrain.resolved(),
                "align": None if recipe.align is None else recipe.align.resolved(),
                "train": recipe.train.resolved(),
                "data": recipe.data.resolved(),
                "seed": recipe.seed,
            },
            "adapters": {name: folder.name for name, folder in adapters.items()},
            "model": None if model is None else model.name,
            "versions": versions(),
        }
        description = replace(description, provenance=provenance)
        key = {
            "base": description.base_fingerprint,
            "template": description.template_hash,
            "routes": {str(direction): route for direction, route in description.routes.items()},
            "auxiliaries": {str(direction): code for direction, code in description.auxiliaries.items()},
            "groups": {name: list(members) for name, members in description.layout.groups.items()},
            "provenance": provenance,
        }
        folder = self._workspace.location("pool", description.name, key)
        pool = Pool.load(folder) if is_complete(folder) else write_pool(folder, description, adapters, model=model)
        self._workspace.link("pools", description.name, folder)
        return pool

    def _merged(self, pools: dict[str, Pool]) -> dict[str, Pool]:
        spec = self.recipe.merge
        merged = {}
        for strategy in self.recipe.merged_strategies:
            assert spec is not None
            trained = pools[self._pool_name(strategy)]
            name = f"{trained.description.name}+{spec.operator}"
            key = {"pool": trained.digest, "merge": spec.resolved(), "seed": self.recipe.seed}
            folder = self._workspace.location("pool", name, key)
            if is_complete(folder):
                remove_leftovers(folder)
                merged[name] = Pool.load(folder)
            else:
                merged[name] = merge_pool(trained, spec, folder, name=name, seed=self.recipe.seed)
            self._workspace.link("pools", name, folder)
        return merged

    # Scores

    def _scores(self, pools: dict[str, Pool]) -> dict[str, ScoreTable]:
        recipe = self.recipe
        measurement = Measurement(self._corpus.tests, recipe.evaluate, recipe.translate, recipe.seed)
        return {
            name: measurement.of(pool, self._workspace, partial(self._translator, pool)) for name, pool in pools.items()
        }

    # Representations

    def _profiles(self, pools: dict[str, Pool], spec: RepresentationsSpec) -> dict[str, Path]:
        """What is inside every pool that the recipe asks for."""
        recipe = self.recipe
        asked = {name: pool for name, pool in pools.items() if name not in recipe.plan.for_analysis}
        return profiles_of(asked, self._corpus.tests, recipe.layout.languages, spec, self._workspace, seed=recipe.seed)

    def _translator(self, pool: Pool) -> Translator:
        from hexapla.translate.translator import Translator

        engine = self.session.engine(pool.description.base, self.recipe.translate.precision)
        return Translator(pool, self.recipe.translate, engine=engine)

    # What all stages need of the base

    @property
    def _workspace(self) -> Workspace:
        return self.session.workspace

    def _stage(self, name: str) -> contextlib.AbstractContextManager[None]:
        return self.session.stage(name, self.label)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.base)

    @cached_property
    def _base_description(self) -> PoolDescription:
        """The pool that is the bare base."""
        return describe_base(
            name=BASE_POOL,
            base=self.base,
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
        return fingerprint(self.base)
