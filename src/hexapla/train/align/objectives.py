"""Settings of the losses that align representations. The defaults are AlignX's (arXiv 2509.24338)."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from hexapla.common.spec import Spec


class AlignmentSpec(Spec):
    """Losses beside the language model's: L = L_LM + semantic · L_con + matching · L_match."""

    layer: int | float = Field(
        default=0.5,
        description="Where sentences are aligned: a layer by index (16: the output of the 16th block), or, with a "
        "point, a share of the depth (0.5). AlignX: 16 of 32.",
    )
    semantic: float = Field(
        default=0.3,
        ge=0,
        allow_inf_nan=False,
        description="Weight λ_c of semantic alignment, a contrastive loss. Default: AlignX; 0: none.",
    )
    temperature: float = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="τ, which cosines are divided by. Default: AlignX."
    )
    symmetric: bool = Field(
        default=False,
        description="Contrast targets with sources too, not only sources with targets. Default: AlignX; true is ours.",
    )
    mask_translations: bool = Field(
        default=True,
        description="Multi-way rows put one sentence into a batch in several languages: those are no negatives of each "
        "other. Ours.",
    )
    contrast: int | None = Field(
        default=None,
        ge=2,
        description="Examples that are contrasted with each other; null: all of a step, whatever memory holds at once. "
        "Ours; AlignX: those of a device's micro-batch.",
    )
    matching: float = Field(
        default=0.4, ge=0, allow_inf_nan=False, description="Weight λ_m of language matching. Default: AlignX; 0: none."
    )
    matching_width: int = Field(
        default=128, ge=1, description="Inner width of the head that matches languages. Default: AlignX."
    )

    @field_validator("layer", mode="before")
    @classmethod
    def _index_or_share(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("give an index such as 16, or a share of the depth such as 0.5")
        if isinstance(value, float) and not 0 < value <= 1:
            raise ValueError("a share of the depth lies above 0.0 and is at most 1.0; an index has no point")
        if isinstance(value, int) and value < 1:
            raise ValueError("layers are counted from 1, the output of the first block")
        return value

    @property
    def acts(self) -> bool:
        """Whether any of the losses has a weight."""
        return self.semantic > 0 or self.matching > 0
