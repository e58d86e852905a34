"""The section `analyze` of a recipe."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hexapla.analyze.spec import AnalyzeSpec
from hexapla.common.spec import validation_message


def test_numbers_and_lists_in_any_spelling() -> None:
    spec = AnalyzeSpec.model_validate({"conflict": {"languages": [4, ["English", "deu"], 16]}})
    assert spec.conflict is not None
    assert spec.conflict.languages == (4, ("en", "de"), 16)
    assert AnalyzeSpec.model_validate(spec.resolved()) == spec


def test_nothing_is_analysed_unless_asked() -> None:
    assert AnalyzeSpec().conflict is None
    asked = AnalyzeSpec.model_validate({"conflict": {}})
    assert asked.conflict is not None
    assert asked.conflict.languages == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4, "give a list"),
        ("4", "give a list"),
        ([True], "True is neither"),
        ([4.5], "4.5 is neither"),
        ([[4]], "[4] is neither"),
        ([["en", "klingon"]], "'klingon'"),
    ],
)
def test_wrong_sets_are_named_with_their_path(value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AnalyzeSpec.model_validate({"conflict": {"languages": value}})
    text = validation_message(caught.value, AnalyzeSpec).paragraph()
    assert text.startswith("conflict.languages: ")
    assert message in text
