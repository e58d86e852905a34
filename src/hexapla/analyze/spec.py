"""Settings of the recipe's section `analyze`: what is asked of a run beyond its scores."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from hexapla import languages
from hexapla.analyze.representations.spec import RepresentationsSpec
from hexapla.common.errors import UserError
from hexapla.common.spec import Spec


class ConflictSpec(Spec):
    """Conflict and synergy between directions: shared against separate training (DAT, arXiv 2502.11223)."""

    languages: tuple[Annotated[int, Field(strict=True)] | tuple[str, ...], ...] = Field(
        (),
        description="Growing sets of languages to train on together, besides all of them: numbers (hubs included, "
        "chosen round the groups) or lists of languages, each set within the next, such as [4, 8, 16].",
    )

    @field_validator("languages", mode="before")
    @classmethod
    def _numbers_or_lists(cls, value: object) -> object:
        """Refuse in words what pydantic would refuse once for each arm of the union."""
        if not isinstance(value, list | tuple):
            raise ValueError("give a list, such as [4, 8, 16] or [[en, de, nl], 8]")
        for entry in value:
            is_list = isinstance(entry, list | tuple) and all(isinstance(code, str) for code in entry)
            if not is_list and (isinstance(entry, bool) or not isinstance(entry, int)):
                raise ValueError(f"{entry!r} is neither a number of languages nor a list of them")
        return value

    @field_validator("languages")
    @classmethod
    def _canonical(cls, value: tuple[int | tuple[str, ...], ...]) -> tuple[int | tuple[str, ...], ...]:
        try:
            return tuple(
                entry if isinstance(entry, int) else tuple(languages.get(code).code for code in entry)
                for entry in value
            )
        except UserError as error:
            raise ValueError(error.paragraph()) from error


class AnalyzeSpec(Spec):
    """The section `analyze` of a recipe."""

    conflict: ConflictSpec | None = Field(
        None,
        description="Measure conflict and synergy; trains the adapters that this needs and the strategies lack. "
        "None: do not.",
    )
    representations: RepresentationsSpec | None = Field(
        None,
        description="Look inside the base and every trained model, on test rows: retrieval, cosines, CKA, a language "
        "probe, layer by layer. None: do not.",
    )
