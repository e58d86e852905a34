"""The failures that need no knowledge of languages: copies, lengths, loops, scripts, items."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hexapla.evaluate.metrics import Segments, make_metric
from hexapla.languages import all_languages
from hexapla.text.characters import bare, scripts_of, width
from hexapla.text.loops import loops

ALPHABET = st.text(alphabet="ab好 .", max_size=70)


def judge(
    name: str, hypothesis: str, source: str | None = None, reference: str | None = None, target: str = "de"
) -> bool | None:
    """Whether one translation failed; None where it does not count."""
    segments = Segments(
        [hypothesis], None if reference is None else [reference], None if source is None else [source], "en"
    )
    ((failed, counted),) = make_metric(name, target).statistics(segments)
    return bool(failed) if counted else None


@pytest.mark.parametrize(
    ("hypothesis", "source", "reference", "copied"),
    [
        ("Tap Repair now/Restore", "Tap Repair now / restore.", "Tippen Sie auf Reparieren", True),
        ("4) Tap Accounts", "4)Tap Accounts.", None, True),
        ("你好！", "你好", "Hello", True),
        ("Tippen Sie", "Tap Accounts.", None, False),
        ("Manchester United", "Manchester United", "Manchester United!", False),
        ("12:30", "12:30", "halb eins", None),
        ("", "Hello", "Hallo", False),
    ],
)
def test_copied(hypothesis: str, source: str, reference: str | None, copied: bool | None) -> None:
    assert judge("copied", hypothesis, source, reference) is copied


@pytest.mark.parametrize(("text", "empty"), [("", True), (" \u3000\n", True), ("x", False), (".", False)])
def test_empty(text: str, empty: bool) -> None:
    assert judge("empty", text) is empty


def test_over_long_against_source_and_reference() -> None:
    said = "Das ist der Bahnhof, und dort drüben steht der Zug nach Kiel."
    assert judge("over-long", said * 3, "Here is the station, and there the train to Kiel.", said) is True
    assert judge("over-long", said * 2, "Here is the station, and there the train to Kiel.", said) is False
    assert judge("over-long", said * 3, said * 2, said) is False  # the longer of the two is the measure
    assert judge("over-long", said * 3, None, said) is True
    assert judge("over-long", said * 3, said, None) is True
    assert judge("over-long", said * 3) is None
    assert judge("over-long", "Yes, of course!", "Ja.", "Yes.") is False


def test_lengths_respect_scripts() -> None:
    chinese = "我今天要去火车站买两张去老城的票，然后和朋友一起吃饭。"
    english = "I am going to the station today to buy two tickets to the old town, and then I will eat with friends."
    assert judge("over-long", english, chinese, target="en") is False
    assert judge("over-long", chinese * 3, english, target="zh") is True
    assert judge("over-long", english * 3, chinese, target="en") is True
    assert width("abc") == 3
    assert width("火车站") == pytest.approx(9.6)


@given(st.text(max_size=30), st.text(max_size=30))
def test_widths_add_up(one: str, other: str) -> None:
    assert width(one + other) == pytest.approx(width(one) + width(other))
    assert len(one) <= width(one) <= 3.2 * len(one) + 1e-9


@given(st.text(max_size=40))
def test_nothing_but_letters_marks_and_digits_is_compared(text: str) -> None:
    assert bare(f"  {text}—!?\t") == bare(text)
    assert not re.search(r"[\s!?.,;:]", bare(text))


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("It's not big, but it's heavy. It's not big, but it's heavy. It's not big, but it's heavy.", True),
        ("The reporters Zhang, Zhang, Zhang, Zhang, Zhang and others", True),
        ("爱尔兰橄榄球队" * 5, True),
        ("यह बहुत अच्छा है। " * 4, True),
        ("nonononononononononononono", True),
        ("abcdef" * 4, True),
        ("no, no, no, no!", False),
        ("ha ha ha ha", False),
        ("-----------------------------------------", False),
        ("He came, he saw the town. He came, he saw the town.", False),
        ("The first is red. The second is red. The third is red. The fourth is red.", False),
        ("", False),
    ],
)
def test_looping(text: str, looping: bool) -> None:
    assert judge("looping", text) is looping


def test_what_loops_in_source_or_reference_may_loop() -> None:
    chorus = "Row, row, row your boat. " * 3
    assert judge("looping", chorus) is True
    assert judge("looping", chorus, chorus, "Rudere.") is False
    assert judge("looping", chorus, "Rudere.", chorus) is False


@given(ALPHABET, st.text(alphabet="ab好 ", min_size=1, max_size=25), st.integers(3, 30), ALPHABET)
def test_a_repeated_stretch_is_found_wherever_it_stands(before: str, unit: str, repeats: int, after: str) -> None:
    unit = " ".join(unit.split())
    assume(unit)
    stretch = unit * repeats
    assume(len(unit) >= 20 or (repeats >= 4 and len(stretch) >= 24))
    assert loops(f"{before} {stretch} {after}")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "ab", "好", " ", ".", "a" * 23, ".." * 13, "ba " * 7]), max_size=20).map(
        "".join
    )
)
def test_a_loop_is_what_the_rule_says(text: str) -> None:
    assert loops(text) is _loops_by_definition(" ".join(text.split()))


def _loops_by_definition(text: str) -> bool:
    """Every unit from every place, continued as long as it comes again."""
    for unit, start in itertools.product(range(1, len(text)), range(len(text))):
        end = start + unit
        while end < len(text) and text[end] == text[end - unit]:
            end += 1
        enough = 3 * unit - 2 if unit >= 20 else max(4 * unit - 2, 24)
        if end - start >= enough and any(map(str.isalnum, text[start : start + unit])):
            return True
    return False


@pytest.mark.parametrize(
    ("text", "target", "wrong"),
    [
        ("Где находится вокзал?", "ru", False),
        ("Gde nakhoditsya vokzal?", "ru", True),
        ("Нажмите Reset Now.", "ru", False),
        ("EverGrow Coin 是下一个 Shiba Inu 吗？", "zh", False),
        ("Where is the station?", "zh", True),
        ("駅はどこですか。", "ja", False),
        ("火车站在哪里", "ja", False),  # has no kana, but Chinese characters are Japan's too
        ("기차역이 어디에 있습니까?", "ja", True),
        ("기차역이 어디에 있습니까?", "ko", False),
        ("火车站在哪里", "ko", True),
        ("駅はどこですか。", "zh", True),
        ("Где је станица?", "sr", False),
        ("Gde je stanica?", "sr", True),
        ("Gde je stanica?", "sr_Latn", False),
        ("Где је станица?", "sr_Latn", True),
        ("स्टेशन कहाँ है?", "hi", False),
        ("اسٹیشن کہاں ہے؟", "hi", True),
        ("اسٹیشن کہاں ہے؟", "ur", False),
        ("Das Wort «привет» ist russisch und heißt hallo.", "de", False),
        ("Das heißt привет, привет und nochmal привет.", "de", True),
        ("12 % … 😀", "de", None),
    ],
)
def test_wrong_script(text: str, target: str, wrong: bool | None) -> None:
    assert judge("wrong-script", text, target=target) is wrong


def test_wrong_script_is_excused_by_the_reference_and_names_the_script() -> None:
    metric = make_metric("wrong-script", "zh")
    segments = Segments(["iPhone 15 Pro Max", "Hello", "你好"], ["iPhone 15 Pro Max 机", "你好", "你好"])
    assert metric.statistics(segments) == [[0, 1], [1, 1], [0, 1]]
    assert metric.notes(segments) == [None, "Latin", None]


def test_every_language_has_scripts_that_unicode_knows() -> None:
    import regex

    for language in all_languages():
        for script in scripts_of(language.code):
            assert regex.compile(rf"\p{{Script={script}}}")
