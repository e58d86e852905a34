"""What a merge did: how well rank r holds the merged update, how far the experts disagreed, what was kept.

Conflicts and kept mass are those of the updates, also in the space `factors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REPORT_FILE = "merge-report.json"


@dataclass(frozen=True)
class Measures:
    """Sums over a module, or over the modules of an adapter.

    Attributes:
        squared_norm: ‖ΔW‖² of the merged update before it is compressed.
        squared_error: ‖ΔW − B'A'‖², with the factors as written.
        num_voted: entries that at least one expert keeps.
        num_conflicts: of these, the entries where kept values have both signs.
        kept_l1: sum of the magnitudes that the experts keep (before DARE rescales them).
        total_l1: the same before trimming or dropping.
    """

    squared_norm: float
    squared_error: float
    num_voted: int
    num_conflicts: int
    kept_l1: float
    total_l1: float

    @property
    def relative_error(self) -> float | None:
        """‖ΔW − B'A'‖ / ‖ΔW‖ (Frobenius); None where the merged update is zero."""
        return math.sqrt(self.squared_error / self.squared_norm) if self.squared_norm else None

    @property
    def sign_conflict_share(self) -> float | None:
        """Share of the kept entries on whose sign the experts disagree."""
        return self.num_conflicts / self.num_voted if self.num_voted else None

    @property
    def kept_mass(self) -> float | None:
        """Share of the experts' magnitudes (L1) that trimming or dropping leaves."""
        return self.kept_l1 / self.total_l1 if self.total_l1 else None

    def record(self) -> dict[str, float | None]:
        """The three shares, as JSON."""
        shares = {
            "relative_error": self.relative_error,
            "sign_conflict_share": self.sign_conflict_share,
            "kept_mass": self.kept_mass,
        }
        return {name: None if share is None else round(share, 6) for name, share in shares.items()}


@dataclass(frozen=True)
class AdapterReport:
    """The measures of one merged adapter: its experts' weights, and the modules."""

    experts: Mapping[str, float]
    rank: int
    modules: Mapping[str, Measures] = field(default_factory=dict)

    @property
    def total(self) -> Measures:
        """Over all modules, as if they were one matrix."""
        modules = self.modules.values()
        return Measures(
            sum(m.squared_norm for m in modules),
            sum(m.squared_error for m in modules),
            sum(m.num_voted for m in modules),
            sum(m.num_conflicts for m in modules),
            sum(m.kept_l1 for m in modules),
            sum(m.total_l1 for m in modules),
        )

    def record(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "experts": dict(self.experts),
            "rank": self.rank,
            "total": self.total.record(),
            "modules": {path: measures.record() for path, measures in self.modules.items()},
        }


def table(reports: Mapping[str, Any]) -> str:
    """The records of merged adapters (name → record) as a table for people."""
    from tabulate import tabulate

    rows = [
        [name, len(record["experts"]), record["rank"], *(_percent(share) for share in record["total"].values())]
        for name, record in reports.items()
    ]
    headers = ["adapter", "experts", "rank", "error", "sign conflicts", "kept mass"]
    return tabulate(rows, headers, colalign=("left", *["right"] * 5), disable_numparse=True)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
