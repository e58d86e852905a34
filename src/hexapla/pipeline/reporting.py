"""From a finished run to what people read: the comparison, the report, the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hexapla.analyze.exports import write_analysis
from hexapla.analyze.present import Section, Table
from hexapla.analyze.report import write_report
from hexapla.analyze.store import read_sections
from hexapla.analyze.tables import to_text
from hexapla.common.artifacts import write_text
from hexapla.evaluate.comparison import comparison_table
from hexapla.evaluate.scores import ScoreTable
from hexapla.pipeline.analysis import analyze_once, analyze_together
from hexapla.pipeline.finished import FinishedRun
from hexapla.pipeline.workspace import Workspace

COMPARISON_FILE = "comparison.txt"
_PRINTED = ("differences-means", "differences-directions", "conflict-by-side", "conflict-anchors")


@dataclass(frozen=True)
class Outcome:
    """What a run left: its folder, its report, the table of its pools, and what went wrong on the way."""

    out: Path
    report: Path
    comparison: str
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """The comparison table and where everything lies, for the terminal."""
        lines = [self.comparison, ""]
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines.append(f"pools   {self.out / 'pools'}")
        lines.append(f"report  {self.report}")
        return "\n".join(lines)


def report_run(run: FinishedRun, sections: Sequence[Section]) -> Outcome:
    """Write the comparison and the report of a run into its folder.

    Args:
        sections: of its analysis.

    Raises:
        CorruptArtifactError: something that the run left was changed or removed since.
    """
    tables = list(run.asked.values())
    report = write_report(
        run.out, run=run.info, tables=tables, training=run.training, merges=run.merges, sections=sections
    )
    comparison = comparison_table(tables, run.costs, run.on_purpose)
    write_text(run.out / COMPARISON_FILE, comparison + "\n")
    return Outcome(run.out, report, comparison, run.warnings)


def report_again(out: Path, *, is_whole: bool | None = None) -> tuple[Outcome, list[Section]]:
    """Write the report of a finished run from what it left; its analysis is made where it is not there.

    Args:
        is_whole: as `analyze_once` takes it.

    Raises:
        UserError: the folder holds no finished run, or another run is using it.
        CorruptArtifactError: something that the run left was changed or removed since.
    """
    run = FinishedRun.load(out)
    with Workspace.open(out) as workspace:
        sections = read_sections(analyze_once(run, workspace, is_whole=is_whole))
        return report_run(run, sections), sections


def analyze_runs(outs: Sequence[Path], into: Path | None) -> str:
    """Analyse finished runs and return what to print: the tables of the first sections and where everything lies.

    One run: everything that can be said about it goes into its report. Several: their pools are taken together, by
    their scores; a pool whose name an earlier run has gets the name of its run's folder before it.

    Args:
        into: folder of the tables and figures of several runs; None: `analysis`.

    Raises:
        UserError: a folder holds no finished run; the pools cannot be compared.
    """
    if len(outs) == 1:
        outcome, sections = report_again(outs[0], is_whole=True)
        return f"{_text(sections)}\n\nreport  {outcome.report}"
    tables: dict[str, ScoreTable] = {}
    num_parameters: dict[str, int] = {}
    on_purpose: dict[str, frozenset[str]] = {}
    for out in outs:
        run = FinishedRun.load(out)
        measured = {name: table for part in run.parts.values() for name, table in part.tables.items()}
        changed = run.on_purpose
        for name, table in measured.items():
            shown = name if name not in tables else f"{out.name}/{name}"
            tables[shown] = replace(table, pool=shown)
            num_parameters[shown] = run.costs[name].num_parameters
            on_purpose[shown] = changed.get(name, frozenset())
    sections = list(analyze_together(tables, num_parameters, on_purpose))
    folder = into if into is not None else Path("analysis")
    write_analysis(folder, " and ".join(out.name for out in outs), sections)
    return f"{_text(sections)}\n\nanalysis  {folder}"


def _text(sections: Sequence[Section]) -> str:
    """The most general tables; the others are for the report."""
    parts = []
    for section in sections:
        if not any(item.name in _PRINTED for item in section.items):
            continue
        parts.append("\n".join([section.title, section.intro]))
        parts += [to_text(item) for item in section.items if isinstance(item, Table) and item.name in _PRINTED]
        parts += section.notes
    return "\n\n".join(parts) if parts else "There are no two trained pools to compare."
