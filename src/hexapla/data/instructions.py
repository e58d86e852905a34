"""General instructions beside translation: what AlignX's second stage mixes in, so that a model stays an assistant.

Files in the form of Stanford's Alpaca and of Bactrian-X (arXiv 2305.15011): records of `instruction`, `input` and
`output`, as JSON lines or one JSON list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, field_validator, model_validator

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.spec import Spec
from hexapla.data.mixing import MixSpec

TRANSLATION = "translation"
"""Name of the translation examples in a mix with instructions."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One thing to answer. The prompt is rendered where it is tokenised.

    Attributes:
        id: `SOURCE#N`, or `SOURCE#ID` where the record has an id.
        language: code of the language it is in; None: not said.
        input: what the instruction is about; empty: nothing.
    """

    id: str
    language: str | None
    instruction: str
    input: str
    output: str


class InstructionSource(Spec):
    """A file of instructions: .json (a list) or .jsonl, plain or .gz."""

    path: str = Field(description="File, relative to the current folder.")
    name: str | None = Field(default=None, description="Name in mixes and ids; null: the file's, without its endings.")
    language: str | None = Field(default=None, description="Language that it is in, for counts; null: not said.")

    @field_validator("language")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        try:
            return None if value is None else languages.get(value).code
        except UserError as error:
            raise ValueError(error.paragraph()) from error


class InstructionsSpec(Spec):
    """General instructions to train on with the translation examples of the one model or adapter for all directions."""

    sources: tuple[InstructionSource, ...] = Field(description="Files of instructions.")
    mix: MixSpec = Field(
        default_factory=lambda: MixSpec(unit="rows"),
        description="Shares of `translation` and of every source, by name, counted in rows; null weights: as they are.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.sources:
            raise ValueError("sources: at least one file is needed")
        if self.mix.unit != "rows":
            raise ValueError("mix.unit: examples are counted in rows")
        return self
