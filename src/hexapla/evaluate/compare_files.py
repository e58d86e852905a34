"""What is compared: plain files of translations, or folders of scores, whichever is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.evaluate.compare_material import Material, Place, Track, distinct_names, material_of_tables
from hexapla.evaluate.files import Files, read_segments
from hexapla.evaluate.metrics import FAILURES, Metric, MetricSettings, Segments, make_metric
from hexapla.evaluate.scores import SCORES_FILE, ScoreTable

_QUALITY = ("bleu", "chrf++")
_OPTIONS = {"references": "--ref", "sources": "--src"}


def material_of(
    systems: Sequence[Path],
    *,
    references: Path | None = None,
    sources: Path | None = None,
    to: str | None = None,
    metrics: Sequence[str] | None = None,
    settings: MetricSettings | None = None,
) -> Material:
    """Read folders of scores, or files of translations with one segment a line.

    Args:
        systems: the baseline first.
        references, sources, to: of files, line n of one is line n of the others; `to` in any spelling.
        metrics: None: all that every folder of scores has; of files BLEU, chrF++ and what failure rates there are.
        settings: of the metrics of files; None: the defaults.

    Raises:
        UserError: fewer than two systems, folders and files mixed, or what reading either kind raises.
    """
    if len(systems) < 2:
        raise UserError(
            "There is nothing to compare with.", hint="Give two systems or more; the first is the baseline."
        )
    for path in systems:
        if not path.exists():
            raise UserError("There is no such file or folder.", where=str(path))
    folders = [path for path in systems if path.is_dir()]
    given = [option for option, value in (("--ref", references), ("--src", sources), ("--to", to)) if value is not None]
    if not folders:
        if to is None:
            raise UserError("Files of translations need their target language.", hint="Give it with --to LANGUAGE.")
        return material_of_files(systems, references, sources, to, metrics, settings)
    if len(folders) < len(systems):
        other = next(path for path in systems if not path.is_dir())
        raise UserError(
            f"{folders[0]} is a folder, {other} is a file.",
            hint="Compare folders of scores with each other, or files of translations with each other.",
        )
    if given:
        raise UserError(f"{given[0]} is for files of translations.", hint="Scores hold their sources and references.")
    return material_of_tables([_load(path) for path in systems], metrics)


def material_of_files(
    paths: Sequence[Path],
    references: Path | None,
    sources: Path | None,
    to: str,
    metrics: Sequence[str] | None = None,
    settings: MetricSettings | None = None,
) -> Material:
    """Measure files of translations of the same segments.

    Raises:
        UserError: as `score_files`; or the files have different numbers of lines.
    """
    target = languages.get(to).code
    segments = [read_segments(Files(path, references, sources, to)) for path in paths]
    for path, of_system in zip(paths, segments, strict=True):
        if len(of_system.hypotheses) != len(segments[0].hypotheses):
            raise UserError(
                f"This file has {len(of_system.hypotheses)} lines, {paths[0]} has {len(segments[0].hypotheses)}.",
                where=str(path),
                hint="Line n must be the translation of the same segment.",
            )
    made = {name: make_metric(name, target, settings) for name in metrics or _QUALITY}
    for name, metric in made.items():
        for needed in metric.needs:
            if not segments[0].has(needed):
                raise UserError(f"The metric {name!r} needs {needed}.", hint=f"Give them with {_OPTIONS[needed]} FILE.")
    if metrics is None:
        made |= _measurable_failures(target, settings, segments[0])
    first = segments[0]
    place = Place(
        test=None,
        direction=f"into {target}",
        side=None,
        rows=tuple(str(number) for number in range(1, len(first.hypotheses) + 1)),
        sources=None if first.sources is None else tuple(first.sources),
        references=None if first.references is None else tuple(first.references),
        hypotheses=tuple(tuple(of_system.hypotheses) for of_system in segments),
        tracks={name: _track(metric, segments) for name, metric in made.items()},
    )
    return Material(distinct_names([path.name for path in paths], paths), tuple(made), (place,))


def _measurable_failures(target: str, settings: MetricSettings | None, segments: Segments) -> dict[str, Metric]:
    """The failure rates that can be measured here: nobody asked for them, so the others are left out."""
    made = {}
    for name in FAILURES:
        try:
            metric = make_metric(name, target, settings)
        except UserError:
            continue
        if all(segments.has(needed) for needed in metric.needs):
            made[name] = metric
    return made


def _track(metric: Metric, segments: Sequence[Segments]) -> Track:
    import numpy as np

    statistics = [metric.statistics(of_system) for of_system in segments]
    return Track(
        signature=metric.signature,
        statistics=tuple(np.asarray(of_system, dtype=np.float64) for of_system in statistics),
        scores=tuple(tuple(metric.segment_score(segment) for segment in of_system) for of_system in statistics),
    )


def _load(folder: Path) -> ScoreTable:
    """The scores in a folder; of the folder of a run the pools are named."""
    pools = sorted(path.parent.name for path in folder.glob(f"scores/*/{SCORES_FILE}"))
    if pools and not (folder / SCORES_FILE).is_file():
        raise UserError(
            "This is the folder of a run, which holds the scores of several pools.",
            where=str(folder),
            hint=f"Give one of them: {', '.join(str(folder / 'scores' / pool) for pool in pools)}.",
        )
    return ScoreTable.load(folder)
