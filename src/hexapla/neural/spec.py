"""Which models score translations, in which precision. Light to import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

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
