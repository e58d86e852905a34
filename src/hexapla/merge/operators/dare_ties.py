"""DARE-TIES: DARE's random dropping and rescaling in place of TIES' trimming (arXiv 2311.03099, section 3.3)."""

from __future__ import annotations

from hexapla.merge.operators.base import Operator
from hexapla.merge.operators.ties import disjoint_mean

DARE_TIES = Operator("dare-ties", "https://arxiv.org/abs/2311.03099", "drop", True, True, disjoint_mean)
