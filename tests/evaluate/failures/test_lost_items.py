"""Numbers, addresses and placeholders, through localisation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.evaluate.metrics import Segments, make_metric
from tests.evaluate.failures.test_texts import judge


@pytest.mark.parametrize(
    ("source", "hypothesis"),
    [
        ("It cost 1,000 dollars.", "Es kostete 1.000 Dollar."),
        ("It cost 1,000 dollars.", "Cela a coûté 1 000 dollars."),
        ("It cost 1,000 dollars.", "Cela a coûté 1\u202f000 dollars."),
        ("It cost 1,000 dollars.", "इसकी कीमत १,००० डॉलर थी।"),
        ("It cost 1,000 dollars.", "كلف ١٬٠٠٠ دولار"),
        ("It cost 1,000 dollars.", "価格は１０００ドル。"),
        ("It weighs 15.5 kg.", "Es wiegt 15,5 kg."),
        ("2 lakh is 2,00,000.", "2 Lakh sind 200.000."),
        ("About 5.7 thousand people", "Rund 5.700 Menschen"),
        ("44.83万个岗位", "448,300 positions"),
        ("On 10.5.2018 at 19:45", "On May 10, 2018, at 7:45 p.m."),
        ("in den 20er Jahren", "in the 1920s"),
        ("2019-20", "2019/20"),
        (
            "Write to a.b@example.org or see https://example.org/x?y=1.",
            "Siehe https://example.org/x?y=1 oder a.b@example.org",
        ),
        ("Hello {name}, you have %1$s of %(all)d <b>new</b> &amp; old", "<b>%1$s</b> {name} %(all)d &amp;"),
        ("Save 50 % sure", "Spare 50 % sicher"),
    ],
)
def test_kept_in_another_dress(source: str, hypothesis: str) -> None:
    assert judge("lost-items", hypothesis, source) is False


@pytest.mark.parametrize(
    ("source", "hypothesis", "kind"),
    [
        ("It cost 1,000 dollars.", "Es kostete viel.", "number"),
        ("It cost 286 million.", "Es kostete 268 Millionen.", "number"),
        ("Born in 1991.", "Geboren 1919.", "number"),
        ("See https://example.org/x.", "Siehe example.org.", "address"),
        ("Ask help@example.org!", "Fragen Sie!", "address"),
        ("Hello {0}!", "Hallo!", "placeholder"),
        ("%s of %d files", "%s Dateien", "placeholder"),
        ("<b>Now</b> 25 %", "Jetzt", "number+tag"),
    ],
)
def test_lost(source: str, hypothesis: str, kind: str) -> None:
    metric = make_metric("lost-items", "de")
    segments = Segments([hypothesis], None, [source])
    assert metric.statistics(segments) == [[1, 1]]
    assert metric.notes(segments) == [kind]


@pytest.mark.parametrize("source", ["Three trains.", "3 trains", "12 months", "a < b, 100%", ""])
def test_segments_without_items_do_not_count(source: str) -> None:
    assert judge("lost-items", "", source) is (None if "100" not in source else True)


def test_what_the_reference_lacks_is_no_item() -> None:
    assert judge("lost-items", "Achtzehn Leute", "18 people", "Achtzehn Menschen") is None
    assert judge("lost-items", "Achtzehn Leute", "18 people in 2019", "Achtzehn Menschen im Jahr 2019") is True
    assert judge("lost-items", "Leute, 2019", "18 people in 2019", "Achtzehn Menschen im Jahr 2019") is False


@given(
    st.integers(13, 10**12),
    st.sampled_from([",", ".", " ", "\u00a0", "\u202f", "'", "’", "٬", ""]),
    st.sampled_from(["0", "٠", "۰", "०", "০", "０"]),
)
def test_a_number_is_found_in_all_digits_and_with_all_separators(number: int, separator: str, zero: str) -> None:
    written = f"{number:,}".replace(",", separator)
    localised = "".join(chr(ord(zero) + int(sign)) if sign in "0123456789" else sign for sign in written)
    assert judge("lost-items", f"… {localised} …", f"It is {number} now.") is False
    assert judge("lost-items", f"It is {number} now.", f"… {localised} …") is False
    assert judge("lost-items", "… …", f"… {localised} …") is True
