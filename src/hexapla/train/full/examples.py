"""The steps of fine-tuning: the same global batches of examples that train an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hexapla.train.batching import BatchOrder, num_steps
from hexapla.train.encoding import EncodedExample
from hexapla.train.full.batches import PackedSequence
from hexapla.train.full.packing import join_documents

INSTRUCTIONS = "instructions"
"""Source of general instructions, in logs."""


@dataclass(frozen=True)
class Lesson:
    """Examples and how often they are gone through, in which batches.

    Attributes:
        name: of the model.
        digest: of everything that the trained model depends on.
    """

    name: str
    examples: Sequence[EncodedExample]
    batch: int
    epochs: int
    digest: str


class ExampleBatches:
    """Every example a sequence of its own, of which the target is learned; see `batches.Batches`.

    Losses are reported of translation under the model's name, and of general instructions beside it.

    Args:
        apart: translations of one sentence go into different batches as far as may be.
        aligned: sequences say where their sentences are.
    """

    def __init__(self, lesson: Lesson, seed: int, *, apart: bool, aligned: bool) -> None:
        examples = lesson.examples
        is_mixed = any(example.direction is None for example in examples)
        self.sources: tuple[str, ...] = (lesson.name, INSTRUCTIONS) if is_mixed else (lesson.name,)
        self._examples, self._aligned = examples, aligned
        self._num_steps, self._digest = num_steps(len(examples), lesson.batch, lesson.epochs), lesson.digest
        self._order = BatchOrder(
            [example.id for example in examples],
            batch=lesson.batch,
            seed=seed,
            adapter=lesson.name,
            meanings=[example.meaning for example in examples] if apart else None,
        )

    def __len__(self) -> int:
        return self._num_steps

    def __getitem__(self, step: int) -> list[PackedSequence]:
        chosen = [self._examples[position] for position in self._order.positions(step)]
        return [self._sequence(example) for example in chosen]

    def digest(self) -> str:
        """sha256 of everything that decides the batches."""
        return self._digest

    def _sequence(self, example: EncodedExample) -> PackedSequence:
        source = int(example.direction is None)
        sequence = join_documents([example.ids], [example.num_prompt_tokens], [source])
        return replace(sequence, example=example) if self._aligned else sequence
