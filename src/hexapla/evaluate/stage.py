"""Translate the test sets with a pool and score the translations, direction by direction.

The translator is given from outside: evaluation and translation do not import each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hexapla.common.artifacts import digest_of, write_jsonl
from hexapla.common.errors import UserError
from hexapla.common.progress import Progress
from hexapla.common.seeds import stable_order
from hexapla.data.rows import Row
from hexapla.evaluate.hypotheses import Hypothesis, HypothesisLog, SegmentKey, TranslationLike, source_digest
from hexapla.evaluate.metrics import FAILURES, Metric, Segments, make_metric
from hexapla.evaluate.scores import DirectionScores, Figure, ScoreTable
from hexapla.evaluate.significance import interval
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Layout
from hexapla.prompts import Auxiliary

Wanted = tuple[str, Direction] | tuple[str, Direction, Auxiliary]
"""A source, its direction and, where the prompt shows one, its translation into an auxiliary language."""
Translate = Callable[[list[Wanted]], Iterator[tuple[int, TranslationLike]]]


@dataclass(frozen=True)
class _Segment:
    row: str
    source: str
    reference: str
    auxiliary: Auxiliary | None


@dataclass(frozen=True)
class _Task:
    """One test set in one direction."""

    test: str
    direction: Direction
    segments: tuple[_Segment, ...]

    def key(self, segment: _Segment) -> SegmentKey:
        return SegmentKey(self.test, str(self.direction), segment.row, source_digest(segment.source, segment.auxiliary))


def require_metrics(spec: EvaluateSpec, layout: Layout) -> None:
    """Make every metric once for every target language, before hours are spent.

    Raises:
        UserError: a package or a file is missing; the message names the extra to install.
    """
    for target in sorted({direction.target for direction in spec.directions or layout.directions}):
        for name in spec.metrics:
            try:
                make_metric(name, target, spec)
            except UserError as error:
                hint = f"{error.hint or ''} Or leave {name!r} out of evaluate.metrics, or {target!r} out of languages."
                raise UserError(f"{name} into {target}: {error.what}", where=error.where, hint=hint.strip()) from error


def signatures(spec: EvaluateSpec, layout: Layout) -> dict[str, dict[str, str | None]]:
    """Metric → target language → signature, of everything that is measured; None where it cannot be measured here.

    Raises:
        UserError: a metric that was asked for cannot be computed.
    """
    require_metrics(spec, layout)
    targets = sorted({direction.target for direction in spec.directions or layout.directions})
    found: dict[str, dict[str, str | None]] = {}
    for name in dict.fromkeys((*spec.metrics, *FAILURES)):
        found[name] = {}
        for target in targets:
            metric = _metric_or_none(name, target, spec)
            found[name][target] = None if metric is None else metric.signature
    return found


def evaluate_pool(
    *,
    pool_name: str,
    tests: Mapping[str, Sequence[Row]],
    layout: Layout,
    spec: EvaluateSpec,
    translate: Translate,
    folder: Path,
    translations: Path,
    identity: Mapping[str, Any],
    seed: int,
    auxiliaries: Mapping[Direction, str] | None = None,
) -> ScoreTable:
    """Translate and score; the scores are written into `folder`, `scores.json` last.

    Args:
        layout: its directions are measured, or those of them that `spec` names.
        translate: gets all requests in one call, so that it can batch directions side by side; gives (position,
            translation) in any order.
        translations: the folder where translations are appended as they come. It stays: another attempt, other
            metrics, a larger limit or another test set translate only what is not in it.
        identity: JSON data, everything that a translation depends on besides its source and direction. Its entry
            `translate`, the decoder settings, becomes part of every signature.
        seed: chooses the rows when `spec.limit` is set.
        auxiliaries: direction → language whose text of the row is given to the translator beside the source, where the
            row has it (`translate.pmp: given`); None: nothing is given.

    Raises:
        UserError: no direction has test rows; a metric cannot be computed; `translations` belongs to another
            identity.
    """
    wanted = [direction for direction in spec.directions or layout.directions if direction in layout.directions]
    require_metrics(spec.model_copy(update={"directions": tuple(wanted)}), layout)
    tasks = [
        _Task(test, direction, _segments(test, rows, direction, (auxiliaries or {}).get(direction), spec.limit, seed))
        for test, rows in tests.items()
        for direction in wanted
    ]
    if not any(task.segments for task in tasks):
        listed = ", ".join(map(str, wanted)) or "none"
        raise UserError(
            f"No test set has rows in any of the directions to measure ({listed}).",
            where="data.test",
            hint="A row counts in a direction when it has a text in both languages.",
        )
    with HypothesisLog(translations, identity) as log:
        _translate_missing(tasks, translate, log, pool_name)
        failures = tuple(name for name in FAILURES if name not in spec.metrics)
        entries = tuple(_score(task, log.known, spec, failures, folder) for task in tasks)
    table = ScoreTable(folder, pool_name, spec.metrics, failures, layout, dict(identity), entries)
    table.save()
    return table


def _segments(
    test: str, rows: Sequence[Row], direction: Direction, auxiliary: str | None, limit: int | None, seed: int
) -> tuple[_Segment, ...]:
    """The rows with both sides, in their order; with a limit the same rows in all directions, as far as possible."""
    usable = [row for row in rows if direction.source in row.texts and direction.target in row.texts]
    if limit is not None:
        chosen = stable_order(seed, [row.id for row in usable], "evaluate", test)[:limit]
        usable = [usable[position] for position in sorted(chosen)]
    return tuple(
        _Segment(
            row.id,
            row.texts[direction.source],
            row.texts[direction.target],
            Auxiliary(auxiliary, row.texts[auxiliary]) if auxiliary is not None and auxiliary in row.texts else None,
        )
        for row in usable
    )


def _translate_missing(tasks: Sequence[_Task], translate: Translate, log: HypothesisLog, pool_name: str) -> None:
    """Translate in one call all that the log does not know yet."""
    keys: list[SegmentKey] = []
    requests: list[Wanted] = []
    for task in tasks:
        for segment in task.segments:
            if task.key(segment) not in log.known:
                keys.append(task.key(segment))
                request = (segment.source, task.direction)
                requests.append(request if segment.auxiliary is None else (*request, segment.auxiliary))
    if not requests:
        return
    total = sum(len(task.segments) for task in tasks)
    progress = Progress(f"translate {pool_name}", total, unit="sentences", done=total - len(requests))
    for position, translation in translate(requests):
        log.add(keys[position], translation)
        progress.advance(note=str(requests[position][1]))
    progress.close()
    missing = [key for key in keys if key not in log.known]
    assert not missing, f"the translator left out {len(missing)} of {len(keys)} requests, such as {missing[0]}"


def _score(
    task: _Task,
    hypotheses: Mapping[SegmentKey, Hypothesis],
    spec: EvaluateSpec,
    failures: Sequence[str],
    folder: Path,
) -> DirectionScores:
    """Score one direction of one test set and write its segments."""
    names = (*spec.metrics, *failures)
    if not task.segments:
        return DirectionScores(task.test, task.direction, 0, dict.fromkeys(names, Figure(None, None)))
    found = [hypotheses[task.key(segment)] for segment in task.segments]
    records: list[dict[str, Any]] = [
        {
            "id": segment.row,
            "source": segment.source,
            "hypothesis": hypothesis.text,
            "reference": segment.reference,
            "finish": hypothesis.finish,
            **({} if segment.auxiliary is None else {"auxiliary": list(segment.auxiliary)}),
            "statistics": {},
            "scores": {},
            "notes": {},
        }
        for segment, hypothesis in zip(task.segments, found, strict=True)
    ]
    texts = Segments(
        [hypothesis.text for hypothesis in found],
        [segment.reference for segment in task.segments],
        [segment.source for segment in task.segments],
        task.direction.source,
    )
    figures = {
        name: _measure(name, make_metric(name, task.direction.target, spec), texts, records) for name in spec.metrics
    }
    for name in failures:
        metric = _metric_or_none(name, task.direction.target, spec)
        figures[name] = Figure(None, None) if metric is None else _measure(name, metric, texts, records)
    file = f"segments/{quote(task.test, safe='')}/{task.direction}.jsonl"
    write_jsonl(folder / file, records)
    notes = {name: Counter(record["notes"][name] for record in records if name in record["notes"]) for name in names}
    return DirectionScores(
        test=task.test,
        direction=task.direction,
        num_segments=len(records),
        figures=figures,
        checksum=digest_of([[segment.row, segment.source, segment.reference] for segment in task.segments]),
        finish=dict(sorted(Counter(hypothesis.finish for hypothesis in found).items())),
        notes={name: dict(sorted(counts.items())) for name, counts in notes.items() if counts},
        file=file,
    )


def _metric_or_none(name: str, target: str, spec: EvaluateSpec) -> Metric | None:
    """A metric that nobody asked for is left out where a package or a file is missing."""
    try:
        return make_metric(name, target, spec)
    except UserError:
        return None


def _measure(name: str, metric: Metric, texts: Segments, records: Sequence[dict[str, Any]]) -> Figure:
    """The figure of a direction; statistics, scores, notes and errors go into the records of its segments."""
    statistics = metric.statistics(texts)
    notes = metric.notes(texts) or [None] * len(records)
    for record, of_segment, note in zip(records, statistics, notes, strict=True):
        score = metric.segment_score(of_segment)
        record["statistics"][name] = of_segment
        record["scores"][name] = None if score is None else round(score, 4)
        if note is not None:
            record["notes"][name] = note
    errors = metric.errors(texts)
    if errors is not None:
        for record, of_hypothesis in zip(records, errors, strict=True):
            found = [{**asdict(error), "confidence": round(error.confidence, 4)} for error in of_hypothesis]
            record.setdefault("errors", {})[name] = found
    value = metric.corpus_score(statistics)
    return Figure(value, metric.signature, None if value is None else interval(metric, statistics))
