"""Variants and sweeps: each part is the recipe with some settings changed, refused at once when one is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.recipe import Recipe

MINIMAL: dict[str, Any] = {
    "name": "mini",
    "base": "builtin:tiny",
    "languages": ["en", "de", "nb"],
    "groups": {"germanic": ["de", "nb"]},
    "data": {"train": [{"reader": "phrasebook"}], "test": [{"reader": "phrasebook", "split": "test"}]},
    "train": {"strategy": "multilingual"},
}


def recipe(**sections: Any) -> Recipe:
    return Recipe.parse({**MINIMAL, **sections})


def test_without_variants_the_recipe_is_its_only_part() -> None:
    one = recipe()
    assert one.parts == {"": one}


def test_a_variant_differs_in_its_settings_only() -> None:
    parts = recipe(variants={"plain": {}, "thin": {"data.downsample.to_hub": 0.1, "train.epochs": 3}}).parts
    assert list(parts) == ["plain", "thin"]
    assert parts["plain"] == recipe()
    assert parts["thin"] == recipe(
        data={**MINIMAL["data"], "downsample": {"to_hub": 0.1}}, train={"strategy": "multilingual", "epochs": 3}
    )


def test_a_section_can_be_taken_away() -> None:
    whole = recipe(data={**MINIMAL["data"], "downsample": {}}, variants={"all": {"data.downsample": None}, "p": {}})
    assert whole.parts["all"].data.downsample is None
    assert whole.parts["p"].data.downsample is not None


def test_a_sweep_names_its_parts_by_value_and_follows_the_variants() -> None:
    swept = recipe(variants={"plain": {}}, sweep={"data.downsample.to_hub": [0, 0.005, 1]})
    assert list(swept.parts) == ["plain", "to_hub=0", "to_hub=0.005", "to_hub=1"]
    shares = [part.data.downsample.to_hub for part in list(swept.parts.values())[1:] if part.data.downsample]
    assert shares == [0, 0.005, 1]


def test_the_resolved_recipe_has_the_same_parts() -> None:
    swept = recipe(variants={"full": {"train.method": "full", "train.optimizer.lr": 2e-5}}, sweep={"seed": [1, 2]})
    again = Recipe.parse(yaml.safe_load(yaml.safe_dump(swept.resolved())))
    assert again.parts == swept.parts


@pytest.mark.parametrize(
    ("sections", "parts"),
    [
        ({"variants": {"a": {"train.lorra.rank": 2}}}, ["variant a", "train.lorra", "lora"]),
        ({"variants": {"a b": {}}}, ["'a b'", "name"]),
        ({"variants": {"a+b": {}}}, ["'a+b'"]),
        ({"variants": {"a": {"train.strategy": ["separate", "group"]}}}, ["a: ", "one strategy"]),
        ({"variants": {"a": {}}, "analyze": {"conflict": {}}}, ["analyze.conflict"]),
        ({"sweep": {"data.downsample.to_hub": [0, 2]}}, ["to_hub=2", "less than or equal to 1"]),
        ({"sweep": {"data.downsample.to_hub": [0.5]}}, ["at least two"]),
        ({"sweep": {"seed": [1, 1]}}, ["twice"]),
        ({"sweep": {"seed": [1, 2], "train.epochs": [1, 2]}}, ["one setting", "train.epochs"]),
        ({"variants": {"seed=1": {}}, "sweep": {"seed": [1, 2]}}, ["seed=1"]),
        ({"pretrain": {}}, ["pretrain needs text"]),
        ({"train": {"method": "full", "strategy": "multilingual"}}, ["optimizer.lr"]),
        ({"train": {"method": "full", "optimizer": {"lr": 1e-4}}}, ["multilingual"]),
        ({"data": {**MINIMAL["data"], "downsample": {"to_hub": -0.1}}}, ["data.downsample.to_hub"]),
        ({"hubs": ["en", "zh"]}, ["zh"]),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_place(sections: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        recipe(**sections)
    for part in parts:
        assert part in caught.value.paragraph()


def test_the_papers_configuration() -> None:
    lmt = Recipe.load("lmt-60-qwen3-4b")
    directions = lmt.layout.directions
    assert len(directions) == 234
    assert sum(direction.target == "en" for direction in directions) == 59
    assert sum("zh" in direction and "en" not in direction for direction in directions) == 116
    assert Direction("zh", "en") in directions
    assert lmt.pretrain is not None
    assert (lmt.pretrain.batch, lmt.pretrain.length, lmt.pretrain.optimizer.lr) == (1536, 2048, 2e-5)
    assert lmt.data.downsample is not None
    assert lmt.data.downsample.to_hub == 0.05
