"""Settings of parallel multilingual prompting (PMP; LMT, arXiv 2511.07003)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hexapla.common.spec import Spec


class PmpSpec(Spec):
    """Which examples show the source's translation into an auxiliary language, and which language that is."""

    share: float = Field(
        default=0.5, ge=0, le=1, description="Share of the examples that are shown with the auxiliary. Default: LMT."
    )
    auxiliary: Literal["lmt", "typology", "distance", "random", "none"] = Field(
        default="lmt",
        description="How a language's auxiliary is chosen: the table of LMT's paper; family, subgroup, script and "
        "resource level; distance between the base's own representations of the training rows; at random; none at all.",
    )
    fallback: bool = Field(
        default=True,
        description="Where the choice is not among the recipe's languages: the nearest by family, then by script, then "
        "none. false: none at once.",
    )
