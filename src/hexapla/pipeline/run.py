"""Run a recipe, or all its variants: corpora, models, adapters, pools, merges, scores, report; each stage once."""

from __future__ import annotations

from pathlib import Path

import yaml

from hexapla.analyze.store import read_sections
from hexapla.common.artifacts import write_text
from hexapla.common.errors import UserError
from hexapla.evaluate.metrics.comet import release_scorers
from hexapla.evaluate.stage import require_metrics
from hexapla.pipeline.analysis import analyze_once
from hexapla.pipeline.bases import aligned_layers
from hexapla.pipeline.finished import FinishedRun
from hexapla.pipeline.instructions import InstructionStore
from hexapla.pipeline.part import Part
from hexapla.pipeline.reporting import Outcome, report_run
from hexapla.pipeline.session import Session
from hexapla.pipeline.workspace import Workspace, machine, versions
from hexapla.recipe import Recipe


def run_recipe(recipe: Recipe, out: Path) -> Outcome:
    """Run every stage of `recipe`, or of its variants one after another, that is not finished in `out`.

    Interrupted at any moment, the same call continues. A change in the recipe redoes only what depends on it, and what
    several variants need is made once.

    Raises:
        UserError: something that the user gave cannot be used; what was finished stays.
    """
    instructions = InstructionStore()
    _require(recipe, instructions)
    with Workspace.open(out) as workspace:
        text = yaml.safe_dump(recipe.resolved(), allow_unicode=True, sort_keys=False)
        write_text(workspace.out / "recipe.yaml", text)
        workspace.log.write("run", recipe=recipe.name, versions=versions())
        session = Session(workspace, instructions=instructions)
        parts = {label: Part(part, label, session).execute() for label, part in recipe.parts.items()}
        release_scorers()
        run = FinishedRun(
            out=out,
            recipe=recipe,
            parts=parts,
            versions=versions(),
            machine=machine(),
            stage_seconds=session.seconds,
            warnings=tuple(session.warnings),
            corpora=session.corpora,
        )
        with session.stage("analysis", ""):
            analysis = analyze_once(run, workspace)
        run.save()
        return report_run(run, read_sections(analysis))


def _require(recipe: Recipe, instructions: InstructionStore) -> None:
    """Refuse what would fail after hours."""
    for part in recipe.parts.values():
        if part.data.instructions is not None:
            instructions.survey(part.data.instructions)
        require_metrics(part.evaluate, part.layout)
        if not part.base_model.has_weights():
            raise UserError(
                f"The base {part.base!r} has no weights (*.safetensors).",
                where="base",
                hint="`hexapla plan` works without them, `hexapla run` does not.",
            )
        aligned_layers(part)
