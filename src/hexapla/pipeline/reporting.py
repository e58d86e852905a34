"""From a finished run to what people read: the comparison, the report, the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hexapla.analyze.report import write_report
from hexapla.common.artifacts import write_text
from hexapla.evaluate.comparison import comparison_table
from hexapla.pipeline.finished import FinishedRun

COMPARISON_FILE = "comparison.txt"


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


def report_run(run: FinishedRun) -> Outcome:
    """Write the comparison and the report of a run into its folder.

    Raises:
        CorruptArtifactError: something that the run left was changed or removed since.
    """
    tables = list(run.tables.values())
    report = write_report(run.out, run=run.info, tables=tables, training=run.training, merges=run.merges)
    comparison = comparison_table(tables, run.costs)
    write_text(run.out / COMPARISON_FILE, comparison + "\n")
    return Outcome(run.out, report, comparison, run.warnings)
