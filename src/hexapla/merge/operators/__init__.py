"""The merge operators, by name: one file each. A new one is a file and a line here."""

from __future__ import annotations

from hexapla.merge.operators.base import Operator
from hexapla.merge.operators.dare import DARE
from hexapla.merge.operators.dare_ties import DARE_TIES
from hexapla.merge.operators.linear import LINEAR
from hexapla.merge.operators.ties import TIES

OPERATORS: dict[str, Operator] = {operator.name: operator for operator in (TIES, LINEAR, DARE, DARE_TIES)}

__all__ = ["OPERATORS", "Operator"]
