"""Settings that cannot work are refused, and languages may be spelled in any way."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.synthesize.world import World


def test_languages_become_codes(world: World) -> None:
    spec = world.spec("x", source="English", targets=["deu_Latn", "French"], pivot="zh-CN")
    assert (spec.source, spec.targets, spec.pivot, spec.made) == ("en", ("de", "fr"), "zh", ("zh", "de", "fr"))
    assert [str(direction) for direction in spec.directions] == ["en-zh", "zh-de", "zh-fr"]
    assert [str(direction) for direction in world.spec("x").directions] == ["en-de", "en-fr"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": []}, "at least 1"),
        ({"targets": ["de", "German"]}, "named twice"),
        ({"targets": ["de", "en"]}, "en is the language of the text"),
        ({"pivot": "en"}, "pivot: en is the source or a target already"),
        ({"pivot": "fr"}, "pivot: fr is the source or a target already"),
        ({"pivot": "Elvish"}, "Elvish"),
        ({"source": "Elvish"}, "Elvish"),
        ({"targets": ["Elvish"]}, "Elvish"),
        ({"translate": {"pmp": "given"}}, "no given auxiliary text"),
        ({"sources": []}, "at least 1"),
        ({"keep": {"best": 0}}, "greater than 0"),
        ({"keep": {"threshold": 1.5}}, "less than or equal to 1"),
    ],
)
def test_refusals(world: World, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        world.spec("x", **settings)


def test_two_sources_of_one_name(world: World) -> None:
    source = world.text("x")
    with pytest.raises(ValidationError, match="two corpora are called mono"):
        world.spec(sources=[source, {**source, "rows": "0:1"}])
    world.spec(sources=[source, {**source, "name": "other"}])
