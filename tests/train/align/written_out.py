"""The losses of AlignX written out pair by pair in Python's own (double) numbers, to compare with.

Slow and plain on purpose: no tensor operation, no trick, every sum a loop. Follows section 3 of arXiv 2509.24338.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def mean(vectors: Sequence[Vector]) -> list[float]:
    """Entry by entry."""
    return [sum(vector[k] for vector in vectors) / len(vectors) for k in range(len(vectors[0]))]


def cosine(a: Vector, b: Vector) -> float:
    """⟨a, b⟩ / (‖a‖ ‖b‖)."""
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


def contrast(
    u: Sequence[Vector], v: Sequence[Vector], temperature: float, meanings: Sequence[str] | None = None
) -> float:
    """−(1/2n) Σ_j log( exp s_jj / Σ_i exp s_ij ); i runs over j itself and, with meanings, over other meanings."""
    total = 0.0
    for j in range(len(u)):
        denominator = 0.0
        for i in range(len(v)):
            if i == j or meanings is None or meanings[i] != meanings[j]:
                denominator += math.exp(cosine(u[j], v[i]) / temperature)
        total += math.log(math.exp(cosine(u[j], v[j]) / temperature) / denominator)
    return -total / (2 * len(u))


def match(
    e: Sequence[Vector], languages: Sequence[str], gate: Sequence[Vector], up: Sequence[Vector], down: Sequence[Vector]
) -> float:
    """Mean over all ordered pairs (i, j) of −log softmax(W_down (SiLU(W_gate [e_i; e_j]) ⊙ W_up [e_i; e_j]))[same]."""
    total = 0.0
    for i in range(len(e)):
        for j in range(len(e)):
            x = [*e[i], *e[j]]
            gated = [_dot(row, x) for row in gate]
            raised = [_dot(row, x) for row in up]
            inner = [g / (1 + math.exp(-g)) * r for g, r in zip(gated, raised, strict=True)]
            scores = [_dot(row, inner) for row in down]
            same = 1 if languages[i] == languages[j] else 0
            total -= math.log(math.exp(scores[same]) / (math.exp(scores[0]) + math.exp(scores[1])))
    return total / len(e) ** 2


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
