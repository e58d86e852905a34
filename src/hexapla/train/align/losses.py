"""The two losses of AlignX (arXiv 2509.24338), as the paper writes them.

Shapes: n examples, D hidden width, H inner width of the matching head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hexapla.common.seeds import derive_seed


def semantic_alignment(
    source: Tensor, target: Tensor, *, temperature: float, symmetric: bool = False, same_meaning: Tensor | None = None
) -> tuple[Tensor, float]:
    """L_con = −(1/2n) Σ_j log softmax_i(s_ij)[i = j] with s_ij = cos(u_j, v_i)/τ.

    A batch of one contributes 0. The symmetric form (ours) adds log softmax_j(s_ij)[j = i] under the same sum, so that
    the factor ½ averages the two.

    Args:
        source, target: u and v, [n, D].
        same_meaning: [n, n] bool, pairs of examples that hold the same sentence; off the diagonal they are left out of
            every softmax (ours). None: all others are negatives.

    Returns:
        The loss, and the share of examples whose own target is nearest to their source.
    """
    num = len(source)
    cosines = F.normalize(source, dim=1) @ F.normalize(target, dim=1).t()  # [j, i]
    scores = cosines / temperature
    if same_meaning is not None:
        others = same_meaning & ~torch.eye(num, dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(others, -torch.inf)
    own = torch.arange(num, device=scores.device)
    loss = F.cross_entropy(scores, own, reduction="sum")
    if symmetric:
        loss = loss + F.cross_entropy(scores.t(), own, reduction="sum")
    found = (scores.detach().argmax(dim=1) == own).float().mean()
    return loss / (2 * max(num, 1)), float(found)


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

    def logits(self, states: Tensor) -> Tensor:
        """Scores [m, m, 2] of every ordered pair of m states [m, D]; the second is for the same language.

        A layer on [e_i; e_j] is the sum of one on e_i and one on e_j, so nothing of size m² · 2·D is made.
        """
        width = states.shape[1]
        gated, raised = (
            (states @ weight[:, :width].t())[:, None] + (states @ weight[:, width:].t())[None]
            for weight in (self.gate, self.up)
        )
        return (F.silu(gated) * raised) @ self.down.t()


def language_matching(states: Tensor, languages: Tensor, head: MatchingHead) -> tuple[Tensor, float]:
    """L_match: mean cross-entropy over all m² ordered pairs of being of one language or of two.

    Args:
        states: e, [m, D], sources and targets stacked (m = 2n).
        languages: [m] int, equal numbers for equal languages.

    Returns:
        The loss, and the share of pairs that the head classifies rightly.
    """
    logits = head.logits(states).flatten(0, 1)
    same = (languages[:, None] == languages[None]).long().flatten()
    right = (logits.detach().argmax(dim=1) == same).float().mean()
    return F.cross_entropy(logits, same), float(right)
