"""A comparison as text for the terminal."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

from hexapla.evaluate.compare import (
    Comparison,
    DirectionComparison,
    MeanComparison,
    MetricComparison,
    SegmentDifference,
)
from hexapla.evaluate.comparison import MISSING
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.significance import LEVEL, Estimate

_TESTS = {
    "randomisation": "paired approximate randomisation, two-sided",
    "bootstrap": "paired bootstrap resampling",
}
_VERDICTS = {"better": "better", "worse": "worse", "open": "", "equal": ""}


def comparison_text(comparison: Comparison) -> str:
    """Systems, one table a metric and system, failure rates that differ, segments that differ most, what to know."""
    letters = {system: _letter(position) for position, system in enumerate(comparison.systems)}
    baseline, *others = comparison.systems
    blocks = ["\n".join([f"A  {baseline} (baseline)", *(f"{letters[other]}  {other}" for other in others)])]
    quality = [metric for metric in comparison.metrics if not metric.is_failure]
    blocks += [
        _quality(metric, position, letters[system])
        for metric in quality
        for position, system in enumerate(others, start=1)
    ]
    failures = [metric for metric in comparison.metrics if metric.is_failure]
    if failures:
        blocks += [_failures(failures, position, letters[system]) for position, system in enumerate(others, start=1)]
    if comparison.segments:
        blocks.append("\n\n".join(_segments(comparison.segments, letters)))
    blocks.append("\n".join(_notes(comparison)))
    return "\n\n".join(blocks)


def _letter(position: int) -> str:
    return string.ascii_uppercase[position] if position < 26 else f"S{position + 1}"


def _quality(metric: MetricComparison, position: int, letter: str) -> str:
    """The table of one metric and one system."""
    with_tests = len({place.test for place in metric.directions}) > 1
    lines = [
        [
            *([place.test or ""] if with_tests else []),
            place.direction,
            str(place.num_segments),
            *_cells(place, position),
        ]
        for place in metric.directions
    ]
    lines += [[*([""] if with_tests else []), _mean_name(mean), "", *_cells(mean, position)] for mean in metric.means]
    header = [*(["test set"] if with_tests else []), "direction", "segments", *_header(letter)]
    tally = metric.tallies[position - 1]
    better_end = "" if metric.higher_is_better else " (lower is better)"
    summary = (
        f"{letter} is better than A in {tally.better} of {len(metric.directions)}, significantly in "
        f"{tally.significantly_better}; worse in {tally.worse}, significantly in {tally.significantly_worse}."
    )
    title = f"{metric.title}{better_end}, {letter} against A"
    return "\n".join([title, _table(lines, header, num_left=1 + with_tests), summary])


def _failures(metrics: Sequence[MetricComparison], position: int, letter: str) -> str:
    """The failure rates in which one system differs from the baseline."""
    with_tests = len({place.test for metric in metrics for place in metric.directions}) > 1
    lines = []
    for metric in metrics:
        for place in metric.directions:
            if _differs(place, position):
                test = [place.test or ""] if with_tests else []
                lines.append([metric.title, *test, place.direction, *_cells(place, position, 2)])
        for mean in metric.means:
            if _differs(mean, position):
                test = [""] if with_tests else []
                lines.append([metric.title, *test, _mean_name(mean), *_cells(mean, position, 2)])
    measured = f"failure rates in percent (of {', '.join(metric.title for metric in metrics)})"
    if not lines:
        return f"{letter} and A do not differ in {measured}."
    header = ["failure", *(["test set"] if with_tests else []), "direction", *_header(letter)]
    title = f"Where {letter} and A differ in {measured}"
    return "\n".join([title, _table(lines, header, num_left=2 + with_tests)])


def _table(lines: Sequence[Sequence[str]], header: Sequence[str], num_left: int) -> str:
    from tabulate import tabulate

    alignment = ["left"] * num_left + ["right"] * (len(header) - num_left - 1) + ["left"]
    return tabulate(lines, header, tablefmt="simple", disable_numparse=True, colalign=alignment)


def _header(letter: str) -> list[str]:
    return ["A [95 %]", f"{letter} [95 %]", f"{letter} − A [95 %]", "p", "p (Holm)", ""]


def _cells(compared: DirectionComparison | MeanComparison, position: int, digits: int = 1) -> list[str]:
    contrast = compared.contrasts[position - 1]
    figures = [_figure(compared.figures[0], digits), _figure(compared.figures[position], digits)]
    if contrast.difference is None or contrast.p_holm is None:
        return [*figures, MISSING, MISSING, MISSING, ""]
    difference = _with_interval(contrast.difference.value, contrast.difference.interval, f"+.{digits}f")
    p_values = [f"{contrast.difference.p_value:.4f}", f"{contrast.p_holm:.4f}"]
    return [*figures, difference, *p_values, _VERDICTS[contrast.verdict]]


def _figure(estimate: Estimate, digits: int) -> str:
    return MISSING if estimate.value is None else _with_interval(estimate.value, estimate.interval, f".{digits}f")


def _with_interval(value: float, interval: tuple[float, float] | None, form: str) -> str:
    ends = "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
    return f"{value:{form}}{ends}"


def _mean_name(mean: MeanComparison) -> str:
    return f"mean of {mean.num_directions}" if mean.side is None else f"mean of {mean.num_directions} {mean.side.value}"


def _differs(compared: DirectionComparison | MeanComparison, position: int) -> bool:
    """Whether the figures differ, or one is missing."""
    difference = compared.contrasts[position - 1].difference
    if difference is not None:
        return difference.value != 0
    return (compared.figures[0].value is None) is not (compared.figures[position].value is None)


def _segments(segments: Sequence[SegmentDifference], letters: dict[str, str]) -> Iterator[str]:
    """The segments that differ most, under a line for each metric and system."""
    headed = None
    for segment in segments:
        letter = letters[segment.system]
        if headed != (segment.metric, segment.system):
            headed = (segment.metric, segment.system)
            yield f"Segments of A and {letter} that differ most in {METRICS[segment.metric].title}"
        place = " ".join(filter(None, (segment.test, segment.direction, segment.row)))
        texts = {
            "source": segment.source,
            "reference": segment.reference,
            f"A {segment.baseline_score:.1f}": segment.baseline_hypothesis,
            f"{letter} {segment.score:.1f}": segment.hypothesis,
        }
        shown = [f"    {name:<10} {_one_line(text)}" for name, text in texts.items() if text is not None]
        yield "\n".join([f"  {place}", *shown])


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "(empty)"


def _notes(comparison: Comparison) -> Iterator[str]:
    yield f"Intervals: 95 %, bootstrap. p: {_TESTS[comparison.test]} ({comparison.procedure})."
    yield (
        f"better, worse: p below {LEVEL} after Holm's correction for all directions of a metric"
        + (" and systems" if len(comparison.systems) > 2 else "")
        + "; its means are corrected apart."
    )
    places: dict[str, list[str]] = {}
    for item in comparison.excluded:
        places.setdefault(item.reason, []).append(" ".join(filter(None, (item.test, item.direction))))
    for reason, listed in places.items():
        more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
        yield f"Not compared: {', '.join(listed[:8])}{more}. {reason}"
    yield from comparison.notes
    for metric in comparison.metrics:
        by_signature: dict[str, list[str]] = {}
        for place in metric.directions:
            by_signature.setdefault(place.signature, []).append(place.direction)
        for signature, directions in by_signature.items():
            where = f" ({', '.join(dict.fromkeys(directions))})" if len(by_signature) > 1 else ""
            yield f"{metric.title}|{signature}{where}"
