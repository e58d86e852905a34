"""Texts judged together on arrays: the same as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.text.arrays import Characters, CharacterTable, widths, widths_by_script
from hexapla.text.characters import bare, script_widths, width
from hexapla.text.distance import distance, least_distances

MIXED = ["", "abc", "Gruß", "東京で会おう", "서울 Seoul", "привет мир", "नमस्ते 12", "😀 ¡ª!", "ﬁx Ａ"]
TEXTS = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(MIXED)), max_size=12)


@given(TEXTS)
def test_widths_are_those_of_single_texts(texts: list[str]) -> None:
    assert widths(texts).tolist() == pytest.approx([width(text) for text in texts])


@given(TEXTS)
def test_widths_by_script_are_those_of_single_texts(texts: list[str]) -> None:
    everything, latin, east_asian = widths_by_script(texts, ["Latin"], ["Han", "Hangul", "Hiragana"])
    for number, text in enumerate(texts):
        expected = script_widths(text)
        assert everything[number] == pytest.approx(10 * sum(expected.values()))
        assert latin[number] == pytest.approx(10 * expected.get("Latin", 0))
        wanted = sum(expected.get(script, 0) for script in ("Han", "Hangul", "Hiragana"))
        assert east_asian[number] == pytest.approx(10 * wanted)


def test_a_character_s_number_is_computed_once() -> None:
    asked = []

    def value(character: str) -> int:
        asked.append(character)
        return -ord(character)

    table = CharacterTable(value)
    codes = Characters(["aba", "", "b\U0001f600"[:1], "a"]).codes
    assert table[codes].tolist() == [-97, -98, -97, -98, -97]
    assert table[codes[:2]].tolist() == [-97, -98]
    assert asked == ["a", "b"]


def test_sums_are_by_text() -> None:
    characters = Characters(["ab", "", "\ud800c", ""])
    assert characters.bounds.tolist() == [0, 2, 2, 4, 4]
    assert characters.sums(np.array([1, 2, 3, 4])).tolist() == [3, 0, 7, 0]
    assert Characters([]).sums(np.array([])).tolist() == []


def slow_distance(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for number, one in enumerate(first, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(second, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (one != other))
    return row[-1]


@given(st.text("abc日", max_size=12), st.text("abc日", max_size=12))
def test_distance_is_levenshtein_s(first: str, second: str) -> None:
    assert distance(first, second) == slow_distance(first, second)


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=8))
def test_no_distance_is_less_than_the_bound(pairs: list[tuple[str, str]]) -> None:
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    least, longer = least_distances(first, second)
    for number, (one, other) in enumerate(pairs):
        assert least[number] <= slow_distance(bare(one), bare(other))
        assert longer[number] == max(len(bare(one)), len(bare(other)))


def test_the_bound_rules_most_pairs_out() -> None:
    least, longer = least_distances(["Der Zug fährt heute ab.", "abc"], ["The train leaves today.", "c b a"])
    assert least[0] > longer[0] / 4
    assert least[1] == 0
