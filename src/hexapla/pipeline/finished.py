"""A finished run as a report or an analysis reads it: `run.json` says where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hexapla.analyze.curves import loss_curve
from hexapla.analyze.repetition import Target
from hexapla.analyze.report import RunInfo
from hexapla.common.artifacts import read_json, write_json
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.stage import Corpus
from hexapla.data.storage import SUMMARY_FILE as CORPUS_SUMMARY_FILE
from hexapla.evaluate.comparison import PoolCost
from hexapla.evaluate.scores import ScoreTable
from hexapla.merge.report import REPORT_FILE
from hexapla.pipeline.corpora import Corpora
from hexapla.pipeline.examples import example_maker
from hexapla.pool import Pool
from hexapla.recipe import Recipe
from hexapla.train.result import LOG_FILE, SUMMARY_FILE

RUN_FILE = "run.json"
BASE_POOL = "base"
"""Name of the pool that is the bare base."""
PRETRAINED_POOL = "pretrained"
"""Name of the base after continued pre-training, and of the pool that is nothing else."""
ALIGNED_POOL = "aligned"
"""Name of the base after alignment, and of the pool that is nothing else."""
_FORMAT = 1
_KINDS = ("corpus", "vocabulary", "models", "adapters", "pools", "scores", "representations")


@dataclass(frozen=True)
class FinishedPart:
    """What one recipe left: the run's own, or one of its variants.

    Attributes:
        folders: kind (see `_KINDS`) → name → folder; a kind that the run was not asked for is empty.
        corpora: what corpora are read through; a `FinishedRun` gives all of its parts the same.
    """

    recipe: Recipe
    folders: Mapping[str, Mapping[str, Path]]
    corpora: Corpora = field(default_factory=Corpora, repr=False, compare=False)

    @property
    def corpus(self) -> Corpus:
        """The corpus that was trained and measured on."""
        return self.corpora.read(self.folders["corpus"][self.recipe.name])

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """Every pool, in the order of the recipe."""
        return {name: Pool.load(folder) for name, folder in self.folders["pools"].items()}

    @cached_property
    def tables(self) -> dict[str, ScoreTable]:
        """The scores of every pool, those that only the analysis needs among them."""
        return {name: ScoreTable.load(folder) for name, folder in self.folders["scores"].items()}

    @property
    def asked(self) -> dict[str, ScoreTable]:
        """The scores of the pools that the recipe asks for."""
        extra = self.recipe.plan.for_analysis
        return {name: table for name, table in self.tables.items() if name not in extra}

    @cached_property
    def training(self) -> dict[str, dict[str, Any]]:
        """Adapter, or whole model → its `training.json`, with the course of its loss."""
        return {
            name: {**read_json(folder / SUMMARY_FILE), "losses": loss_curve(folder / LOG_FILE)}
            for name, folder in {**self.folders["models"], **self.folders["adapters"]}.items()
        }

    @property
    def training_targets(self) -> dict[str, list[Target]]:
        """Job → direction and target of each of its examples."""
        maker = example_maker(self.recipe)
        return {
            job.name: [(each.direction, each.target) for each in maker.training(self.corpus.train, job.directions)]
            for job in self.recipe.plan.jobs
        }

    @cached_property
    def merges(self) -> dict[str, Any]:
        """Merged pool → its `merge-report.json`."""
        return {
            name: read_json(pool.folder / REPORT_FILE)
            for name, pool in self.pools.items()
            if (pool.folder / REPORT_FILE).is_file()
        }

    @cached_property
    def costs(self) -> dict[str, PoolCost]:
        """Size of every pool and the seconds that it was trained; a merged pool counts its experts'."""
        return {name: self._cost(name, pool) for name, pool in self.pools.items()}

    def _cost(self, name: str, pool: Pool) -> PoolCost:
        routes = self.pools[name.partition("+")[0]].description.routes
        trained = {route for route in routes.values() if route}
        model = pool.description.provenance.get("model")
        models = list(self.folders["models"].items())  # in the order of training, each made of the one before
        own = [place for place, (_, folder) in enumerate(models) if folder.name == model]
        trained |= {key for key, _ in models[: own[0] + 1]} if own else set()
        seconds = sum(self.training[job]["seconds"] for job in trained) if trained else None
        return PoolCost(len(pool.adapters), pool.num_parameters, seconds)


@dataclass(frozen=True)
class FinishedRun:
    """What a run left.

    Attributes:
        recipe: of the run; those of its variants follow from it.
        parts: variant → what it left; the run's own under the empty name where it has none.
        versions: package → version.
        machine: property → value.
        stage_seconds: stage → seconds of the run that made the report; a stage found finished counts finding it.
        corpora: what all parts read their corpora through.
    """

    out: Path
    recipe: Recipe
    parts: Mapping[str, FinishedPart]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    corpora: Corpora = field(default_factory=Corpora, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Let the parts read their corpora through one object."""
        parts = {label: replace(part, corpora=self.corpora) for label, part in self.parts.items()}
        object.__setattr__(self, "parts", parts)

    @classmethod
    def load(cls, out: Path) -> FinishedRun:
        """Read `run.json` and the recipe beside it.

        Raises:
            UserError: the folder holds no finished run.
            CorruptArtifactError: it is damaged.
        """
        where = out / RUN_FILE
        if not where.is_file():
            raise UserError(
                "This folder holds no finished run (no run.json).",
                where=str(out),
                hint="Give a folder under runs/; a run that was stopped is continued by the command that began it.",
            )
        record = read_json(where)
        try:
            recipe = Recipe.load(out / "recipe.yaml")
            parts = {
                label: FinishedPart(
                    recipe.parts[label],
                    {kind: {name: out / path for name, path in folders.get(kind, {}).items()} for kind in _KINDS},
                )
                for label, folders in record["parts"].items()
            }
            return cls(
                out=out,
                recipe=recipe,
                parts=parts,
                versions=record["versions"],
                machine=record["machine"],
                stage_seconds=record["stage_seconds"],
                warnings=tuple(record["warnings"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(
                f"A field is missing or of the wrong kind ({error}).", where=str(where)
            ) from error

    def save(self) -> None:
        """Write `run.json`; folders are written relative to it, so that a run can be moved."""
        record = {
            "format": _FORMAT,
            "parts": {
                label: {
                    kind: {name: str(path.relative_to(self.out)) for name, path in named.items()}
                    for kind, named in part.folders.items()
                }
                for label, part in self.parts.items()
            },
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "stage_seconds": dict(self.stage_seconds),
            "warnings": list(self.warnings),
        }
        write_json(self.out / RUN_FILE, record)

    @property
    def only(self) -> FinishedPart | None:
        """What the run left where it has no variants."""
        return self.parts.get("")

    @property
    def asked(self) -> dict[str, ScoreTable]:
        """The scores of the pools that the recipe and its variants ask for."""
        return {name: table for part in self.parts.values() for name, table in part.asked.items()}

    @property
    def on_purpose(self) -> dict[str, frozenset[str]]:
        """Pool → the settings of decoding that its variant, or its value of the sweep, changes, if there are any."""
        own = self.recipe.translate.resolved()
        found: dict[str, frozenset[str]] = {}
        for part in self.parts.values():
            decoding = part.recipe.translate.resolved()
            if changed := frozenset(key for key in own if decoding[key] != own[key]):
                found |= dict.fromkeys(part.tables, changed)
        return found

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """As of the parts, the variant's name before those of its adapters and models; equal ones once."""
        found: dict[str, dict[str, Any]] = {}
        seen: set[Path] = set()
        for label, part in self.parts.items():
            for name, record in part.training.items():
                folder = {**part.folders["models"], **part.folders["adapters"]}[name]
                if folder not in seen:
                    found[f"{label}: {name}" if label else name] = record
                seen.add(folder)
        return found

    @property
    def merges(self) -> dict[str, Any]:
        """Merged pool → its `merge-report.json`."""
        return {name: report for part in self.parts.values() for name, report in part.merges.items()}

    @property
    def costs(self) -> dict[str, PoolCost]:
        """As of the parts."""
        return {name: cost for part in self.parts.values() for name, cost in part.costs.items()}

    @property
    def info(self) -> RunInfo:
        """What the report says of the run besides scores; of the corpora, that of the last variant."""
        *_, last = self.parts.values()
        return RunInfo(
            recipe_name=self.recipe.name,
            recipe=self.recipe.resolved(),
            versions=self.versions,
            machine=self.machine,
            stage_seconds=self.stage_seconds,
            costs=self.costs,
            corpus=read_json(last.folders["corpus"][last.recipe.name] / CORPUS_SUMMARY_FILE),
            warnings=self.warnings,
            on_purpose=self.on_purpose,
        )
