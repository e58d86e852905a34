"""Settings of pseudo-parallel text (LMT, arXiv 2511.07003: from a hub into other languages, and between hubs)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from hexapla.common.spec import Spec
from hexapla.data.readers import CorpusSpec
from hexapla.neural.spec import NeuralSpec
from hexapla.translate.spec import TranslateSpec


class KeepSpec(Spec):
    """Which translations are kept."""

    metric: Literal["cometkiwi22"] = Field("cometkiwi22", description="Quality estimation without reference.")
    threshold: float | None = Field(None, ge=0, le=1, description="Lowest score that is kept; null: no limit.")
    best: float = Field(1.0, gt=0, le=1, description="Share of the translations that is kept, the best of a language.")


class SynthesizeSpec(Spec):
    """One corpus of pseudo-parallel text: what is translated, by whom, into which languages, and what is kept."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the corpus that comes out, as reports call it."
    )
    sources: tuple[CorpusSpec, ...] = Field(description="Text to translate; of a row with several languages, `source`.")
    source: str = Field(description="Language of the text.")
    targets: tuple[str, ...] = Field(description="Languages to translate it into.")
    pool: Path | None = Field(None, description="Pool that translates; null: the recipe's base with its prompt.")
    pivot: str | None = Field(None, description="Translate into this language first, and from there; null: directly.")
    into: Literal["train", "bilingual"] = Field(
        "train", description="Where it goes: examples of the translator, or pairs of continued pre-training."
    )
    keep: KeepSpec | None = Field(None, description="Score the translations and keep the best; null: keep all.")
    translate: TranslateSpec = Field(default_factory=lambda: TranslateSpec(), description="Decoding.")
    neural: NeuralSpec = Field(default_factory=lambda: NeuralSpec.model_validate({}), description="Models of scores.")
