"""The report of a run: one HTML file that needs no network, and the same as Markdown, CSV and SVG for papers.

The page is made by `rendering`. Beside `report.html` come `report.md`, `tables/NAME.csv`, `figures/NAME.svg`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hexapla import languages
from hexapla.analyze import adapters, heat, overview, provenance
from hexapla.analyze.browser import Browser, pack
from hexapla.analyze.charts.data import data_table
from hexapla.analyze.exports import write_files
from hexapla.analyze.markdown import to_page
from hexapla.analyze.observed import Observed, keys
from hexapla.analyze.present import Chart, Section, Table
from hexapla.analyze.rendering import render
from hexapla.analyze.side_by_side import side_by_side
from hexapla.analyze.tables import file_stem
from hexapla.common.artifacts import write_text
from hexapla.common.progress import duration
from hexapla.evaluate.comparability import OnPurpose, decoded_on_purpose, incomparable
from hexapla.evaluate.comparison import PoolCost
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable

REPORT_FILE = "report.html"
_ANCHORS = ("summary", "directions", "failures", "segments", "adapters", "provenance")  # of the page's own sections
_SCRIPTS = ("blocks.js", "heat.js", "difference.js", "segments.js", "start.js")


@dataclass(frozen=True)
class RunInfo:
    """What the report says of a run besides scores.

    Attributes:
        recipe: the resolved recipe, defaults written out.
        versions: package → version.
        machine: property → value, such as processor, cores, memory.
        stage_seconds: stage → seconds of this run; a stage found finished counts what finding it took.
        costs: pool name → what it takes.
        corpus: the corpus stage's summary.
        warnings: what a reader must know before the figures, such as adapters that diverged.
        on_purpose: pool → the settings of decoding that its variant changes, which is no warning.
    """

    recipe_name: str
    recipe: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    costs: Mapping[str, PoolCost]
    corpus: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())
    on_purpose: OnPurpose = field(default_factory=dict)


def write_report(
    folder: Path,
    *,
    run: RunInfo,
    tables: Sequence[ScoreTable],
    training: Mapping[str, Mapping[str, Any]],
    merges: Mapping[str, Mapping[str, Any]],
    sections: Sequence[Section] = (),
) -> Path:
    """Write `report.html` into `folder`, and what stands beside it; returns the page's path.

    Args:
        tables: scores of the pools, in the order to show them; at least one.
        training: adapter name → its `training.json`, with `losses` (`curves.loss_curve`) where a curve is to be shown.
        merges: merged pool's name → its `merge-report.json` (adapter → record).
        sections: analyses, each a part of its own; their tables and charts have names of their own.

    Raises:
        ValueError: no tables, two tables or charts of one name, or two sections of one anchor.
    """
    if not tables:
        raise ValueError("a report needs at least one table of scores")
    report = Report(run, tables, training, merges, sections)
    write_files(folder, report.all_tables, report.all_charts)
    write_text(folder / "report.md", to_page(run.recipe_name, report.facts, report.warnings, report.plain_sections))
    path = folder / REPORT_FILE
    write_text(path, report.page())
    return path


@dataclass
class Report:
    """All parts of a report, in whichever form they are shown."""

    run: RunInfo
    tables: Sequence[ScoreTable]
    training: Mapping[str, Mapping[str, Any]]
    merges: Mapping[str, Mapping[str, Any]]
    sections: Sequence[Section]

    def __post_init__(self) -> None:
        """Read every segment, once."""
        self.observed = Observed(self.tables)
        self.browser = Browser(self.tables)
        for key in keys(self.tables):
            by_pool = {table.pool: segments for table in self.tables if (segments := table.segments(*key))}
            for pool, segments in by_pool.items():
                self.observed.add(pool, key, segments)
            self.browser.add(key, by_pool)
        names = [file_stem(table.name) for table in self.all_tables]
        if len(set(names)) < len(names):
            raise ValueError(f"tables or charts of one name: {sorted(n for n in set(names) if names.count(n) > 1)}")
        anchors = [*_ANCHORS, *(section.anchor for section in self.analyses)]
        if len(set(anchors)) < len(anchors):
            raise ValueError(f"sections of one anchor: {sorted(a for a in set(anchors) if anchors.count(a) > 1)}")

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know first."""
        reasons = incomparable(self.tables, self.run.on_purpose)
        return (*self.run.warnings, *(f"Not comparable: {reason}" for reason in reasons))

    @cached_property
    def facts(self) -> list[tuple[str, str]]:
        """What was run, in a few words."""
        first = self.tables[0]
        measured = {entry.direction for table in self.tables for entry in table.entries if entry.num_segments}
        otherwise = decoded_on_purpose(self.tables, self.run.on_purpose)
        return [
            ("base", str(self.run.recipe.get("base", "—"))),
            ("languages", str(len(first.layout.languages))),
            ("directions measured", str(len(measured))),
            ("pools", str(len(self.tables))),
            ("test sentences a pool", f"{sum(entry.num_segments for entry in first.entries):,}"),
            ("time of this run", duration(sum(self.run.stage_seconds.values()))),
            *([("decoded differently on purpose", otherwise)] if otherwise else []),
        ]

    @cached_property
    def analyses(self) -> list[Section]:
        """The sections that are made of tables and charts alone."""
        beside = side_by_side(self.tables)
        return [*([beside] if beside is not None else []), *self.sections]

    @cached_property
    def _own_tables(self) -> dict[str, Table]:
        made = (
            overview.summary_table(self.tables, self.observed, self.run.costs),
            overview.endings_table(self.tables),
            heat.figures_table(self.tables),
            heat.failures_table(self.tables, self.observed),
            heat.failure_notes_table(self.tables),
            adapters.training_table(self.training),
            adapters.merges_table(self.merges),
            provenance.tests_table(self.tables),
            provenance.signatures_table(self.tables),
        )
        return {table.name: table for table in made}

    @cached_property
    def all_charts(self) -> list[Chart]:
        """Every chart of the report."""
        return [item for section in self.analyses for item in section.items if not isinstance(item, Table)]

    @cached_property
    def all_tables(self) -> list[Table]:
        """Every table of the report, those behind the charts too."""
        items = [item for section in self.analyses for item in section.items]
        return [*self._own_tables.values(), *(i if isinstance(i, Table) else data_table(i) for i in items)]

    @cached_property
    def plain_sections(self) -> list[Section]:
        """All that is tables and charts, for the Markdown file."""
        own = self._own_tables
        first = Section("summary", "Summary", "", (own["summary"], own["endings"]))
        failures = Section("failures", "Failures", "", (own["failures"], own["failure-notes"]))
        last = [own[name] for name in ("adapters", "merges", "tests", "signatures") if own[name].rows]
        return [first, failures, *self.analyses, Section("provenance", "Adapters and provenance", "", tuple(last))]

    def page(self) -> str:
        """The page as text."""
        from markupsafe import Markup

        # Markup: JSON in which nothing ends its element, and base64
        return render(
            "report.html",
            scripts=_SCRIPTS,
            tables=self.all_tables,
            index=Markup(_island(self.browser.index())),
            details=Markup(pack(json.dumps(heat.details(self.tables, self.observed), ensure_ascii=False))),
            blocks=[Markup(block) for block in self.browser.blocks],
            **self._parts(),
        )

    def _parts(self) -> dict[str, Any]:
        """What the sections of the page show."""
        first = self.tables[0]
        return {
            "run": self.run,
            "facts": self.facts,
            "warnings": self.warnings,
            "hubs": ", ".join(languages.get(code).name for code in first.layout.hubs),
            "num_hubs": len(first.layout.hubs),
            "winners": [
                (overview.side_label(side, self.tables), overview.num_directions(self.tables, side), found)
                for side, found in overview.winners(self.tables, self.observed)
            ],
            "titles": {name: metric.title for name, metric in METRICS.items()},
            "summary": overview.summary(self.tables, self.observed, self.run.costs),
            "own": self._own_tables,
            "quality": heat.quality_views(self.tables),
            "failures": heat.failure_views(self.tables, self.observed),
            "analyses": self.analyses,
            "num_segments": self.browser.num_rows,
            "training": adapters.training(self.training),
            "provenance": provenance.texts(self.run.recipe, self.run.corpus, self.tables),
        }


def _island(value: Any) -> str:
    """JSON inside a script element, which nothing in it can end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
