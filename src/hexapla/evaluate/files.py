"""Score plain files, line by line: no model, no pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.textfiles import read_valid_lines
from hexapla.evaluate.metrics import METRICS, MetricSettings, Segments, make_metric
from hexapla.evaluate.significance import interval

if TYPE_CHECKING:
    from hexapla.neural.spans import ErrorSpan


@dataclass(frozen=True)
class FileScore:
    """A corpus figure of a file of translations, with the metric's signature; None where nothing could be judged.

    Attributes:
        errors: found in each translation, line by line; None where the metric does not look for them.
    """

    metric: str
    value: float | None
    interval: tuple[float, float] | None
    signature: str
    num_segments: int
    num_empty: int
    errors: Sequence[Sequence[ErrorSpan]] | None = None

    def line(self) -> str:
        """The figure as sacreBLEU prints it: `BLEU|nrefs:1|... = 39.9`, with its 95 % confidence interval."""
        metric = METRICS[self.metric]
        digits = 2 if metric.is_failure else 1  # a rate of one in a thousand is not 0
        value = "nothing to judge" if self.value is None else f"{self.value:.{digits}f}"
        bounds = "" if self.interval is None else ", ".join(f"{bound:.{digits}f}" for bound in self.interval)
        return f"{metric.title}|{self.signature} = {value}{f' [{bounds}]' if bounds else ''}"


@dataclass(frozen=True)
class Files:
    """Line n of one is line n of the others.

    Attributes:
        to: the target language in any spelling.
    """

    hypotheses: Path
    references: Path | None
    sources: Path | None
    to: str


def score_files(
    files: Files, *, metrics: Sequence[str] = ("bleu", "chrf++"), settings: MetricSettings | None = None
) -> list[FileScore]:
    """Score the lines of `files.hypotheses`.

    Raises:
        UserError: line counts differ, a file is empty or not UTF-8, a reference line is blank (with its number), an
            unknown language or metric, one that needs a file that is not given, or a package that is missing.
    """
    target = languages.get(files.to).code
    made = {name: make_metric(name, target, settings) for name in metrics}
    for name, metric in made.items():
        for needed, given, option in (("references", files.references, "--ref"), ("sources", files.sources, "--src")):
            if needed in metric.needs and given is None:
                raise UserError(f"The metric {name!r} needs {needed}.", hint=f"Give them with {option} FILE.")
    segments = read_segments(files)
    scores = []
    num_empty = sum(not line.strip() for line in segments.hypotheses)
    for name, metric in made.items():
        statistics = metric.statistics(segments)
        value = metric.corpus_score(statistics)
        sure = None if value is None else interval(metric, statistics)
        counts = (len(segments.hypotheses), num_empty)
        scores.append(FileScore(name, value, sure, metric.signature, *counts, metric.errors(segments)))
    return scores


def read_segments(files: Files) -> Segments:
    """The lines of the files side by side.

    Raises:
        UserError: line counts differ, a file is empty or not UTF-8, a reference line is blank.
    """
    hypotheses = _lines(files.hypotheses)
    references = None if files.references is None else _lines(files.references)
    sources = None if files.sources is None else _lines(files.sources)
    first = files.references if files.references is not None else files.hypotheses
    expected = len(references if references is not None else hypotheses)
    for path, lines in ((files.hypotheses, hypotheses), (files.sources, sources)):
        if lines is not None and len(lines) != expected:
            raise UserError(
                f"This file has {len(lines)} lines, {first} has {expected}.",
                where=str(path),
                hint="Line n must be the translation of line n; blank lines count.",
            )
    for number, line in enumerate(references or (), start=1):
        if not line.strip():
            raise UserError(
                "The reference is blank here, so nothing can be scored.", where=f"{files.references}:{number}"
            )
    return Segments(hypotheses, references, sources)


def _lines(path: Path) -> list[str]:
    lines = list(read_valid_lines(path))
    if not lines:
        raise UserError("This file is empty.", where=str(path))
    return lines
