"""The losses of a step over what its passes gave, in one go or, where memory is short, in two (cached gradients).

In one go: the states of all examples are in one graph, `alignment_loss` is added to the language model's loss.

In two (GradCache, arXiv 2101.06983): passes without gradients give the states of all examples; `cached_alignment` makes
the loss from them and its gradient in each of them; passes with gradients, in parts of any size, then add
`surrogate` to their loss, whose gradient in the parameters is the loss's own. So any number of examples can be
contrasted on a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hexapla.train.align.losses import MatchingHead, language_matching, semantic_alignment
from hexapla.train.align.objectives import AlignmentSpec


@dataclass(frozen=True)
class PairStates:
    """The sentences of n examples inside the model, each [n, D].

    Attributes:
        source, target: u and v, means of the aligned layer's states over the sentences' tokens.
        source_last, target_last: e, means of the last states, each read one position earlier: where a token is
            predicted.
    """

    source: Tensor
    target: Tensor
    source_last: Tensor
    target_last: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, part: slice) -> PairStates:
        return PairStates(*(tensor[part] for tensor in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four, in the order of the fields."""
        return self.source, self.target, self.source_last, self.target_last

    @staticmethod
    def join(parts: Sequence[PairStates]) -> PairStates:
        """The examples of several passes, in order."""
        return PairStates(*(torch.cat(tensors) for tensors in zip(*(part.tensors for part in parts), strict=True)))


@dataclass(frozen=True)
class PairLabels:
    """Of n examples: what each means (the id of its row), and the languages of its two sentences."""

    meanings: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def __getitem__(self, part: slice) -> PairLabels:
        return PairLabels(self.meanings[part], self.sources[part], self.targets[part])

    def __len__(self) -> int:
        return len(self.meanings)


@dataclass(frozen=True)
class AlignmentValues:
    """What the losses of a step were; None: not asked for, or no examples.

    Attributes:
        semantic, matching: L_con and L_match, without their weights.
        semantic_accuracy: share of examples whose own target is nearest to their source among the contrasted.
        matching_accuracy: share of pairs that the head classifies rightly.
        degenerate: the losses that had nothing to tell apart in one of their sets: `semantic` (one example, or
            translations of one sentence only), `matching` (one language).
    """

    semantic: float | None = None
    semantic_accuracy: float | None = None
    matching: float | None = None
    matching_accuracy: float | None = None
    degenerate: tuple[str, ...] = ()

    def to_record(self) -> dict[str, float]:
        """What a step's record keeps, by name."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "degenerate"}
        return {name: value for name, value in numbers.items() if value is not None}


@dataclass(frozen=True)
class CachedAlignment:
    """The loss of a step, and its gradients.

    Attributes:
        states: gradient in every state.
        head: gradient in the flat parameters of the matching head; None where that has no weight.
    """

    values: AlignmentValues
    states: PairStates
    head: Tensor | None


def alignment_loss(
    states: PairStates, labels: PairLabels, spec: AlignmentSpec, head: Tensor | None
) -> tuple[Tensor, AlignmentValues]:
    """λ_c · L_con + λ_m · L_match; of several sets of contrasted examples the mean, each weighing its examples.

    Args:
        head: flat parameters of the matching head (`MatchingHead.initial`); None where matching has no weight.
    """
    total = states.source.new_zeros(())
    sums: dict[str, float] = {}
    degenerate: set[str] = set()
    # Trainers may call this under autocast, which would round cosines and pairs to three digits.
    with torch.autocast(total.device.type, enabled=False):
        for part in _contrasted(len(states), spec.contrast):
            share = len(states[part]) / len(states)
            for term in _terms(states[part], labels[part], spec, head):
                total = total + term.weight * share * term.loss
                sums[term.name] = sums.get(term.name, 0.0) + share * float(term.loss.detach())
                accuracy = f"{term.name}_accuracy"
                sums[accuracy] = sums.get(accuracy, 0.0) + share * term.accuracy
                if term.num_kinds < 2:
                    degenerate.add(term.name)
    return total, AlignmentValues(**sums, degenerate=tuple(sorted(degenerate)))


@dataclass(frozen=True)
class _Term:
    """A loss over a set of contrasted examples.

    Attributes:
        num_kinds: of what it tells apart; fewer than two leave nothing to learn.
    """

    name: str
    weight: float
    loss: Tensor
    accuracy: float
    num_kinds: int


def _terms(states: PairStates, labels: PairLabels, spec: AlignmentSpec, head: Tensor | None) -> Iterator[_Term]:
    """The losses that have a weight."""
    if spec.semantic > 0:
        kinds = labels.meanings if spec.mask_translations else range(len(labels))
        same = _same(labels.meanings, states.source.device) if spec.mask_translations else None
        loss, accuracy = semantic_alignment(
            states.source, states.target, temperature=spec.temperature, symmetric=spec.symmetric, same_meaning=same
        )
        yield _Term("semantic", spec.semantic, loss, accuracy, len(set(kinds)))
    if spec.matching > 0:
        assert head is not None, "matching has a weight, but there is no head"
        stacked = torch.cat([states.source_last, states.target_last])
        languages = (*labels.sources, *labels.targets)
        view = MatchingHead.view(head.to(stacked.dtype), stacked.shape[1], spec.matching_width)
        loss, accuracy = language_matching(stacked, _numbers(languages, stacked.device), view)
        yield _Term("matching", spec.matching, loss, accuracy, len(set(languages)))


def cached_alignment(
    states: PairStates, labels: PairLabels, spec: AlignmentSpec, head: Tensor | None
) -> CachedAlignment:
    """The loss of `alignment_loss` with its gradients in the states and in the head, outside any other graph."""
    leaves = PairStates(*(tensor.detach().requires_grad_() for tensor in states.tensors))
    own_head = None if head is None or spec.matching == 0 else head.detach().requires_grad_()
    with torch.enable_grad():
        loss, values = alignment_loss(leaves, labels, spec, own_head)
    if loss.requires_grad:  # not without examples
        loss.backward()

    def gradient(leaf: Tensor) -> Tensor:
        return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad

    gradients = PairStates(*(gradient(leaf) for leaf in leaves.tensors))
    return CachedAlignment(values, gradients, None if own_head is None else gradient(own_head))


def surrogate(states: PairStates, gradients: PairStates) -> Tensor:
    """Σ ⟨state, gradient⟩: its gradient in the parameters is that of the loss that the gradients came from."""
    products = [(state * gradient).sum() for state, gradient in zip(states.tensors, gradients.tensors, strict=True)]
    return torch.stack(products).sum()


def _contrasted(num: int, size: int | None) -> list[slice]:
    """The sets of contrasted examples; the last may be smaller."""
    if num == 0:
        return []
    size = size or num
    return [slice(start, min(start + size, num)) for start in range(0, num, size)]


def _same(meanings: Sequence[str], device: torch.device) -> Tensor:
    numbers = _numbers(meanings, device)
    return numbers[:, None] == numbers[None]


def _numbers(names: Sequence[str], device: torch.device) -> Tensor:
    """Equal numbers for equal names."""
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names], device=device)
