"""Settings of cleaning: which filters, in which order, and what is kept of what they reject."""

from __future__ import annotations

from pydantic import Field

from hexapla.common.spec import Spec
from hexapla.data.filters import FilterSpec


class CleanSpec(Spec):
    """Filters over training corpora, in order: the first that rejects a text names the reason."""

    filters: tuple[FilterSpec, ...] = Field(description="Filters: maps with `filter: NAME`, or bare names.")
    rejects: bool = Field(False, description="Write everything that was rejected into rejects.jsonl, with its reason.")
    samples: int = Field(
        5, ge=0, description="Rejected texts of each reason kept in the summary, to be judged by people."
    )
    processes: int | None = Field(None, ge=1, description="Processes that judge; null: one a core.")
