"""The two losses of AlignX (arXiv 2509.24338), as the paper writes them.

Shapes: n examples, m = 2n sentences, D hidden width, H inner width of the matching head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from hexapla.common.seeds import derive_seed

# Pairs times inner width that are worked on at once. On a CPU what stays in its cache: measured on 2026-11-22, a core
# takes 0.16 s for m = 256, H = 128 in parts of 2^18 and 0.38 s in one. On a GPU what keeps it busy in 64 MiB a tensor.
_PART_ENTRIES = {"cpu": 2**18}
_PART_ENTRIES_GPU = 2**24
_SHORTEST = 1e-12  # a mean state with a smaller norm points nowhere; torch's own bound in `F.normalize`


def semantic_alignment(
    source: Tensor, target: Tensor, *, temperature: float, symmetric: bool = False, same_meaning: Tensor | None = None
) -> tuple[Tensor, float]:
    """L_con = −(1/2n) Σ_j log softmax_i(s_ij)[i = j] with s_ij = cos(u_j, v_i)/τ.

    A batch of one contributes 0. The symmetric form (ours) adds log softmax_j(s_ij)[j = i] under the same sum, so that
    the factor ½ averages the two.

    Args:
        source, target: u and v, [n, D], n at least 1.
        same_meaning: [n, n] bool, pairs of examples that hold the same sentence; off the diagonal they are left out of
            every softmax (ours). None: all others are negatives.

    Returns:
        The loss, and the share of examples whose own target is nearest to their source.
    """
    num = len(source)
    scores = _directions(source) @ _directions(target).t() / temperature  # [j, i]
    if same_meaning is not None:
        others = same_meaning & ~torch.eye(num, dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(others, -torch.inf)
    own = torch.arange(num, device=scores.device)
    loss = F.cross_entropy(scores, own, reduction="sum")
    if symmetric:
        loss = loss + F.cross_entropy(scores.t(), own, reduction="sum")
    found = (scores.detach().argmax(dim=1) == own).float().mean()
    return loss / (2 * num), float(found)


def _directions(states: Tensor) -> Tensor:
    """States [n, D] at length 1; those without length are 0 and get no gradient, where a quotient's would be 1e12."""
    norms = torch.linalg.vector_norm(states, dim=1, keepdim=True)
    return states / norms.masked_fill(norms < _SHORTEST, torch.inf)


@dataclass(frozen=True)
class MatchingHead:
    """A gated MLP on two sentences, 2·D → H → 2 without biases: W_down (SiLU(W_gate x) ⊙ W_up x).

    Attributes:
        gate, up: [H, 2·D]; down: [2, H].
    """

    gate: Tensor
    up: Tensor
    down: Tensor

    @staticmethod
    def num_entries(width: int, inner: int) -> int:
        """Parameters of a head over states of `width`."""
        return 2 * inner * 2 * width + 2 * inner

    @classmethod
    def view(cls, flat: Tensor, width: int, inner: int) -> MatchingHead:
        """The head whose parameters lie one behind another in a flat tensor; gradients flow back to it."""
        wide = inner * 2 * width
        gate, up, down = flat.split([wide, wide, 2 * inner])
        return cls(gate.view(inner, 2 * width), up.view(inner, 2 * width), down.view(2, inner))

    @classmethod
    def initial(cls, width: int, inner: int, seed: int, name: str) -> Tensor:
        """Flat parameters of a new head, uniform in ±1/√(inputs) as torch's linear layers begin, fp32 on the CPU."""
        generator = torch.Generator().manual_seed(derive_seed(seed, name, "matching-head"))
        flat = torch.rand(cls.num_entries(width, inner), generator=generator) * 2 - 1
        split = 2 * inner * 2 * width
        flat[:split] *= (2 * width) ** -0.5
        flat[split:] *= inner**-0.5
        return flat

    def terms(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What m states [m, D] add to W_gate x as first and as second of a pair, and what to W_up x; each [m, H].

        A layer on [e_i; e_j] is the sum of one on e_i and one on e_j, so nothing of size m² · 2·D is ever made.
        """
        width = states.shape[1]
        halves = (weight[:, part] for weight in (self.gate, self.up) for part in (slice(width), slice(width, None)))
        gate_first, gate_second, up_first, up_second = (states @ half.t() for half in halves)
        return gate_first, gate_second, up_first, up_second


def language_matching(states: Tensor, languages: Tensor, head: MatchingHead) -> tuple[Tensor, float]:
    """L_match: mean cross-entropy over all m² ordered pairs of being of one language or of two.

    Takes memory for a part of the pairs only. Differentiable once.

    Args:
        states: e, [m, D], sources and targets stacked (m = 2n).
        languages: [m] int, equal numbers for equal languages.

    Returns:
        The loss, and the share of pairs that the head classifies rightly.
    """
    loss, num_right = _PairLoss.apply(torch.is_grad_enabled(), *head.terms(states), head.down, languages)
    num_pairs = len(states) ** 2
    return loss / num_pairs, int(num_right) / num_pairs


def _pair_logits(gate_first: Tensor, gate_second: Tensor, up_first: Tensor, up_second: Tensor, down: Tensor) -> Tensor:
    """Scores [f, s, 2] of f first with s second sentences of pairs, from their terms [f, H] and [s, H]."""
    inner = F.silu(gate_first[:, None] + gate_second) * (up_first[:, None] + up_second)
    return inner @ down.t()


class _PairLoss(torch.autograd.Function):
    """Cross-entropy summed over all pairs, and how many are right, a few rows of pairs at a time.

    The gradients are taken with the loss, part by part, so that of [m, m, H] never more than a part is held and nothing
    is computed twice. A pair's value is that of `_pair_logits` whatever the parts; sums differ in rounding only.
    """

    @staticmethod
    def forward(ctx: Any, in_graph: bool, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        *terms, down, languages = inputs
        total, num_right = down.new_zeros(()), languages.new_zeros((), dtype=torch.int64)
        wanted = in_graph and any(ctx.needs_input_grad)
        sums = [torch.zeros_like(each) for each in (*terms, down)] if wanted else []
        for rows in _parts(terms[0]):
            own = [terms[0][rows], terms[1], terms[2][rows], terms[3], down]
            leaves = [tensor.detach().requires_grad_(wanted) for tensor in own]
            same = (languages[rows, None] == languages).long().flatten()
            with torch.set_grad_enabled(wanted):
                logits = _pair_logits(*leaves).flatten(0, 1)
                loss = F.cross_entropy(logits, same, reduction="sum")
            if wanted:
                places = [sums[0][rows], sums[1], sums[2][rows], sums[3], sums[4]]
                for place, gradient in zip(places, torch.autograd.grad(loss, leaves), strict=True):
                    place += gradient
            total += loss.detach()
            num_right += (logits.detach().argmax(dim=1) == same).sum()
        ctx.save_for_backward(*sums)
        ctx.mark_non_differentiable(num_right)
        return total, num_right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _num_right: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *(each * gradient for each in ctx.saved_tensors), None)


def _parts(terms: Tensor) -> Iterator[slice]:
    """The rows [m, H] of pairs in parts that fit."""
    num, inner = terms.shape
    num_rows = max(1, _PART_ENTRIES.get(terms.device.type, _PART_ENTRIES_GPU) // (num * inner))
    return (slice(start, start + num_rows) for start in range(0, num, num_rows))
