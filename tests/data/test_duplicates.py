"""Exact and near duplicates: what counts as the same, what is compared with what, and that nothing new is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hexapla.data.filters import repeats as repeats_module
from hexapla.data.filters.corpus import Unit
from hexapla.data.filters.duplicates import DuplicatesFilter
from hexapla.data.filters.near_duplicates import NUM_VALUES, NearDuplicatesFilter, rows_of_band
from hexapla.data.filters.repeats import Repeats
from hexapla.data.matching import fold
from tests.data.test_engine import items, left, run

ROOT = Path(__file__).parents[2]


def pairs(*sides: tuple[str, str]) -> list[dict[str, str]]:
    return [{"en": en, "de": de} for en, de in sides]


def kept_numbers(judge: DuplicatesFilter | NearDuplicatesFilter, *texts: dict[str, str]) -> list[int]:
    return [int(name.removeprefix("c:")) for name in left([judge], *texts)]


@pytest.mark.parametrize(
    ("by", "kept"), [("pair", [0, 2, 3, 4]), ("source", [0, 3, 4]), ("target", [0, 2, 4]), ("text", [0, 4])]
)
def test_what_is_compared(by: str, kept: list[int]) -> None:
    rows = pairs(("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("c", "z"))
    assert kept_numbers(DuplicatesFilter(by=by), *rows) == kept


def test_languages_are_not_compared_with_each_other() -> None:
    rows = [{"en": "Taxi", "de": "Auto"}, {"en": "Auto", "de": "Taxi"}, {"en": "Taxi", "fr": "Auto"}]
    for by in ("pair", "source", "target"):
        assert kept_numbers(DuplicatesFilter(by=by), *rows) == [0, 1, 2]
    assert left([DuplicatesFilter(by="text")], *rows) == {"c:0": rows[0], "c:1": rows[1]}


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Thank you.", "thank  you", True),
        ("我 喝茶。", "我喝茶", True),
        ("Спасибо!", "спасибо", True),
        ("شكرا.", "شكرا", True),
        ("धन्यवाद।", "धन्यवाद", True),
        ("ขอบคุณ ครับ", "ขอบคุณครับ", True),
        ("3.50", "350", False),
        ("!", "?", False),
        ("père", "pere", False),
    ],
)
def test_case_space_and_punctuation_do_not_count_unless_asked_for(a: str, b: str, same: bool) -> None:
    rows = pairs((a, "x"), (b, "x"))
    assert (kept_numbers(DuplicatesFilter(), *rows) == [0]) is same
    assert kept_numbers(DuplicatesFilter(exact=True), *rows) == [0, 1]


def test_a_duplicate_within_a_wide_row_costs_only_its_text() -> None:
    rows = [{"en": "a", "de": "x", "fr": "p"}, {"en": "a", "de": "x", "fr": "q"}]
    assert left([DuplicatesFilter()], *rows) == {"c:0": rows[0], "c:1": {"en": "a", "fr": "q"}}


CODES = ("en", "zh", "de", "fr")
ROWS = st.lists(st.dictionaries(st.sampled_from(CODES), st.sampled_from("abc"), min_size=2), max_size=14)


def hub_pairs(texts: dict[str, str]) -> set[tuple[str, str, str, str]]:
    anchors = [hub for hub in ("en", "zh") if hub in texts] or list(texts)[:1]
    return {
        (anchor, texts[anchor], code, texts[code])
        for number, anchor in enumerate(anchors)
        for code in texts
        if code not in anchors[: number + 1]
    }


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_every_pair_survives_and_no_row_is_a_repetition(rows: list[dict[str, str]]) -> None:
    # A row without a hub keeps its first language first only while that text stays.
    rows = [texts for texts in rows if "en" in texts or "zh" in texts]
    kept = left([DuplicatesFilter(exact=True)], *rows, hubs=("en", "zh"))
    assert set().union(*map(hub_pairs, rows)) == set().union(*map(hub_pairs, kept.values()))
    seen: set[tuple[str, str, str, str]] = set()
    for name, texts in kept.items():
        assert hub_pairs(texts) - seen
        seen |= hub_pairs(rows[int(name.removeprefix("c:"))])


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, by=st.sampled_from(["pair", "text"]))
def test_texts_that_stand_alone_are_compared_by_text(rows: list[dict[str, str]], by: str) -> None:
    kept = left([DuplicatesFilter(by=by)], *rows, pairs=False, min_languages=1)
    found = [item for texts in kept.values() for item in texts.items()]
    assert sorted(found) == sorted({item for texts in rows for item in texts.items()})


def test_many_parts_and_flushes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {n * n % 701}" for n in range(3000)]
    rows = items(*({"en": text, "de": f"{text} {n % 3}"} for n, text in enumerate(texts)))
    whole = run([DuplicatesFilter(), DuplicatesFilter(by="source")], rows)[0]
    assert [row.texts["en"] for _, row in whole] == list(dict.fromkeys(texts))
    monkeypatch.setattr(repeats_module, "_BUFFERED", 100)
    assert run([DuplicatesFilter(), DuplicatesFilter(by="source")], rows)[0] == whole


SENTENCE = "The committee will meet again on Tuesday morning to discuss the remaining questions of the budget"


def test_near_duplicates_are_those_above_the_threshold() -> None:
    rows = pairs(
        (SENTENCE, "x" * 30),
        (SENTENCE.replace("Tuesday", "Monday"), "y" * 30),
        (SENTENCE[: len(SENTENCE) // 2], "z" * 30),
        ("Nothing of this kind was ever said to anybody in the whole of the long afternoon", "w" * 30),
        (SENTENCE.upper() + "!", "v" * 30),
    )
    by_source = NearDuplicatesFilter(by="source", threshold=0.7)
    assert kept_numbers(by_source, *rows) == [0, 2, 3]
    assert kept_numbers(NearDuplicatesFilter(by="target", threshold=0.7), *rows) == [0, 1, 2, 3, 4]
    assert kept_numbers(NearDuplicatesFilter(threshold=0.95), *rows) == [0, 1, 2, 3]  # its target is one n-gram
    words = NearDuplicatesFilter(by="source", threshold=0.6, of="words", ngram=2)
    assert kept_numbers(words, *rows) == [0, 2, 3]


def test_short_texts_are_near_only_to_equal_ones() -> None:
    rows = pairs(("Yes", "a"), ("Yes.", "b"), ("No", "c"), ("是", "d"), ("否", "e"), ("...", "f"), ("Yet", "g"))
    assert kept_numbers(NearDuplicatesFilter(by="source"), *rows) == [0, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("letters", ["aeinrst", "аеинорст", "ابترسل", "कखगतनम", "一不中人大的", "가나다라마"])
def test_estimates_are_true_in_every_script(letters: str) -> None:
    """Against Jaccard similarities counted out, on texts of which a growing part was replaced by others."""
    choose = random.Random(0)
    texts = [" ".join("".join(choose.choices(letters, k=4)) for _ in range(20)) for _ in range(300)]
    changed = [text[: len(text) * (n % 10) // 9] + texts[n - 1][:20] for n, text in enumerate(texts)]
    judge = NearDuplicatesFilter(ngram=3)
    first, second = (judge.fingerprints([Unit("en", (text,)) for text in side]) for side in (texts, changed))
    estimated = (first.signatures == second.signatures).mean(axis=1)
    exact = np.array([_jaccard(a, b) for a, b in zip(texts, changed, strict=True)])
    assert exact.min() < 0.3 < 0.8 < exact.max()
    expected_deviation = np.sqrt((exact * (1 - exact)).mean() / NUM_VALUES)
    assert abs((estimated - exact).mean()) < 0.01
    assert np.sqrt(((estimated - exact) ** 2).mean()) < 1.4 * expected_deviation
    shares_band = (first.keys == second.keys).any(axis=1)
    assert shares_band[exact >= 0.8].mean() > 0.9
    assert shares_band[exact < 0.3].mean() < 0.05


def _jaccard(a: str, b: str) -> float:
    sets = []
    for text in (" ".join(fold(a)), " ".join(fold(b))):
        sets.append({text[at : at + 3] for at in range(len(text) - 2)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_bands_reach_pairs_at_the_threshold() -> None:
    for threshold in (0.5, 0.7, 0.8, 0.9):
        num_rows = rows_of_band(threshold)
        assert 1 - (1 - threshold**num_rows) ** (NUM_VALUES // num_rows) >= 0.95
        assert 1 - (1 - threshold ** (num_rows + 1)) ** (NUM_VALUES // (num_rows + 1)) < 0.95
    assert rows_of_band(1.0) == NUM_VALUES


def test_sides_of_a_pair_are_told_apart() -> None:
    swapped = pairs((SENTENCE, "y" * 5), ("y" * 5, SENTENCE))
    assert kept_numbers(NearDuplicatesFilter(), *swapped) == [0, 1]


def test_resolving_reads_signatures_of_candidates_only(tmp_path: Path) -> None:
    judge = NearDuplicatesFilter()
    store = Repeats(judge, tmp_path)
    for start in range(0, 60, 20):
        store.add(
            judge.fingerprints(
                [Unit("en", (f"{SENTENCE} {n % 30} {SENTENCE[n % 30 :]}",)) for n in range(start, start + 20)]
            )
        )
    flags = store.resolve()
    assert flags[30:].all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flags", "signatures"]


def test_fingerprints_do_not_depend_on_the_process() -> None:
    code = (
        "from hexapla.data.filters.near_duplicates import *; from hexapla.data.filters.duplicates import *\n"
        "units = [Unit('en-de', ('One two three four', 'Eins zwei drei'))]\n"
        "for each in (DuplicatesFilter(), NearDuplicatesFilter()): print(each.fingerprints(units).keys.tolist())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        found.add(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment).stdout)
    assert len(found) == 1


def test_settings_out_of_range_are_refused() -> None:
    for settings_given in ({"threshold": 0}, {"threshold": 1.1}, {"ngram": 0}, {"by": "both"}):
        with pytest.raises(ValidationError):
            NearDuplicatesFilter.model_validate(settings_given)
