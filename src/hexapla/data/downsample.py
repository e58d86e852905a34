"""Strategic downsampling (LMT, arXiv 2511.07003): fewer examples into a hub where many share one target.

Multi-way data repeats each hub sentence as the target of every other language's example; a model learns the shortcut
and translation into the hub degrades. The kept examples are chosen by a hash of their ids, so that the examples kept at
one share are among those kept at every larger one, in any order and any job.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from hexapla.common.seeds import uniform
from hexapla.common.spec import Spec
from hexapla.data.rows import Row
from hexapla.languages import Direction

_FEWEST_LANGUAGES = 3  # of a multi-way row, hubs included; a row of two languages repeats no target


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


def is_kept(
    spec: DownsampleSpec, row: Row, direction: Direction, example_id: str, *, hubs: Collection[str], seed: int
) -> bool:
    """Whether the example of `row` in `direction` is trained on.

    Examples from a hub and between hubs always are; into a hub, those of rows in the scope with probability `to_hub`.
    """
    if direction.target not in hubs or direction.source in hubs:
        return True
    if spec.scope == "multi-way" and len(row.texts) < _FEWEST_LANGUAGES:
        return True
    return uniform(seed, "downsample", example_id) < spec.to_hub
