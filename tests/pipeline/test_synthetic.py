"""Pseudo-parallel text inside a recipe: made first, then a corpus like any other, marked, and made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hexapla.common.artifacts import read_jsonl
from hexapla.common.errors import UserError
from hexapla.data.stage import load_corpus
from hexapla.pipeline.run import run_recipe
from hexapla.recipe import Recipe

DOCUMENT: dict[str, Any] = {
    "name": "synthetic",
    "base": "builtin:tiny",
    "prompt": "lmt-cpt",  # what the miniature was pre-trained with: it translates without any training
    "languages": ["en", "de", "es"],
    "groups": {"west": ["de", "es"]},
    "data": {
        "train": [{"reader": "phrasebook", "split": "train", "rows": "0:6"}],
        "test": [{"reader": "phrasebook", "split": "test", "rows": "0:30"}],
    },
    "synthesize": [
        {
            "name": "made",
            "sources": [{"reader": "phrasebook", "name": "mono", "split": "dev", "rows": "0:4"}],
            "source": "en",
            "targets": ["de", "es"],
            "translate": {"beams": 1, "max_length_ratio": 3},
        }
    ],
    "train": {"strategy": "multilingual", "lora": {"rank": 2}, "batch": 8},
    "translate": {"beams": 1, "max_length_ratio": 3},
    "evaluate": {"metrics": ["chrf"], "limit": 1, "baseline": False},
}


def test_synthetic_rows_join_the_corpus_marked_and_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run_recipe(Recipe.parse(DOCUMENT), out)
    [folder] = out.glob("artifacts/synthetic-made-*")
    made = read_jsonl(folder / "rows.jsonl")
    assert made
    [corpus] = out.glob("artifacts/corpus-*")
    rows = load_corpus(corpus).train
    synthetic = {row.id: row for row in rows if row.synthetic}
    assert sorted(synthetic) == sorted(record["id"] for record in made)
    assert len(rows) == 6 + len(made)
    for row in synthetic.values():
        assert row.corpus == "made"
        assert "en" not in row.synthetic
        assert all(maker.startswith("builtin:tiny@") for maker in row.synthetic.values())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr("hexapla.translate.engines.torch_engine.load_model", refuse)
    run_recipe(Recipe.parse(DOCUMENT), out)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"targets": ["de", "fr"]}, ["synthesize made", "en-fr", "languages of this recipe"]),
        ({"name": "phrasebook"}, ["another corpus of that name"]),
        ({"pivot": "en"}, ["synthesize.0", "pivot"]),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_recipe(changes: dict[str, Any], parts: list[str]) -> None:
    document = {**DOCUMENT, "synthesize": [{**DOCUMENT["synthesize"][0], **changes}]}
    with pytest.raises(UserError) as caught:
        Recipe.parse(document)
    for part in parts:
        assert part in caught.value.paragraph()


def test_a_pool_that_lacks_a_direction_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    run_recipe(Recipe.parse({**DOCUMENT, "synthesize": []}), tmp_path / "first")
    spec = {**DOCUMENT["synthesize"][0], "source": "de", "targets": ["es"]}
    spec["pool"] = str(tmp_path / "first" / "pools" / "multilingual")
    with pytest.raises(UserError, match="does not translate de-es"):
        run_recipe(Recipe.parse({**DOCUMENT, "synthesize": [spec]}), tmp_path / "second")
