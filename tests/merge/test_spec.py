"""Settings of merging: what a recipe may say, what is filled in, what is refused and with which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hexapla.common.spec import validation_message
from hexapla.merge.spec import MergeSpec


def test_recipe_of_the_paper() -> None:
    spec = MergeSpec.model_validate({"operator": "ties", "density": 0.2, "scope": "to-hub", "by": "group"})
    assert spec.resolved() == {
        "operator": "ties",
        "density": 0.2,
        "scale": 1.0,
        "weights": None,
        "normalize": False,
        "dialect": "reference",
        "ties": {
            "trim": "vector",
            "kept": "floor-plus-one",
            "majority_sign": "total",
            "weighting": "none",
            "divisor": "count",
            "zero_sum": "majority",
        },
        "space": "delta",
        "scope": "to-hub",
        "by": "group",
        "rank": None,
    }
    assert MergeSpec() == spec


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"operator": "linear"},
        {"operator": "dare", "density": 0.5, "weights": {"de-en": 2}},
        {"operator": "dare-ties", "dialect": "mergekit"},
        {"dialect": "peft", "ties": {"majority_sign": "frequency"}},
        {"space": "factors"},
    ],
)
def test_resolved_settings_are_accepted_again(given: dict[str, Any]) -> None:
    spec = MergeSpec.model_validate(given)
    assert MergeSpec.model_validate(spec.resolved()) == spec


def test_dialects_set_every_choice() -> None:
    peft = MergeSpec(dialect="peft").choices
    assert (peft.trim, peft.kept, peft.weighting, peft.divisor, peft.zero_sum) == (
        "tensor",
        "floor",
        "after-election",
        "count",
        "positive",
    )
    mergekit = MergeSpec(dialect="mergekit").choices
    assert (mergekit.weighting, mergekit.divisor) == ("before-election", "weight-sum")
    assert MergeSpec(operator="dare-ties", dialect="mergekit").choices.divisor == "one"
    assert MergeSpec(space="factors").dialect == "peft"


def test_one_choice_departs_from_the_dialect() -> None:
    choices = MergeSpec.model_validate({"dialect": "peft", "ties": {"majority_sign": "frequency"}}).choices
    assert choices.majority_sign == "frequency"
    assert choices.kept == "floor"


def test_linear_is_a_mean_unless_told() -> None:
    assert MergeSpec(operator="linear").normalize is True
    assert MergeSpec(operator="linear", normalize=False).normalize is False
    assert MergeSpec(operator="linear").density is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"operator": "tise"}, "operator"),
        ({"densty": 0.2}, "Did you mean 'density'"),
        ({"density": 1.5}, "density"),
        ({"density": float("nan")}, "density"),
        ({"scale": float("inf")}, "scale"),
        ({"operator": "linear", "density": 0.5}, "the operator linear keeps every entry; leave density out"),
        ({"operator": "dare", "density": 0}, "density must be above 0"),
        ({"operator": "linear", "dialect": "peft"}, "only ties and dare-ties elect signs"),
        ({"operator": "dare", "ties": {"trim": "tensor"}}, "only ties and dare-ties elect signs"),
        ({"weights": {"de-en": 2}}, "the dialect reference has no weights"),
        ({"normalize": True}, "there are no weights to normalize"),
        ({"ties": {"divisor": "weight-sum"}}, "ties.divisor weight-sum needs weights"),
        ({"ties": {"trim": "layer"}}, "ties.trim"),
        ({"ties": {"trimm": "tensor"}}, "Did you mean 'trim'"),
        ({"operator": "dare-ties", "ties": {"trim": "tensor"}}, "dare-ties drops entries at random"),
        ({"space": "factors", "dialect": "reference"}, "factors are merged as peft does"),
        ({"space": "factors", "ties": {"trim": "vector"}}, "set ties.trim to tensor"),
        ({"space": "factors", "rank": 8}, "in the space factors the rank is"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"rank": "half"}, "rank"),
    ],
)
def test_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MergeSpec.model_validate(given)
    assert words in str(validation_message(caught.value, MergeSpec))
