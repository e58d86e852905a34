"""Settings of looking inside models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hexapla.common.spec import Spec


class RepresentationsSpec(Spec):
    """What is measured of hidden states on held-out multi-way rows, layer by layer."""

    rows: int = Field(
        default=200,
        ge=4,
        description="Rows at most, those of most languages first, among equals by a hash of their ids.",
    )
    max_tokens: int = Field(default=128, ge=1, description="Tokens of a sentence that are read; what follows is not.")
    projection: Literal["pca", "tsne", "umap"] = Field(
        default="pca",
        description="How the picture of two dimensions is made; tsne and umap need the extra analysis.",
    )
