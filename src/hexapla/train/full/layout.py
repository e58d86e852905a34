"""How the sequences of a step are laid out for the model: micro-batches without padding, documents end to end.

Shapes: N tokens of a micro-batch, M learned tokens, n pairs of sentences to align, S sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hexapla.packed.layout import SequenceLayout, sequence_layout
from hexapla.train.align.objective import PairLabels
from hexapla.train.align.pairs import PairIndex, labels_of
from hexapla.train.full.batches import UNLEARNED, Batches, PackedSequence
from hexapla.train.full.packing import document_lengths


@dataclass(frozen=True)
class MicroBatch:
    """Tensors of one pass through the model.

    A document's last token, from which nothing is predicted, stays out.

    Attributes:
        input_ids, position_ids: [N]; positions restart with every document.
        predictors: [M], the tokens that predict a learned token; `targets` [M], what they predict.
        sources: [M], the source that each of them is from.
        layout: where documents lie.
        pairs: where the sentences of translation examples lie; None where nothing is aligned.
        places: [n], the place of each of these examples among those of the whole step.
    """

    input_ids: Tensor
    position_ids: Tensor
    predictors: Tensor
    targets: Tensor
    sources: Tensor
    layout: SequenceLayout
    pairs: PairIndex | None = None
    places: Tensor | None = None

    @property
    def without_targets(self) -> MicroBatch:
        """The same pass with nothing to predict: it costs no output head."""
        return replace(self, predictors=self.predictors[:0], targets=self.targets[:0], sources=self.sources[:0])

    def to(self, device: torch.device) -> MicroBatch:
        """The same on a device."""
        moved = _moved(self, device)
        moved["layout"] = replace(self.layout, **_moved(self.layout, device))
        moved["pairs"] = None if self.pairs is None else self.pairs.to(device)
        return replace(self, **moved)


@dataclass(frozen=True)
class StepWork:
    """One process's part of a step.

    Attributes:
        micro_batches: what it sends through the model; only the first `num_real` count, the others repeat one so that
            all processes make equally many passes.
        num_learned: [S], learned tokens of the whole step, of all processes, by source.
        num_input_tokens: of the whole step, all that go through the model.
        labels: of the translation examples of the whole step, in its order; of none where nothing is aligned.
    """

    micro_batches: list[MicroBatch]
    num_real: int
    num_learned: np.ndarray
    num_input_tokens: int
    labels: PairLabels


def step_works(
    batches: Batches, *, first: int, max_tokens: int, rank: int = 0, num_ranks: int = 1
) -> Iterator[StepWork]:
    """A process's part of every step from `first` on.

    Every process divides the whole step in the same way and takes each `num_ranks`-th micro-batch.
    """
    for step in range(first, len(batches)):
        sequences = batches[step]
        parts = micro_batches(sequences, max_tokens)
        own = parts[rank::num_ranks]
        examples = [(id(sequence), sequence.example) for sequence in sequences if sequence.example is not None]
        translations = [(key, example) for key, example in examples if example.direction is not None]
        places = {key: place for place, (key, _) in enumerate(translations)}
        num_idle = -(-len(parts) // num_ranks) - len(own)
        learned = np.zeros(len(batches.sources), dtype=np.int64)
        for sequence in sequences:
            learned += np.bincount(sequence.sources[sequence.labels != UNLEARNED], minlength=len(learned))
        yield StepWork(
            micro_batches=[lay_out(part, places) for part in [*own, *[parts[0]] * num_idle]],
            num_real=len(own),
            num_learned=learned,
            num_input_tokens=sum(_num_input_tokens(sequence) for sequence in sequences),
            labels=labels_of([example for _, example in translations]),
        )


def micro_batches(sequences: Sequence[PackedSequence], max_tokens: int) -> list[list[PackedSequence]]:
    """Split a step, longest first, so that no part exceeds `max_tokens`; a longer sequence makes a part of its own."""
    parts: list[list[PackedSequence]] = []
    room = 0
    for sequence in sorted(sequences, key=lambda sequence: -len(sequence.ids)):
        if len(sequence.ids) <= room:
            parts[-1].append(sequence)
        else:
            parts.append([sequence])
            room = max_tokens
        room -= len(sequence.ids)
    return parts


def lay_out(sequences: Sequence[PackedSequence], places: Mapping[int, int] | None = None) -> MicroBatch:
    """Lay sequences end to end, on the CPU.

    Args:
        places: `id` of a sequence that is a translation example → its place among those of the step.
    """
    ids = np.concatenate([sequence.ids for sequence in sequences])
    labels = np.concatenate([sequence.labels for sequence in sequences])
    positions = np.concatenate([sequence.positions for sequence in sequences])
    sources = np.concatenate([sequence.sources for sequence in sequences])
    assert all(sequence.positions[0] == 0 for sequence in sequences), "a sequence starts within a document"
    lengths = document_lengths(positions)
    kept = np.ones(len(ids), dtype=bool)
    kept[np.cumsum(lengths) - 1] = False
    learned = np.flatnonzero(labels != UNLEARNED)
    assert (positions[learned] > 0).all(), "the first token of a document cannot be learned"
    pairs = _pairs(sequences)
    own_places = [places[id(sequence)] for sequence in sequences if places is not None and id(sequence) in places]
    return MicroBatch(
        input_ids=_tensor(ids[kept]),
        position_ids=_tensor(positions[kept]),
        predictors=_tensor((np.cumsum(kept) - 1)[learned - 1]),
        targets=_tensor(labels[learned]),
        sources=_tensor(sources[learned]),
        layout=sequence_layout(lengths[lengths > 1] - 1, "cpu"),
        pairs=pairs,
        places=None if pairs is None else _tensor(np.array(own_places)),
    )


def _pairs(sequences: Sequence[PackedSequence]) -> PairIndex | None:
    """Where the sentences lie of sequences that are examples, each one document."""
    examples = [sequence.example for sequence in sequences if sequence.example is not None]
    if not examples:
        return None
    assert len(examples) == len(sequences), "some sequences are examples, others are not"
    starts = np.cumsum([0, *(len(example.ids) - 1 for example in examples[:-1])])
    return PairIndex.of(examples, starts.tolist())


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


def _moved(value: object, device: torch.device) -> dict[str, Any]:
    """The tensors among a dataclass's fields, on a device."""
    return {name: each.to(device) for name, each in vars(value).items() if isinstance(each, Tensor)}


def _num_input_tokens(sequence: PackedSequence) -> int:
    return len(sequence.ids) - int(np.count_nonzero(sequence.positions == 0))
