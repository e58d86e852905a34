"""Every language of the phrasebook: complete, well-formed, in its script, without ambiguity, and as proof-read."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from hexapla.phrasebook.corpus import SPLITS, rows
from hexapla.phrasebook.language import codes, gaps
from hexapla.phrasebook.show import golden
from hexapla.phrasebook.tables import read_table

GOLDEN = Path(__file__).parent / "golden"

LETTERS = {
    "Latin": "LATIN",
    "Cyrillic": "CYRILLIC",
    "Greek": "GREEK",
    "Devanagari": "DEVANAGARI",
    "Arabic": "ARABIC",
    "Han": "CJK UNIFIED",
}
FULL_STOPS = {"Devanagari": "।?!", "Arabic": "۔؟!", "Han": "。？！", "Greek": ".;!"}


@pytest.fixture(params=codes())
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def texts(code: str) -> dict[str, str]:
    return {row.id: row.texts[code] for split in SPLITS for row in rows(split, [code])}


@pytest.fixture
def script(code: str) -> str:
    return str(read_table(f"lexicon/{code}.yaml")["script"])


def test_says_every_meaning(code: str) -> None:
    assert gaps(code) == []


def test_no_two_meanings_read_the_same(texts: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for name, text in texts.items():
        # Case and Unicode form are folded too: a test sentence must not be a training sentence in other dress.
        folded = unicodedata.normalize("NFKC", text).casefold()
        assert folded not in first, f"{name} and {first[folded]} both read {text!r}"
        first[folded] = name


def test_letters_are_of_the_script(texts: dict[str, str], script: str) -> None:
    allowed = LETTERS[script]
    letters = {letter for text in texts.values() for letter in text if letter.isalpha() or letter.isdigit()}
    strange = {letter for letter in letters if not letter.isascii() or letter.isalpha()}
    assert {letter for letter in strange if not unicodedata.name(letter).startswith(allowed)} == set()


def test_text_is_clean(texts: dict[str, str], script: str) -> None:
    for name, text in texts.items():
        where = f"{name}: {text!r}"
        assert unicodedata.normalize("NFC", text) == text, where
        assert not re.search(r"  |[{}\[\]|=@~_]|\s[.,!?;؟۔。，]|^\s|\s$|[\t\n]", text), where
        assert text[-1] in FULL_STOPS.get(script, ".?!"), where
        initial = text.lstrip("¿¡")[0]
        assert not initial.islower(), where


def test_questions_are_marked_in_every_language(texts: dict[str, str], code: str) -> None:
    marks = {".": ".۔。।", "!": "!！", "?": "?？؟;"}
    english = {row.id: row.texts["en"] for split in SPLITS for row in rows(split, ["en"])}
    for name, text in texts.items():
        assert text[-1] in marks[english[name][-1]], f"{name}: {text!r}"


def test_golden(code: str) -> None:
    assert (GOLDEN / f"{code}.txt").read_text(encoding="utf-8").splitlines() == list(golden(code))
