"""What metrics can be told: which models, in which precision, which identification of languages. Light to import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from hexapla.common.errors import nearest
from hexapla.common.spec import Spec

# Neural metric → hub id of its published checkpoint.
PUBLISHED = {
    "comet22": "Unbabel/wmt22-comet-da",
    "cometkiwi22": "Unbabel/wmt22-cometkiwi-da",
    "xcomet-xl": "Unbabel/XCOMET-XL",
    "xcomet-xxl": "Unbabel/XCOMET-XXL",
}


class NeuralSpec(Spec):
    """Models of the neural metrics."""

    models: dict[str, str] = Field(
        default_factory=dict,
        description="Metric → local folder or hub id (`OWNER/NAME`, `OWNER/NAME@REVISION`) of its checkpoint; "
        "a metric that is not named takes the published one.",
    )
    tokenizer: str | None = Field(
        None,
        description="Folder or hub id of the encoder's tokenizer; None: beside the checkpoint, or else the encoder "
        "that the checkpoint names.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it.")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens a batch, padding included, a single sentence may be longer; None: as suits the device.",
    )

    @field_validator("models")
    @classmethod
    def _known_metrics(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in PUBLISHED:
                raise ValueError(f"there is no neural metric {name!r}. {nearest(name, PUBLISHED)}")
        return value


class IdentificationSpec(Spec):
    """Identification of the languages of translations."""

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


class MetricSettings(Spec):
    """All settings of metrics."""

    neural: NeuralSpec = Field(default_factory=NeuralSpec, description="Models of the neural metrics.")
    identification: IdentificationSpec = Field(
        default_factory=IdentificationSpec, description="Identification of the languages of translations."
    )
