"""The settings of the losses: the paper's defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.spec import AlignSpec
from hexapla.train.spec import TrainSpec


def test_defaults_are_the_papers() -> None:
    spec = AlignmentSpec()
    assert (spec.semantic, spec.temperature, spec.matching, spec.matching_width) == (0.3, 0.1, 0.4, 128)
    assert spec.layer * 32 == 16
    assert not spec.symmetric
    assert spec.acts


@pytest.mark.parametrize("layer", [1, 16, 0.5, 1.0])
def test_layers_keep_their_kind(layer: int | float) -> None:
    spec = AlignmentSpec.model_validate_json(AlignmentSpec(layer=layer).model_dump_json())
    assert spec.layer == layer
    assert type(spec.layer) is type(layer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 0}, "counted from 1"),
        ({"layer": -3}, "counted from 1"),
        ({"layer": 1.5}, "a share of the depth"),
        ({"layer": 0.0}, "a share of the depth"),
        ({"layer": float("nan")}, "a share of the depth"),
        ({"layer": "middle"}, "an index such as 16"),
        ({"layer": True}, "an index such as 16"),
        ({"semantic": -0.1}, "greater than or equal to 0"),
        ({"semantic": float("inf")}, "finite"),
        ({"matching": -1}, "greater than or equal to 0"),
        ({"matching": float("nan")}, "finite"),
        ({"temperature": 0}, "greater than 0"),
        ({"temperature": float("inf")}, "finite"),
        ({"contrast": 1}, "greater than or equal to 2"),
        ({"matching_width": 0}, "greater than or equal to 1"),
        ({"lambda": 1}, "Extra inputs"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AlignmentSpec(**settings)


@pytest.mark.parametrize(("semantic", "matching", "acts"), [(0, 0, False), (0.1, 0, True), (0, 0.1, True)])
def test_losses_without_weight_do_nothing(semantic: float, matching: float, acts: bool) -> None:
    assert AlignmentSpec(semantic=semantic, matching=matching).acts is acts
    given = AlignmentSpec(semantic=semantic, matching=matching)
    expected = given if acts else None
    assert TrainSpec(objectives=given).acting_objectives == expected
    assert AlignSpec(objectives=given).acting_objectives == expected
    assert TrainSpec().acting_objectives is None
