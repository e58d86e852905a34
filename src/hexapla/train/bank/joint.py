"""One table of all adapters where several processes train them: each tells where its own stand, the parent draws."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from hexapla.train.bank.life import AdapterLife, BatchTally, Divergence, State
from hexapla.train.bank.schedule import Clock
from hexapla.train.bank.table import LiveTable
from hexapla.train.bank.workers import Link
from hexapla.train.result import StepRecord
from hexapla.train.task import PreparedTask


@dataclass(frozen=True)
class Standing:
    """Where an adapter stands: what a table shows of an `AdapterLife`, and of its records those that are new.

    Attributes:
        num_kept: records told before that still hold; a divergence undoes the latest ones.
    """

    name: str
    step: int
    taken: int
    state: State
    rate_factor: float
    tally: BatchTally
    num_kept: int
    new_records: list[StepRecord]
    development: list[list[float]]
    best_step: int | None
    divergences: list[Divergence]

    def apply(self, life: AdapterLife) -> None:
        """Let a life be where this one stands."""
        life.clock.step, life.clock.taken = self.step, self.taken
        life.clock.running = self.state == "training"
        life.state, life.rate_factor, life.tally = self.state, self.rate_factor, self.tally
        life.records[self.num_kept :] = self.new_records
        life.development, life.best_step, life.divergences = self.development, self.best_step, self.divergences


class ToldTable:
    """A `LiveTable` in a child: tells its parent instead of drawing.

    Args:
        lives: the adapters of a wave, as they are at the start of this session.
    """

    def __init__(self, link: Link, lives: Sequence[AdapterLife]) -> None:
        self._link, self._lives = link, lives
        self._num_records, self._num_divergences = [0] * len(lives), [0] * len(lives)
        self._num_tokens = 0
        self.show()

    def advance(self, num_tokens: int) -> None:
        """Count tokens that went through the base, and tell at once of adapters that ended or diverged by them."""
        self._num_tokens += num_tokens
        if self._turns() != self._seen:
            self.show()

    def show(self) -> None:
        """Tell the present state."""
        self._seen = self._turns()
        self._link.send("told", self._num_tokens, [self._standing(place) for place in range(len(self._lives))])
        self._num_tokens = 0

    def close(self) -> None:
        """Tell the last state."""
        self.show()

    def _turns(self) -> list[tuple[State, int]]:
        return [(life.state, len(life.divergences)) for life in self._lives]

    def _standing(self, place: int) -> Standing:
        life = self._lives[place]
        # a divergence since the last time may have undone records that were told, and others have taken their place
        undone = [divergence.back_to for divergence in life.divergences[self._num_divergences[place] :]]
        kept = min([self._num_records[place], *undone])
        self._num_records[place], self._num_divergences[place] = len(life.records), len(life.divergences)
        return Standing(
            name=life.name,
            step=life.clock.step,
            taken=life.clock.taken,
            state=life.state,
            rate_factor=life.rate_factor,
            tally=life.tally,
            num_kept=kept,
            new_records=life.records[kept:],
            development=life.development,
            best_step=life.best_step,
            divergences=life.divergences,
        )


class JointTable:
    """The parent's table. It is drawn when every process has told for the first time: only then is known what earlier
    sessions had done. What is told before waits.

    Args:
        tasks: of all processes.
        num_processes: how many there are to hear.
        stream: where to write; None: standard error.
    """

    def __init__(
        self, tasks: Sequence[PreparedTask], *, seed: int, num_processes: int, stream: TextIO | None = None
    ) -> None:
        self._lives = {task.name: AdapterLife(Clock.start(slot, task, seed)) for slot, task in enumerate(tasks)}
        self._num_processes, self._stream = num_processes, stream
        self._heard: set[str] = set()
        self._waiting: list[tuple[int, Sequence[Standing]]] = []
        self._table: LiveTable | None = None

    def hear(self, process: str, num_tokens: int, standings: Sequence[Standing]) -> None:
        """Take in what a process tells, and show it."""
        if process not in self._heard:
            self._heard.add(process)
            self._apply(standings)
        else:
            self._waiting.append((num_tokens, standings))
        if self._table is None and len(self._heard) == self._num_processes:
            self._table = LiveTable(list(self._lives.values()), stream=self._stream)
        if self._table is not None and self._waiting:
            for waited, later in self._waiting:
                self._apply(later)
                self._table.advance(waited)
            self._waiting.clear()
            self._table.show()

    def _apply(self, standings: Sequence[Standing]) -> None:
        for standing in standings:
            standing.apply(self._lives[standing.name])

    def say(self, line: str) -> None:
        """A line that a process wrote, above the table."""
        if self._table is not None:
            self._table.say(line)
        else:
            print(line, file=sys.stderr if self._stream is None else self._stream, flush=True)

    def close(self) -> None:
        """Show the last state."""
        if self._table is not None:
            self._table.close()
