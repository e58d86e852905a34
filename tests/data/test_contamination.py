"""What counts as a test sentence seen in training, and what is done about it."""

from __future__ import annotations

from typing import Any

import pytest

from hexapla.common.errors import UserError
from hexapla.data.contamination import MAX_SAMPLES, ContaminationSpec, TestIndex, refuse
from hexapla.data.matching import exact_key, fold, passages
from hexapla.data.rows import Row

LONG = "the quick brown fox jumps over the lazy dog while seven small birds watch it from an old oak tree"
CHINESE = "国务院总理昨天下午在北京会见了来自三十个国家和地区的代表并就今后的经济合作交换了意见"


def row(name: str, **texts: str) -> Row:
    return Row(name, texts, name.partition(":")[0])


def found(train: list[Row], tests: dict[str, list[Row]], **settings: Any) -> dict[str, Any]:
    index = TestIndex(ContaminationSpec(**settings), tests)
    for item in train:
        index.check(item)
    return index.report()


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Thank you.", "thank you", True),
        ("“Clean water is scarce.”", 'Clean water is scarce."', True),
        ("Straße", "STRASSE", True),
        ("ﬁne", "fine", True),
        ("ＡＢＣ", "abc", True),
        ("می‌شود", "میشود", True),
        ("我 喝茶。", "我喝茶", True),
        ("It costs 3.50", "It costs 350", False),
        ("at 1:15", "at 11:5", False),
        ("5 + 3", "5 3", False),
        ("père", "pere", False),
        ("où", "ou", False),
    ],
)
def test_what_is_equal(a: str, b: str, same: bool) -> None:
    assert (exact_key(fold(a)) == exact_key(fold(b))) is same


def test_passages_are_words_or_characters_by_script() -> None:
    assert len(list(passages(fold("one " * 12), 13))) == 0
    assert len(list(passages(fold("one " * 15), 13))) == 3
    assert len(list(passages(["字" * 25], 13))) == 0
    assert len(list(passages(["字" * 30], 13))) == 5
    assert len(list(passages(["ก" * 53], 13))) == 2


def test_exact_match_counts_whatever_its_length_but_only_in_its_language() -> None:
    tests = {"set": [row("set:0", en="Yes.", de="Ja."), row("set:1", en="Taxi!", de="Taxi!")]}
    report = found([row("a:0", en="yes", de="Jawohl"), row("a:1", fr="Taxi", it="Taxi")], tests)["set"]
    assert report["exact"] == {"en": 1}
    assert report["test_rows_seen"] == 1
    assert report["rows_concerned"] == 1
    assert report["by_corpus"] == {"a": 1}
    sample = report["samples"][0]
    assert (sample["test_row"], sample["row"], sample["language"], sample["text"]) == ("set:0", "a:0", "en", "yes")


def test_sentences_without_letters_never_match() -> None:
    assert found([row("a:0", en="...", de="!")], {"set": [row("set:0", en="…", de="!")]})["set"]["rows_concerned"] == 0


@pytest.mark.parametrize(("language", "text"), [("en", LONG), ("zh", CHINESE)])
def test_long_passages_overlap(language: str, text: str) -> None:
    tests = {"set": [row("set:0", **{language: text, "de": "x1"})]}
    inside = row("a:0", **{language: f"{text[:8]} {text} and then some more 字", "de": "y"})
    report = found([inside], tests)["set"]
    assert report["exact"] == {}
    assert report["overlap"] == {language: 1}
    assert report["samples"][0]["share"] == 1.0


def test_a_small_share_is_no_overlap() -> None:
    tests = {"set": [row("set:0", en=LONG, de="x")]}
    start = " ".join(LONG.split()[:14])
    train = [row("a:0", en=f"{start} goes home", de="y")]
    assert found(train, tests)["set"]["overlap"] == {}
    report = found(train, tests, overlap=0.2)["set"]
    assert report["overlap"] == {"en": 1}
    assert report["samples"][0]["share"] == round(2 / 8, 3)


def test_a_repeated_passage_counts_once() -> None:
    tests = {"set": [row("set:0", en=" ".join(["word"] * 40), de="x")]}
    report = found([row("a:0", en=" ".join(["word"] * 20), de="y")], tests)["set"]
    assert report["samples"][0]["share"] == 1.0


def test_samples_are_bounded_and_counts_are_not() -> None:
    tests = {"set": [row(f"set:{n}", en=f"sentence {n}", de=f"Satz {n}") for n in range(50)]}
    report = found([row(f"a:{n}", en=f"sentence {n}", de="nein") for n in range(50)], tests)["set"]
    assert len(report["samples"]) == MAX_SAMPLES
    assert report["exact"] == {"en": 50}
    assert report["test_rows_seen"] == 50


def test_refusal_names_set_corpus_and_example() -> None:
    tests = {"clean": [row("clean:0", en="Nothing.", de="Nichts.")], "set": [row("set:0", en="Yes.", de="Ja.")]}
    report = found([row("a:0", en="yes", de="Ja")], tests)
    with pytest.raises(
        UserError, match=r"1 of 1 rows of 'set' \(by 1 rows of a; for example a:0, en: 'Yes\.'\)"
    ) as caught:
        refuse(report, ["clean", "set"])
    assert "allow: [set]" in str(caught.value)
    refuse(report, ["clean"])
