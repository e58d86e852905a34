"""The steps of fine-tuning: the same global batches of examples that train an adapter."""

from __future__ import annotations

from hexapla.train.batching import BatchOrder
from hexapla.train.full.batches import PackedSequence
from hexapla.train.full.packing import join_documents
from hexapla.train.task import PreparedTask


class ExampleBatches:
    """Every example a sequence of its own, of which the target is learned; see `batches.Batches`."""

    def __init__(self, task: PreparedTask, seed: int) -> None:
        self.sources: tuple[str, ...] = (task.name,)
        self._examples = task.encoded.examples
        self._num_steps, self._digest = task.num_steps, task.digest
        ids = [example.id for example in self._examples]
        self._order = BatchOrder(ids, batch=task.spec.batch, seed=seed, adapter=task.name)

    def __len__(self) -> int:
        return self._num_steps

    def __getitem__(self, step: int) -> list[PackedSequence]:
        chosen = [self._examples[position] for position in self._order.positions(step)]
        return [join_documents([example.ids], [example.num_prompt_tokens], [0]) for example in chosen]

    def digest(self) -> str:
        """sha256 of everything that decides the batches."""
        return self._digest
