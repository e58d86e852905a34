"""Translations that are none are dropped, each for its reason; sound ones are not."""

from __future__ import annotations

import pytest

from hexapla.evaluate.hypotheses import Hypothesis
from hexapla.evaluate.metrics import MetricSettings
from hexapla.languages import Direction
from hexapla.synthesize.judgement import Drop, Judge

SOURCE = "The train to the city leaves from platform two at nine in the morning."
GERMAN = "Der Zug in die Stadt fährt um neun Uhr morgens von Gleis zwei ab."


def judged(direction: str, text: str, *, source: str = SOURCE, finish: str = "stop") -> Drop | None:
    judge = Judge(Direction.parse(direction), MetricSettings())
    [drop] = judge.judge([source], [Hypothesis(text, finish)])
    return drop


@pytest.mark.parametrize(
    ("direction", "text"),
    [
        ("en-de", GERMAN),
        ("en-ru", "Поезд в город отправляется со второй платформы в девять утра."),
        ("en-zh", "去城里的火车早上九点从二号站台出发。"),
        ("en-ar", "يغادر القطار المتجه إلى المدينة من الرصيف الثاني في التاسعة صباحا."),
        ("en-hi", "शहर जाने वाली ट्रेन सुबह नौ बजे प्लेटफॉर्म दो से निकलती है।"),
        ("en-ko", "시내로 가는 기차는 아침 아홉 시에 2번 승강장에서 출발합니다."),
    ],
)
@pytest.mark.parametrize("finish", ["stop", "newline"])
def test_sound_translations_pass(direction: str, text: str, finish: str) -> None:
    assert judged(direction, text, finish=finish) is None


@pytest.mark.parametrize(
    ("drop", "direction", "text", "finish"),
    [
        ("source-too-long", "en-de", "", "too-long"),
        ("cut-off", "en-de", GERMAN, "length"),
        ("looping", "en-de", GERMAN, "loop"),
        ("looping", "en-de", "Der Zug fährt ab. " * 4, "stop"),
        ("empty", "en-de", " \u00a0", "stop"),
        ("damaged-characters", "en-de", GERMAN.replace("ä", "\ufffd"), "stop"),
        ("damaged-characters", "en-de", GERMAN.replace(" ab", "\u2028ab"), "stop"),
        ("copied", "en-de", SOURCE.upper(), "stop"),
        (
            "over-long",
            "en-de",
            f"{GERMAN} {GERMAN.swapcase()} Und so weiter und noch viel mehr, bis es genug ist.",
            "stop",
        ),
        ("over-short", "en-de", "Der Zug.", "stop"),
        ("over-short", "en-zh", "火车。", "stop"),
        ("wrong-script", "en-ru", GERMAN, "stop"),
        ("off-target", "en-de", "Le train pour la ville part du quai deux à neuf heures du matin.", "stop"),
    ],
)
def test_failures_have_names(drop: str, direction: str, text: str, finish: str) -> None:
    assert judged(direction, text, finish=finish) == drop


def test_what_the_source_does_the_translation_may() -> None:
    assert judged("en-de", "Die Glocke läutet. " * 4, source="The bell is ringing. " * 4) is None
    assert judged("en-de", "Das Zeichen \ufffd ist kaputt.", source="The sign \ufffd is broken.") is None
    assert judged("en-de", "24", source="24") is None  # without letters nothing can be copied


def test_a_comparison_keeps_earlier_drops() -> None:
    judge = Judge(Direction("en", "de"), MetricSettings())
    hypotheses = [Hypothesis(GERMAN, "stop"), Hypothesis(SOURCE, "stop")]
    assert judge.compare([SOURCE] * 2, hypotheses, [Drop.CUT_OFF, None]) == [Drop.CUT_OFF, Drop.COPIED]
