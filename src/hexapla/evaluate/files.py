"""Score plain files, line by line: no model, no pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.textfiles import read_valid_lines
from hexapla.evaluate.metrics import METRICS, make_metric


@dataclass(frozen=True)
class FileScore:
    """A corpus figure of a file of translations, with the metric's signature."""

    metric: str
    value: float
    signature: str
    num_segments: int
    num_empty: int

    def line(self) -> str:
        """The figure as sacreBLEU prints it: `BLEU|nrefs:1|... = 39.9`."""
        return f"{METRICS[self.metric].title}|{self.signature} = {self.value:.1f}"


def score_files(
    hypothesis: Path,
    reference: Path,
    source: Path | None = None,
    *,
    to: str,
    metrics: Sequence[str] = ("bleu", "chrf++"),
) -> list[FileScore]:
    """Score the lines of `hypothesis` against those of `reference`.

    Args:
        source: only its number of lines is checked so far, no metric reads it.
        to: the target language in any spelling; it decides on the tokenizer.

    Raises:
        UserError: line counts differ, a file is empty or not UTF-8, a reference line is blank (with its number), an
            unknown language or metric, or one that needs a package that is missing.
    """
    target = languages.get(to).code
    made = {name: make_metric(name, target) for name in metrics}
    references = _lines(reference)
    hypotheses = _lines(hypothesis)
    others = [(hypothesis, hypotheses)] + ([(source, _lines(source))] if source is not None else [])
    for path, lines in others:
        if len(lines) != len(references):
            raise UserError(
                f"This file has {len(lines)} lines, the reference {reference} has {len(references)}.",
                where=str(path),
                hint="Line n must be the translation of line n; blank lines count.",
            )
    for number, line in enumerate(references, start=1):
        if not line.strip():
            raise UserError("The reference is blank here, so nothing can be scored.", where=f"{reference}:{number}")
    scores = []
    num_empty = sum(not line.strip() for line in hypotheses)
    for name, metric in made.items():
        value = metric.corpus_score(metric.statistics(hypotheses, references))
        scores.append(FileScore(name, value, metric.signature, len(references), num_empty))
    return scores


def _lines(path: Path) -> list[str]:
    lines = list(read_valid_lines(path))
    if not lines:
        raise UserError("This file is empty.", where=str(path))
    return lines
