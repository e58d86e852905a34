"""A finished run as a report or an analysis reads it: `run.json` says where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hexapla.analyze.curves import loss_curve
from hexapla.analyze.report import RunInfo
from hexapla.common.artifacts import read_json, write_json
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.stage import Corpus, load_corpus
from hexapla.evaluate.comparison import PoolCost
from hexapla.evaluate.scores import ScoreTable
from hexapla.merge.report import REPORT_FILE
from hexapla.pool import Pool
from hexapla.recipe import Recipe
from hexapla.train.result import LOG_FILE, SUMMARY_FILE

RUN_FILE = "run.json"
_FORMAT = 1


@dataclass(frozen=True)
class FinishedRun:
    """What a run left.

    Attributes:
        folders: kind (`corpus`, `adapters`, `pools`, `scores`) → name → folder.
        versions: package → version.
        machine: property → value.
        stage_seconds: stage → seconds of the run that made the report; a stage found finished counts finding it.
    """

    out: Path
    recipe: Recipe
    folders: Mapping[str, Mapping[str, Path]]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    warnings: tuple[str, ...]

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
            folders = {
                kind: {name: out / path for name, path in named.items()} for kind, named in record["folders"].items()
            }
            return cls(
                out=out,
                recipe=Recipe.load(out / "recipe.yaml"),
                folders=folders,
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
            "folders": {
                kind: {name: str(path.relative_to(self.out)) for name, path in named.items()}
                for kind, named in self.folders.items()
            },
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "stage_seconds": dict(self.stage_seconds),
            "warnings": list(self.warnings),
        }
        write_json(self.out / RUN_FILE, record)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus that was trained and measured on."""
        return load_corpus(self.folders["corpus"][self.recipe.name])

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
        """Adapter → its `training.json`, with the course of its loss."""
        return {
            name: {**read_json(folder / SUMMARY_FILE), "losses": loss_curve(folder / LOG_FILE)}
            for name, folder in self.folders["adapters"].items()
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
        """Size of every pool and the seconds that its adapters were trained; a merged pool counts its experts'."""
        return {name: self._cost(name, pool) for name, pool in self.pools.items()}

    @property
    def info(self) -> RunInfo:
        """What the report says of the run besides scores."""
        return RunInfo(
            recipe_name=self.recipe.name,
            recipe=self.recipe.resolved(),
            versions=self.versions,
            machine=self.machine,
            stage_seconds=self.stage_seconds,
            costs=self.costs,
            corpus=self.corpus.summary,
            warnings=self.warnings,
        )

    def _cost(self, name: str, pool: Pool) -> PoolCost:
        routes = self.pools[name.partition("+")[0]].description.routes
        trained = {route for route in routes.values() if route}
        seconds = sum(self.training[job]["seconds"] for job in trained) if trained else None
        return PoolCost(len(pool.adapters), pool.num_parameters, seconds)
