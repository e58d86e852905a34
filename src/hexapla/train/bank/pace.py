"""How fast the adapters of a bank move, and how far they are: over the last minute of this session only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from hexapla.train.bank.life import AdapterLife

_WINDOW_S = 60.0  # long enough to smooth over measurements and checkpoints, short enough to follow a change


@dataclass(frozen=True)
class _Mark:
    """What had been done by a moment: tokens in all, and tokens of every adapter."""

    time_s: float
    num_tokens: int
    by_adapter: tuple[int, ...]


class Pace:
    """Tokens a second, in all and by adapter; what an earlier session did counts as done, not as speed.

    Args:
        start_s: present time; all times are of one clock that never goes back.
    """

    def __init__(self, lives: Sequence[AdapterLife], start_s: float) -> None:
        self._lives = lives
        self._start_s = start_s
        self._num_tokens = 0
        self._sums = [(0, 0)] * len(lives)
        self._latest = [self._tokens(place) for place in range(len(lives))]
        self._worked = [0] * len(lives)
        self._totals = [life.clock.task.num_tokens * life.clock.task.spec.epochs for life in lives]
        self._marks = deque([_Mark(start_s, 0, tuple(self._worked))])

    def advance(self, num_tokens: int) -> None:
        """Count tokens that went through the base."""
        self._num_tokens += num_tokens

    def mark(self, now_s: float) -> None:
        """Take note of where every adapter is; rates are those between the notes of the last minute."""
        for place in range(len(self._lives)):
            tokens = self._tokens(place)
            # an adapter that went back has lost its present batch, which was work all the same
            self._worked[place] += max(0, tokens - self._latest[place])
            self._latest[place] = tokens
        self._marks.append(_Mark(now_s, self._num_tokens, tuple(self._worked)))
        while len(self._marks) > 2 and self._marks[1].time_s <= now_s - _WINDOW_S:
            self._marks.popleft()

    @property
    def rate(self) -> float | None:
        """Tokens a second in all; None before anything was measured."""
        seconds = self._seconds()
        tokens = self._marks[-1].num_tokens - self._marks[0].num_tokens
        return tokens / seconds if seconds > 0 and tokens > 0 else None

    def rate_of(self, place: int) -> float | None:
        """One adapter's share of the tokens a second."""
        seconds = self._seconds()
        tokens = self._marks[-1].by_adapter[place] - self._marks[0].by_adapter[place]
        return tokens / seconds if seconds > 0 and tokens > 0 else None

    @property
    def mean_rate(self) -> float | None:
        """Tokens a second of the whole session."""
        seconds = self._marks[-1].time_s - self._start_s
        return self._num_tokens / seconds if seconds > 0 and self._num_tokens > 0 else None

    def elapsed_s(self) -> float:
        """Seconds of this session up to the latest mark."""
        return self._marks[-1].time_s - self._start_s

    def remaining_tokens(self) -> float:
        """Tokens that the running adapters still have to see if none stops early."""
        return sum(
            total * (1 - life.clock.progress)
            for life, total in zip(self._lives, self._totals, strict=True)
            if life.clock.running
        )

    def share_done(self) -> float:
        """Share of all work that is done; what an adapter that ended early leaves undone is no work any more."""
        done = sum(total * life.clock.progress for life, total in zip(self._lives, self._totals, strict=True))
        whole = done + self.remaining_tokens()
        return done / whole if whole > 0 else 1.0

    def remaining_s(self) -> float | None:
        """Seconds left at the present rate; None before it is known."""
        rate = self.rate
        return None if rate is None else self.remaining_tokens() / rate

    def _seconds(self) -> float:
        return self._marks[-1].time_s - self._marks[0].time_s

    def _tokens(self, place: int) -> int:
        """Tokens of all an adapter's updates, those undone too, and of its present batch; adds up what is new."""
        life = self._lives[place]
        num_records, tokens = self._sums[place]
        tokens += sum(record.num_input_tokens for record in life.records[num_records:])
        self._sums[place] = (len(life.records), tokens)
        return tokens + life.tally.num_input_tokens
