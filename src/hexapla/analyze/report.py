"""The report of a run: one HTML file that needs nothing else, neither network nor script.

The page is `report.html`, a template, with `report.css` and `report.js` set into it. Every text passes through the
template's escaping; the page forbids itself to load anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexapla import languages
from hexapla.analyze import sections
from hexapla.common.artifacts import write_text
from hexapla.common.progress import duration
from hexapla.evaluate.comparison import PoolCost, metric_signatures
from hexapla.evaluate.scores import ScoreTable, incomparable

REPORT_FILE = "report.html"
_SECTIONS = (
    ("summary", "Summary"),
    ("directions", "Directions"),
    ("translations", "Translations"),
    ("adapters", "Adapters"),
    ("provenance", "Provenance"),
)


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
        seed: the recipe's seed, which chooses the translations that are shown.
        warnings: what a reader must know before the figures, such as adapters that diverged.
    """

    recipe_name: str
    recipe: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    costs: Mapping[str, PoolCost]
    corpus: Mapping[str, Any]
    seed: int = 0
    warnings: tuple[str, ...] = field(default=())


def write_report(
    folder: Path,
    *,
    run: RunInfo,
    tables: Sequence[ScoreTable],
    training: Mapping[str, Mapping[str, Any]],
    merges: Mapping[str, Mapping[str, Any]],
    samples_per_direction: int = 3,
) -> Path:
    """Write `report.html` into `folder`; returns its path.

    Args:
        tables: scores of the pools, in the order to show them; at least one.
        training: adapter name → its `training.json`, with `losses` (`curves.loss_curve`) where a curve is to be shown.
        merges: merged pool's name → its `merge-report.json` (adapter → record).
        samples_per_direction: how many sentences of a direction are shown with every pool's translation.
    """
    if not tables:
        raise ValueError("a report needs at least one table of scores")
    page = render(run, tables, training, merges, samples_per_direction)
    path = folder / REPORT_FILE
    write_text(path, page)
    return path


def render(
    run: RunInfo,
    tables: Sequence[ScoreTable],
    training: Mapping[str, Mapping[str, Any]],
    merges: Mapping[str, Mapping[str, Any]],
    samples_per_direction: int,
) -> str:
    """The page as text."""
    import yaml
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_bundled("report.html"))
    first = tables[0]
    return template.render(
        # Markup: these two are ours and hold no text of a user's
        style=Markup(_bundled("report.css")),
        script=Markup(_bundled("report.js")),
        run=run,
        sections=_SECTIONS,
        facts=_facts(run, tables),
        warnings=(*run.warnings, *(f"Not comparable: {reason}" for reason in incomparable(tables))),
        hubs=", ".join(languages.get(code).name for code in first.layout.hubs),
        num_hubs=len(first.layout.hubs),
        summary=sections.summary(tables, run.costs),
        endings=sections.endings(tables),
        heat=sections.heat(tables),
        samples=sections.samples(tables, samples_per_direction, run.seed),
        training=sections.training(training),
        merges=sections.merges(merges),
        stages=[(name, f"{seconds:.1f}") for name, seconds in run.stage_seconds.items()],
        digests=[(table.pool, table.identity.get("pool")) for table in tables],
        tests=sections.tests(first),
        signatures=metric_signatures(tables),
        decoder=", ".join(f"{key} {value}" for key, value in (first.identity.get("translate") or {}).items()),
        corpus=yaml.safe_dump(dict(run.corpus), allow_unicode=True, sort_keys=False),
        recipe=yaml.safe_dump(dict(run.recipe), allow_unicode=True, sort_keys=False),
    )


def _facts(run: RunInfo, tables: Sequence[ScoreTable]) -> list[tuple[str, str]]:
    first = tables[0]
    num_segments = sum(entry.num_segments for entry in first.entries)
    return [
        ("base", str(run.recipe.get("base", "—"))),
        ("languages", str(len(first.layout.languages))),
        ("directions measured", str(len({entry.direction for entry in first.entries if entry.num_segments}))),
        ("pools", str(len(tables))),
        ("test sentences a pool", f"{num_segments:,}"),
        ("time of this run", duration(sum(run.stage_seconds.values()))),
    ]


def _bundled(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
