"""Off-target translations, close relatives, and what is unknown."""

from __future__ import annotations

import numpy as np
import pytest

from hexapla.evaluate.failures.off_target import OffTarget
from hexapla.evaluate.metrics import Segments, make_metric

ENGLISH = "Where can I buy a ticket for the train to the old town?"
GERMAN = "Wo kann ich eine Fahrkarte für den Zug in die Altstadt kaufen?"
DUTCH = "Waar kan ik een kaartje kopen voor de trein naar de oude stad?"
DANISH = "Hvor kan jeg købe en billet til toget til den gamle bydel? Jeg ved det ikke."
CROATIAN = "Gdje mogu kupiti kartu za vlak do staroga grada? Tko će mi to reći?"


def test_other_languages_are_off_target_and_named() -> None:
    metric = make_metric("off-target", "de")
    segments = Segments([GERMAN, DUTCH, ENGLISH, "…", ""], [GERMAN] * 5)
    statistics = metric.statistics(segments)
    assert metric.corpus_score(statistics) == pytest.approx(200 / 3)
    assert [of_segment[:4] for of_segment in statistics] == [
        [0, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ]
    assert metric.notes(segments) == [None, "nl", "en", "unknown", "unknown"]


@pytest.mark.parametrize(("target", "text", "code"), [("nb", DANISH, "da"), ("sr_Latn", CROATIAN, "hr")])
def test_close_relatives_are_counted_apart(target: str, text: str, code: str) -> None:
    segments = Segments([text, GERMAN], None)
    off_target, related = make_metric("off-target", target), make_metric("related", target)
    assert off_target.statistics(segments) == [[0, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert related.statistics(segments) == [[1, 1], [0, 1]]
    assert off_target.notes(segments) == [None, "de"]
    assert related.notes(segments) == [code, None]


@pytest.mark.parametrize("target", ["zh", "zh_Hant", "pt_BR", "sr_Latn"])
def test_scripts_and_varieties_are_the_same_language(target: str) -> None:
    said = {
        "zh": "我想买两张去老城的票。",
        "pt": "Não sei onde posso comprar um bilhete para o comboio.",
        "sr": "Где је воз?",
    }
    segments = Segments([said[target.split("_")[0]]] * 2, None)
    assert [of_segment[0] for of_segment in make_metric("off-target", target).statistics(segments)] == [0, 0]


def test_a_target_that_is_not_covered_is_unknown() -> None:
    metric = make_metric("off-target", "tpi")
    statistics = metric.statistics(Segments([ENGLISH, GERMAN], [ENGLISH, GERMAN]))
    assert statistics == [[0, 0, 0, 1, 0, 0]] * 2
    assert metric.corpus_score(statistics) is None


def test_what_the_reference_is_taken_for_is_no_verdict() -> None:
    names = "Felix Slováček and Lucie Gelemová: TOGETHER AGAIN!"
    metric = make_metric("off-target", "en")
    assert metric.notes(Segments([names], None)) == ["cs"]
    assert metric.statistics(Segments([names], [names])) == [[0, 0, 0, 1, 1, 1]]
    assert metric.statistics(Segments([names], [ENGLISH])) == [[1, 1, 0, 0, 0, 1]]


def test_the_companions_of_the_rate() -> None:
    sums = np.array([[2, 8, 4, 2, 1, 10], [0, 0, 0, 3, 0, 0]], dtype=float)
    companions = OffTarget.companions(sums)
    np.testing.assert_allclose(companions["related"], [50, np.nan])
    np.testing.assert_allclose(companions["unknown"], [20, 100])
    np.testing.assert_allclose(companions["references"], [10, np.nan])
    np.testing.assert_allclose(OffTarget.aggregate(sums), [25, np.nan])
