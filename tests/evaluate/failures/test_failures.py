"""What holds for all failure rates, and that none of them finds fault with the references of the phrasebook."""

from __future__ import annotations

import itertools

import pytest

from hexapla.evaluate.metrics import FAILURES, METRICS, Segments, make_metric
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.phrasebook.corpus import rows

ROWS = [row.texts for row in rows("dev")][:40]
CODES = list(ROWS[0])


def test_the_registry_knows_them_all() -> None:
    assert set(FAILURES) == {
        "empty",
        "copied",
        "off-target",
        "related",
        "wrong-script",
        "over-long",
        "looping",
        "lost-items",
    }
    assert not any(METRICS[name].higher_is_better for name in FAILURES)


@pytest.mark.parametrize("name", FAILURES)
def test_statistics_are_a_mean_in_percent_and_notes_fit(name: str) -> None:
    segments = Segments(
        ["Guten Tag!", "", "Guten Tag 15!"], ["Hallo Welt!", "Hallo!", "Tag 15"], ["Hello!", "Hi", "Day 15"]
    )
    metric = make_metric(name, "de")
    statistics = metric.statistics(segments)
    failed, counted = (sum(column) for column in list(zip(*statistics, strict=True))[:2])
    assert len({len(of_segment) for of_segment in statistics}) == 1
    assert metric.corpus_score(statistics) == (100 * failed / counted if counted else None)
    assert all(of_segment[0] <= of_segment[1] <= 1 for of_segment in statistics)
    notes = metric.notes(segments)
    assert notes is None or len(notes) == 3
    assert metric.signature.startswith("rule:")


@pytest.mark.parametrize("name", FAILURES)
def test_no_segments_have_no_statistics(name: str) -> None:
    assert make_metric(name, "de").statistics(Segments([], [], [])) == []


@pytest.mark.parametrize("name", sorted(set(FAILURES) - {"related"}))
def test_references_do_not_fail(name: str) -> None:
    failed = 0
    for source, target in itertools.islice(itertools.permutations(CODES, 2), 0, None, 7):
        metric = make_metric(name, target, MetricSettings())
        texts = Segments([texts[target] for texts in ROWS], None, [texts[source] for texts in ROWS])
        failed += sum(of_segment[0] for of_segment in metric.statistics(texts))
    # The identifier takes one in a thousand for something else.
    assert failed <= (4 if name == "off-target" else 0)
