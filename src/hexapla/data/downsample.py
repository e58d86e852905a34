"""Strategic downsampling (LMT, arXiv 2511.07003): fewer examples into a hub where many share one target.

Multi-way data repeats each hub sentence as the target of every other language's example; a model learns the shortcut
and translation into the hub degrades. The kept examples are chosen by a hash of their ids.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hexapla.common.spec import Spec


class DownsampleSpec(Spec):
    """Which share of the examples into a hub is trained on."""

    to_hub: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the examples from other languages into a hub that is kept. Default: LMT's best.",
    )
    scope: Literal["multi-way", "all"] = Field(
        default="multi-way",
        description="multi-way: only rows with three languages or more are thinned out, as in LMT; all: every row.",
    )
