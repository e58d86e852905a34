"""Which sequences make the next micro-batch.

An adapter steps when its own global batch has been seen; until then its gradients add up. The adapter that is furthest
behind is in every micro-batch, the others follow in that order as long as there is room: so the long ones end together,
and micro-batches stay full to the end. A batch is split only where it is larger than a whole micro-batch: fewer, longer
segments are faster. So whether a batch is split depends on its own length only, not on company.

What comes next is a function of the clocks alone: a run that goes on from a checkpoint makes the same micro-batches.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from hexapla.train.bank.packing import Piece
from hexapla.train.batching import BatchOrder
from hexapla.train.encoding import EncodedExample
from hexapla.train.task import PreparedTask


@dataclass(frozen=True)
class GlobalBatch:
    """The sequences of one step of an adapter.

    Attributes:
        ends: input tokens of the first 0, 1, 2... sequences.
        num_targets: target tokens of all of them.
    """

    step: int
    examples: tuple[EncodedExample, ...]
    ends: tuple[int, ...]
    num_targets: int


@dataclass
class Clock:
    """Where an adapter stands in its data.

    Attributes:
        slot: its row in the bank.
        step: updates made.
        taken: sequences of the current global batch that earlier micro-batches held.
        running: whether it still trains.
    """

    slot: int
    task: PreparedTask
    order: BatchOrder
    step: int = 0
    taken: int = 0
    running: bool = True
    _batch: GlobalBatch | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def start(cls, slot: int, task: PreparedTask, seed: int) -> Clock:
        """A clock at the beginning of a task."""
        examples = task.encoded.examples
        aligned = task.spec.acting_objectives is not None
        order = BatchOrder(
            [example.id for example in examples],
            batch=task.spec.batch,
            seed=seed,
            adapter=task.name,
            meanings=[example.meaning for example in examples] if aligned else None,
        )
        return cls(slot, task, order)

    @property
    def batch(self) -> GlobalBatch:
        """The current global batch."""
        if self._batch is None or self._batch.step != self.step:
            examples = tuple(self.task.encoded.examples[position] for position in self.order.positions(self.step))
            ends = tuple(accumulate((example.num_input_tokens for example in examples), initial=0))
            num_targets = sum(example.num_target_tokens for example in examples)
            self._batch = GlobalBatch(self.step, examples, ends, num_targets)
        return self._batch

    @property
    def progress(self) -> float:
        """Share of the adapter's work that is done."""
        return (self.step + self.taken / self.task.spec.batch) / self.task.num_steps


def next_pieces(clocks: Sequence[Clock], max_tokens: int) -> list[Piece]:
    """The pieces of the next micro-batch, at most `max_tokens` in all, in the order of their slots; the clocks move on.

    At least one clock must be running, and every sequence must fit into `max_tokens`.
    """
    pieces: list[Piece] = []
    room = max_tokens
    for clock in sorted((clock for clock in clocks if clock.running), key=lambda clock: (clock.progress, clock.slot)):
        batch, start = clock.batch, clock.taken
        end = len(batch.examples)
        needed = batch.ends[end] - batch.ends[start]
        if needed > room:
            if needed <= max_tokens:
                continue
            end = bisect_right(batch.ends, batch.ends[start] + room) - 1
        if end == start:
            continue
        clock.taken = end
        room -= batch.ends[end] - batch.ends[start]
        ends_batch = end == len(batch.examples)
        pieces.append(Piece(clock.slot, batch.examples[start:end], batch.num_targets, ends_batch, start))
    assert pieces, "no adapter runs, or a sequence is longer than a micro-batch"
    return sorted(pieces, key=lambda piece: piece.slot)
