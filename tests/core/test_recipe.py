"""Recipes: strict, overridable, YAML 1.2, every fault named with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hexapla.common.documents import parse_yaml
from hexapla.common.errors import UserError
from hexapla.recipe import Recipe, bundled_recipes

MINIMAL: dict[str, Any] = {
    "name": "mini",
    "base": "builtin:tiny",
    "languages": ["English", "deu_Latn", "no"],
    "groups": {"germanic": ["de", "nb"]},
    "data": {"train": [{"reader": "phrasebook"}], "test": [{"reader": "phrasebook", "split": "test"}]},
}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_languages_come_in_any_spelling() -> None:
    recipe = Recipe.parse(MINIMAL)
    assert recipe.languages == ("en", "de", "nb")
    assert recipe.layout.groups == {"germanic": ("de", "nb")}


def test_named_sets_and_groupings() -> None:
    recipe = Recipe.parse({**MINIMAL, "languages": "dat", "groups": "dat"})
    assert len(recipe.languages) == 50
    assert len(recipe.layout.groups) == 8
    assert len(recipe.plan.jobs) == 57


def test_yaml_is_1_2(tmp_path: Path) -> None:
    text = 'a: no\nb: 2e-3\nc: "1500:"\nd: 0:1500\ne: true\nf: ~\ng: 010\nh: [on, off, yes]\ni: .5\n'
    assert parse_yaml(text, where="x") == {
        "a": "no", "b": 0.002, "c": "1500:", "d": "0:1500", "e": True, "f": None, "g": "010", "h": ["on", "off", "yes"],
        "i": 0.5,
    }  # fmt: skip


def test_overrides_reach_maps_and_lists(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(MINIMAL))
    recipe = Recipe.load(
        path,
        [
            "train.lora.rank=4",
            "data.train.0.name=other",
            "merge.density=0.5",
            "languages=[en, de, nl]",
            "groups.germanic=[de, nl]",
        ],
    )
    assert recipe.train.lora.rank == 4
    assert recipe.data.train[0].name == "other"
    assert recipe.merge is not None
    assert recipe.merge.density == 0.5
    assert recipe.languages == ("en", "de", "nl")


def test_the_resolved_recipe_is_a_recipe() -> None:
    recipe = Recipe.parse({**MINIMAL, "merge": {"operator": "ties"}})
    again = Recipe.parse(parse_yaml(yaml.safe_dump(recipe.resolved(), allow_unicode=True), where="x"))
    assert again == recipe
    assert again.resolved() == recipe.resolved()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"languges": ["en"]}, ["languges: unknown key", "'languages'"]),
        ({"train": {"lora": {"rnak": 8}}}, ["train.lora.rnak: unknown key", "'rank'"]),
        ({"train": {"lora": {"rank": 0}}}, ["train.lora.rank", "given: 0"]),
        ({"train": {"strategy": "direction_aware"}}, ["train.strategy", "'direction-aware'"]),
        ({"languages": ["en", "Germann"]}, ["languages", "German"]),
        ({"languages": "lmtt"}, ["languages", "lmt"]),
        ({"hubs": ["fr"]}, ["hubs", "fr"]),
        ({"groups": "familly"}, ["groups", "'family'"]),
        ({"groups": {"germanic": ["de"]}}, ["In no group: nb"]),
        ({"prompt": "xalma"}, ["prompt", "'x-alma'"]),
        ({"name": "../x"}, ["name"]),
        ({"merge": {"operator": "tie"}}, ["merge.operator"]),
        ({"merge": {}, "train": {"strategy": "multilingual"}}, ["merge.scope", "direction-aware"]),
        ({"evaluate": {"metrics": ["blue"]}}, ["evaluate.metrics", "'bleu'"]),
        ({"evaluate": {"directions": ["de-nb"]}}, ["evaluate.directions", "de-nb"]),
        (
            {"evaluate": {"directions": ["en-nb"]}, "analyze": {"conflict": {"languages": [["en", "de"]]}}},
            ["evaluate.directions", "multilingual@2"],
        ),
        ({"data": {"train": [{"reader": "ntrexx"}], "test": []}}, ["data.train.0"]),
        ({"base": 3}, ["base"]),
    ],
)
def test_faults_are_named_with_their_path(change: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.parse({**MINIMAL, **change}, where="r.yaml")
    message = caught.value.paragraph()
    assert message.startswith("r.yaml: ")
    for part in parts:
        assert part in message


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        Recipe.parse({"nmae": "x", "languages": ["en", "qqqq"], "train": {"batch": 0}})
    for part in ("nmae", "name: required", "base: required", "data: required", "languages", "train.batch"):
        assert part in caught.value.paragraph()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", r"recipe\.yaml:1:8"),
        ("name: a\nname: b\n", "stands twice"),
        ("- a\n", "map of sections"),
        ("", "map of sections"),
        ("name: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe.load(write(tmp_path, text))


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'quickstart'"):
        Recipe.load("quikstart")
    with pytest.raises(UserError, match="is a folder"):
        Recipe.load(tmp_path)
    path = tmp_path / "latin1.yaml"
    path.write_bytes("name: café".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        Recipe.load(path)


@pytest.mark.parametrize("override", ["train", "=3", "train.lora.rank.deep=1", "data.train.7.path=x", "data.train.x=1"])
def test_overrides_that_lead_nowhere(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, yaml.safe_dump({**MINIMAL, "train": {"lora": {"rank": 4}}}))
    with pytest.raises(UserError, match="--set"):
        Recipe.load(path, [override])


def test_byte_order_mark_and_crlf_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(MINIMAL).replace("\n", "\r\n").encode())
    assert Recipe.load(path).name == "mini"


@pytest.mark.parametrize("name", sorted(bundled_recipes()))
def test_every_bundled_recipe_is_valid(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.plan.jobs


def test_settings_of_an_adapter_that_the_plan_lacks_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.adapters: there is no adapter 'de-em'.*de-en"):
        Recipe.load("quickstart", ["train.adapters={de-em: {rank: 8}}"])
    assert Recipe.load("quickstart", ["train.adapters={de-en: {rank: 8}}"]).train.of("de-en").lora.rank == 8


def test_measuring_while_training_needs_development_rows() -> None:
    with pytest.raises(UserError, match=r"train.development needs data.dev, or data.split.dev"):
        Recipe.load("quickstart", ["train.development={every: 0.5}"])
    Recipe.load("quickstart", ["train.development={every: 0.5}", "data.split={dev: 20}"])
