"""What a corpus holds, counted by hand; repetition in bounded memory."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.seeds import derive_seed
from hexapla.data.inspect import EXACT_LENGTH, CorpusRecord, Lengths, Repeated, inspect_rows
from hexapla.data.inspection_text import inspection_text
from hexapla.data.occurrences import NUM_CANDIDATES, SAMPLE_LENGTH, Frequent, Occurrences
from hexapla.data.records import Reason, SetAside
from hexapla.data.rows import Row

ITEMS = [
    Row("c:1", {"en": "Good day.", "de": "Guten Tag.", "zh": "你好 hi"}, "c", "doc"),
    Row("c:2", {"en": "Good day.", "de": "Tag!"}, "c", synthetic={"de": "pool-a"}),
    SetAside("c", 3, Reason.EMPTY, "de"),
    Row("c:3", {"en": "OK", "de": "OK"}, "c"),
    Row("c:4", {"de": "OK", "en": "OK"}, "c"),  # the same row again, the other way round
    Row("c:5", {"en": "Yes, of course.", "zh": "当然"}, "c"),
    SetAside("c", 6, Reason.CONTROL_CHARACTER, "zh", row_kept=True),
]


@pytest.fixture(scope="module")
def record() -> CorpusRecord:
    return inspect_rows("c", ITEMS, ("en", "zh", "fr"))


def test_rows(record: CorpusRecord) -> None:
    assert (record.num_rows, record.num_documents_rows) == (5, 1)
    assert record.num_duplicate_rows == 1
    assert record.num_identical_sides == 2
    assert record.hubs == ("en", "zh")
    assert record.widths == {2: 4, 3: 1}
    assert record.pairs == {"en": {"de": 4, "zh": 2}, "zh": {"de": 1, "en": 2}}
    assert record.rows_set_aside == {"empty-side": 1}
    assert record.texts_set_aside == {"control-character": 1}


def test_a_row_with_the_same_texts_in_swapped_languages_is_no_duplicate() -> None:
    rows = [Row("c:1", {"en": "a", "de": "b"}, "c"), Row("c:2", {"en": "b", "de": "a"}, "c")]
    assert inspect_rows("c", rows, ()).num_duplicate_rows == 0


def test_lengths(record: CorpusRecord) -> None:
    # characters 9, 9, 2, 2, 15; words 2, 2, 1, 1, 3
    english = record.languages["en"]
    assert english.characters == Lengths(min=2, p5=2, p25=2, median=9, p75=9, p95=15, max=15, mean=37 / 5)
    assert english.words == Lengths(min=1, p5=1, p25=1, median=2, p75=2, p95=3, max=3, mean=9 / 5)
    assert record.languages["zh"].words is None


def test_half_of_the_texts_are_no_longer_than_the_median() -> None:
    rows = [Row(f"c:{number}", {"en": "a" * number, "de": "a"}, "c") for number in (4, 2, 3, 1)]
    found = inspect_rows("c", rows, ()).languages["en"].characters
    assert (found.p25, found.median, found.p75, found.p95) == (1, 2, 3, 4)


def test_long_lengths_are_rounded_and_short_ones_are_not() -> None:
    rows = [Row("c:1", {"en": "a" * (EXACT_LENGTH - 1), "de": "a" * 123_456}, "c")]
    found = inspect_rows("c", rows, ())
    assert found.languages["en"].characters.max == 999
    assert found.languages["de"].characters.max == 123_000


def test_scripts(record: CorpusRecord) -> None:
    chinese = record.languages["zh"]  # 你好 hi, 当然: four letters of six
    assert chinese.scripts == {"Han": pytest.approx(4 / 6), "Latin": pytest.approx(2 / 6)}
    assert chinese.script_share == pytest.approx(4 / 6)
    assert record.languages["en"].script_share == 1
    repeated = inspect_rows("c", [Row("c:1", {"ja": "ああア ok", "de": "?"}, "c")], ()).languages["ja"]
    assert repeated.scripts == {"Hiragana": 0.4, "Katakana": 0.2, "Latin": 0.4}
    assert repeated.script_share == pytest.approx(0.6)
    assert inspect_rows("c", [Row("c:1", {"en": "12", "de": "?"}, "c")], ()).languages["en"].script_share is None


def test_repetition(record: CorpusRecord) -> None:
    english, german = record.languages["en"], record.languages["de"]
    assert (english.num_texts, english.num_distinct, english.num_duplicates) == (5, 3, 2)
    assert english.occurrences == {1: 1, 2: 2}
    assert english.most_repeated == (Repeated("Good day.", 2, True), Repeated("OK", 2, True))
    assert german.occurrences == {1: 2, 2: 1}
    assert english.counted_share == 1


def test_targets_are_of_examples_between_a_hub_and_another_language(record: CorpusRecord) -> None:
    # Into English from German: "Good day." twice, "OK" twice; the last row has hubs only.
    assert record.languages["en"].targets == {2: 2}
    # Into German: "Guten Tag." from English and Chinese, "Tag!" from English, "OK" twice from English.
    assert record.languages["de"].targets == {1: 1, 2: 2}
    assert record.languages["zh"].targets == {1: 1}


def test_synthetic_texts_are_counted_by_maker(record: CorpusRecord) -> None:
    assert record.languages["de"].synthetic == {"pool-a": 1}
    assert record.languages["en"].synthetic == {}


def test_the_text_says_what_the_record_says(record: CorpusRecord) -> None:
    text = inspection_text(record)
    assert "c: 5 rows in 3 languages; 1 duplicate rows; 2 rows with the same text" in text
    assert "set aside, records: empty-side 1" in text
    lines = [line.split() for line in text.splitlines()]
    # own script, distinct, repeated, most often
    assert next(line for line in lines if line[:2] == ["zh", "2"])[-4:] == ["66.7", "2", "0.0", "1"]
    assert next(line for line in lines if line[:2] == ["en", "5"])[-4:] == ["100.0", "3", "40.0", "2"]
    assert ["2", "4", "80.0"] in lines
    assert ["de", "4", "1"] in lines
    assert ["en", "2"] in lines  # rows with Chinese; there is no pair of English with itself
    assert ["2", "2", "(100.0", "%)", "0", "(0.0", "%)"] in lines
    assert ["de", "pool-a", "1", "25.0"] in lines
    assert "estimated" not in text


@given(keys=st.lists(st.integers(0, 2**63 - 1), max_size=60), repeat=st.integers(1, 4))
def test_occurrences_are_exact_below_the_limit(keys: list[int], repeat: int) -> None:
    counted = Occurrences()
    stream = keys * repeat
    for number, key in enumerate(stream):
        counted.add(key, number % 3, limit=1000)
        if number % 7 == 0:
            counted.settle(1000)
    counted.settle(1000)
    expected = Counter(stream)
    assert counted.histogram() == dict(sorted(Counter(expected.values()).items()))
    weights: Counter[int] = Counter()
    for number, key in enumerate(stream):
        weights[key] += number % 3
    assert counted.histogram(weighted=True) == dict(sorted(Counter(w for w in weights.values() if w).items()))
    assert all(counted.count(key) == expected[key] for key in keys)
    assert counted.share == 1


@settings(max_examples=20)
@given(limit=st.integers(50, 400), times=st.integers(1, 3))
def test_beyond_the_limit_a_sample_of_the_texts_is_counted_whole(limit: int, times: int) -> None:
    counted = Occurrences()
    keys = [derive_seed(0, str(number)) for number in range(1000)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hexapla.data.occurrences._MIN_BUFFER", 16)  # so that the sample is begun long before the end
        for key in keys * times:
            counted.add(key, 1, limit)
    counted.settle(limit)
    histogram = counted.histogram()
    assert set(histogram) == {times}  # of each text in the sample every occurrence is counted
    assert histogram[times] <= limit
    assert counted.share < 1
    assert histogram[times] / counted.share == pytest.approx(1000, rel=0.5)
    assert {counted.count(key) for key in keys} == {None, times}


def test_a_corpus_beyond_the_limit_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hexapla.data.inspect.MAX_DISTINCT", 900)
    rows = [Row(f"c:{n}", {"en": f"Number {n // 2}.", "de": f"Nummer {n}."}, "c") for n in range(4000)]
    found = inspect_rows("c", rows, ("en",))
    english, german = found.languages["en"], found.languages["de"]
    assert english.counted_share in (1 / 8, 1 / 16)
    assert english.num_distinct == pytest.approx(2000, rel=0.2)
    assert english.num_duplicates == 4000 - english.num_distinct
    assert german.num_distinct == pytest.approx(4000, rel=0.2)
    assert set(english.targets) == set(english.occurrences) == {2}
    assert sum(english.occurrences.values()) <= 300
    assert "estimated from a sample of the distinct texts in: de, en" in inspection_text(found)


def test_a_hash_table_is_settled_before_it_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hexapla.data.occurrences._MIN_BUFFER", 64)
    counted = Occurrences()
    for number in range(5000):
        counted.add(derive_seed(0, str(number % 100)), 1, limit=1000)
        assert len(counted._new_keys) <= 100
    counted.settle(1000)
    assert counted.histogram() == {50: 100}


def test_frequent_texts_are_found_among_many_others() -> None:
    found = Frequent()
    for number in range(4 * NUM_CANDIDATES):
        found.add(number, f"rare {number}")
        if number % 100 == 0:
            found.add(-1, "often " * 100)
    by_key = {key: (text, at_least) for key, text, at_least in found.candidates()}
    assert len(by_key) <= NUM_CANDIDATES
    text, at_least = by_key[-1]
    assert text == ("often " * 100)[:SAMPLE_LENGTH]
    assert 200 - 4 * NUM_CANDIDATES // NUM_CANDIDATES - 1 <= at_least <= 200


@given(stream=st.lists(st.integers(0, 8), max_size=60))
def test_no_text_that_is_frequent_enough_is_missed(stream: list[int]) -> None:
    num_candidates = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hexapla.data.occurrences.NUM_CANDIDATES", num_candidates)
        found = Frequent()
        for key in stream:
            found.add(key, str(key))
    at_least = {key: count for key, _, count in found.candidates()}
    slack = len(stream) / (num_candidates + 1)
    for key, number in Counter(stream).items():
        assert number - slack <= at_least.get(key, 0) <= number
