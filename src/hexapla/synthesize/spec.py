"""Settings of pseudo-parallel text (LMT, arXiv 2511.07003: from a hub into other languages, and between hubs)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.spec import Spec
from hexapla.data.readers import CorpusSpec
from hexapla.identification.spec import IdentificationSpec
from hexapla.languages import Direction
from hexapla.neural.spec import NeuralSpec
from hexapla.translate.spec import TranslateSpec


class KeepSpec(Spec):
    """Which translations are kept."""

    metric: Literal["cometkiwi22"] = Field("cometkiwi22", description="Quality estimation without reference.")
    threshold: float | None = Field(None, ge=0, le=1, description="Lowest score that is kept; null: no limit.")
    best: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of a language's translations that is kept, the best of all that were scored; those below "
        "the threshold are left out of it as well.",
    )


class SynthesizeSpec(Spec):
    """One corpus of pseudo-parallel text: what is translated, by whom, into which languages, and what is kept."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the corpus that comes out, as reports call it."
    )
    sources: tuple[CorpusSpec, ...] = Field(
        min_length=1, description="Text to translate; of a row with several languages, `source`."
    )
    source: str = Field(description="Language of the text.")
    targets: tuple[str, ...] = Field(min_length=1, description="Languages to translate it into.")
    pool: Path | None = Field(None, description="Pool that translates; null: the recipe's base with its prompt.")
    pivot: str | None = Field(None, description="Translate into this language first, and from there; null: directly.")
    into: Literal["train", "bilingual"] = Field(
        "train", description="Where it goes: examples of the translator, or pairs of continued pre-training."
    )
    keep: KeepSpec | None = Field(None, description="Score the translations and keep the best; null: keep all.")
    translate: TranslateSpec = Field(default_factory=lambda: TranslateSpec(), description="Decoding.")
    identification: IdentificationSpec = Field(
        default_factory=lambda: IdentificationSpec.model_validate({}),
        description="Identification of the language of translations; those in another one are dropped.",
    )
    neural: NeuralSpec = Field(default_factory=lambda: NeuralSpec.model_validate({}), description="Models of scores.")

    @field_validator("source", "pivot")
    @classmethod
    def _is_language(cls, value: str | None) -> str | None:
        return None if value is None else _code(value)

    @field_validator("targets")
    @classmethod
    def _are_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        codes = tuple(map(_code, value))
        if len(set(codes)) < len(codes):
            raise ValueError("a language is named twice")
        return codes

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source in self.targets:
            raise ValueError(f"targets: {self.source} is the language of the text; take it out, or correct source")
        if self.pivot in (self.source, *self.targets):
            raise ValueError(f"pivot: {self.pivot} is the source or a target already; name a third language, or none")
        if self.translate.pmp == "given":
            raise ValueError("translate.pmp: there is no given auxiliary text here; use self or none")
        names = [reader.corpus for reader in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources: two corpora are called {', '.join(twice)}; give one of them another name")
        return self

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction that is translated, the pivot's first."""
        first = () if self.pivot is None else (Direction(self.source, self.pivot),)
        return (*first, *(Direction(self.pivot or self.source, target) for target in self.targets))

    @property
    def made(self) -> tuple[str, ...]:
        """Every language that text is made in: the pivot, if there is one, and the targets."""
        return (*((self.pivot,) if self.pivot is not None else ()), *self.targets)


def _code(spelling: str) -> str:
    try:
        return languages.get(spelling).code
    except UserError as error:
        raise ValueError(error.paragraph()) from error
