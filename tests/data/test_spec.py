"""The data section of a recipe: what is refused before any file is read."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from hexapla.data.spec import HELD_OUT_DEV, DataSpec
from tests.data.material import ADAPTER, data_spec, reader

BOOK = {"reader": "phrasebook"}
BOOK_TEST = {"reader": "phrasebook", "split": "test"}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"reader": "moses", "path": "a/Europarl.de-en"}, "Europarl.de-en"),
        ({"reader": "tsv", "path": "a/my file.csv.gz"}, "my_file"),
        ({"reader": "jsonl", "path": "x/train.de-en.json"}, "train.de-en"),
        ({"reader": "tmx", "path": "memory.tmx.zst"}, "memory"),
        ({"reader": "tmx", "path": "翻译.tmx"}, "tmx"),
        ({"reader": "sacrebleu", "testset": "wmt21/dev"}, "wmt21_dev"),
        ({"reader": "hf", "dataset": "org/set", "config": "de-en"}, "set-de-en-train"),
        ({"reader": "ntrex", "path": "x", "name": "news"}, "news"),
    ],
)
def test_names(settings: dict[str, Any], name: str) -> None:
    assert reader(**settings).corpus == name


@pytest.mark.parametrize(
    "settings",
    [
        {"reader": "nothing", "path": "x"},
        {"reader": "tmx", "path": "x", "rowz": "1:"},
        {"reader": "tmx", "path": "x", "rows": "5:5"},
        {"reader": "tmx", "path": "x", "rows": "-5:"},
        {"reader": "tmx", "path": "x", "name": "../x"},
        {"reader": "tmx", "path": "x", "languages": ["en", "Klingonn"]},
        {"reader": "tmx", "path": "x", "languages": ["en", "English"]},
        {"reader": "tmx"},
        {"reader": "flores", "path": "x", "split": "train"},
    ],
)
def test_refused_corpora(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(settings)


def test_languages_are_canonical() -> None:
    assert reader(reader="tmx", path="x", languages=["German", "eng_Latn"]).explicit == ("de", "en")
    assert reader(reader="tsv", path="x", languages={"zho_Hans": 1}).spelling("zh") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": []}, "at least one corpus is needed"),
        ({"train": [{"path": "x"}]}, "a corpus needs a reader: phrasebook, ntrex, "),
        ({"train": ["ntrex"]}, "a corpus needs a reader"),
        ({"train": [{"reader": "phrasbook"}]}, "Did you mean 'phrasebook'"),
        ({"train": [{"reader": "ntrex", "path": "x", "rows": 1500}]}, "a slice is written FIRST:END"),
        ({"train": [BOOK]}, "nothing to test on"),
        ({"train": [BOOK], "test": [BOOK_TEST], "split": {"test": 5}}, "split.test makes the test set"),
        ({"train": [BOOK], "dev": [BOOK], "split": {"test": 5, "dev": 5}}, "split.dev makes the development rows"),
        ({"train": [BOOK, BOOK], "test": [BOOK_TEST]}, "two corpora are called phrasebook"),
        ({"train": [BOOK], "test": [{**BOOK_TEST, "seed": 7}]}, "different corpora are called phrasebook"),
        ({"train": [BOOK], "test": [{**BOOK_TEST, "name": HELD_OUT_DEV}]}, "is taken"),
        (
            {"train": [BOOK], "test": [BOOK_TEST], "contamination": {"allow": ["phrasbook"]}},
            r"no such test set: phrasbook \(there are: phrasebook\)",
        ),
    ],
)
def test_refused_sections(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        data_spec(**settings)


def test_one_source_may_serve_several_sections() -> None:
    spec = data_spec(
        train=[{"reader": "ntrex", "path": "n", "rows": "0:1500"}],
        test=[{"reader": "ntrex", "path": "n", "rows": "1500:"}],
    )
    assert [corpus.corpus for corpus in spec.readers] == ["ntrex", "ntrex"]
    assert DataSpec.model_validate(spec.resolved()) == spec


def test_the_section_loads_without_heavy_packages() -> None:
    code = (
        "import sys, hexapla.data.spec; "
        "print(sorted({'torch', 'transformers', 'lxml', 'sacrebleu', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
