"""Which identifier of languages, and how sure it must be. Light to import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from hexapla.common.spec import Spec


class IdentificationSpec(Spec):
    """Identification of the languages of texts."""

    identifier: Literal["py3langid", "lingua", "glotlid"] = Field(
        "py3langid", description="Which one identifies languages."
    )
    model: Path | None = Field(None, description="The model file of glotlid.")
    confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Texts whose language is less sure than this are unknown; None: the identifier's own limit.",
    )

    @model_validator(mode="after")
    def _model_of_glotlid(self) -> IdentificationSpec:
        if self.identifier == "glotlid" and self.model is None:
            raise ValueError("glotlid needs its model file: model.bin of cis-lmu/glotlid on the Hugging Face hub")
        if self.identifier != "glotlid" and self.model is not None:
            raise ValueError(f"model is a file of glotlid, but the identifier is {self.identifier}")
        return self
