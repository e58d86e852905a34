"""What people see of a bank at work: on a terminal a table of all adapters drawn in place, elsewhere lines of a log.

Nothing is switched on in the terminal: the cursor stays visible and rests below the table, so an interruption leaves
nothing to put back. Ends and divergences are said in a line each as they happen, above the table.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from hexapla.common.progress import duration
from hexapla.train.bank.life import AdapterLife
from hexapla.train.bank.pace import Pace
from hexapla.train.optimizer import learning_rate

_SMOOTHED_STEPS = 16  # steps that a shown loss is the mean of
_LOG_EVERY_S = 10.0
_LEGEND_FROM_LINES = 10
_COLUMNS = ("adapter", "step", "loss", "rate", "tokens/s", "dev best", "state")
_TEXT_COLUMNS = ("adapter", "state")
_DISPENSABLE = ("rate", "tokens/s", "dev best", "step")  # left out in this order where names would not fit
_NAME_WIDTH = 12  # of a name, at least this much is shown before a column is left out for it
_STATES = ("training", "finished", "stopped early", "diverged")

Row = tuple[str, ...]


class Table(Protocol):
    """What training tells of its progress."""

    def advance(self, num_tokens: int) -> None:
        """Count tokens that went through the base, and say at once which adapters ended or diverged by them."""

    def show(self) -> None:
        """Show the present state."""

    def close(self) -> None:
        """Show the last state."""


class LiveTable:
    """Progress of the adapters of a wave.

    Args:
        lives: the adapters, as they are at the start of this session.
        label: what every headline and line of a log begins with.
        stream: where to write; None: standard error.
        now: clock in seconds that never goes back.
    """

    def __init__(
        self,
        lives: Sequence[AdapterLife],
        *,
        label: str = "bank",
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lives, self._label, self._now = lives, label, now
        self._pace = Pace(lives, now())
        self._output = _Output(stream if stream is not None else sys.stderr)
        self._logged_s = now()
        self._ended = {life.name for life in lives if not life.clock.running}
        self._num_divergences = [len(life.divergences) for life in lives]

    def advance(self, num_tokens: int) -> None:
        """Count tokens that went through the base, and say at once which adapters ended or diverged by them."""
        self._pace.advance(num_tokens)
        events = self._events()
        if events:
            self._show(events)

    def show(self) -> None:
        """Draw the present state; in a log, at most every ten seconds."""
        self._show(self._events())

    def say(self, line: str) -> None:
        """A line from elsewhere, above the table."""
        self._show([line])

    def close(self) -> None:
        """Show the last state."""
        self._show(self._events(), closing=True)

    def _show(self, events: Sequence[str], *, closing: bool = False) -> None:
        now = self._now()
        self._pace.mark(now)
        if self._output.in_place:
            columns, lines = self._output.size()
            # one column is left free, since terminals differ in what follows a full line, and one line for the cursor
            self._output.redraw(events, self._table(columns - 1, lines - 1, closing=closing))
            return
        self._output.print(events)
        if closing or now - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now
            self._output.print([self._log_line(closing=closing)])

    # Lines that are said once

    def _events(self) -> list[str]:
        """What became of adapters since the last call."""
        events = []
        for place, life in enumerate(self._lives):
            for number in range(self._num_divergences[place], len(life.divergences)):
                events.append(f"{self._label}: {_divergence(life, number)}")
            self._num_divergences[place] = len(life.divergences)
            if not life.clock.running and life.name not in self._ended:
                self._ended.add(life.name)
                if life.state != "diverged":
                    events.append(f"{self._label}: {_ending(life)}")
        return events

    def _log_line(self, *, closing: bool) -> str:
        steps = sum(life.clock.step for life in self._lives)
        planned = sum(_planned_steps(life) for life in self._lives)
        counts = Counter(_state(life) for life in self._lives)
        ended = ", ".join(f"{counts[state]} {state}" for state in _STATES[1:] if counts[state])
        parts = [f"{steps}/{planned} steps", _adapters(len(self._lives)) + (f" ({ended})" if ended else "")]
        losses = [_loss(life) for life in self._lives if life.clock.running] or [_loss(life) for life in self._lives]
        known = [loss for loss in losses if loss is not None]
        if known:
            parts.append(f"loss {_figure(sum(known) / len(known))}")
        return f"{self._label}: " + ", ".join(parts + self._pace_parts(closing=closing))

    def _pace_parts(self, *, closing: bool) -> list[str]:
        rate = self._pace.mean_rate if closing else self._pace.rate
        left = self._pace.remaining_s()
        parts = [] if rate is None else [f"{rate:,.0f} tokens/s"]
        if closing:
            parts.append(duration(self._pace.elapsed_s()))
        elif left is not None:
            parts.append(f"{duration(left)} left")
        return parts

    # The table

    def _table(self, width: int, height: int, *, closing: bool) -> list[str]:
        """At most `height` lines of at most `width` characters: a headline, titles, adapters, what is not shown."""
        lines = self._headline(width, closing=closing)[: max(1, height - 3)]
        has_legend = height >= _LEGEND_FROM_LINES
        room = height - len(lines) - 1 - has_legend
        if room < 1:
            return lines[: max(0, height)]
        places = list(range(len(self._lives)))
        hidden: list[int] = []
        if len(places) > room:
            places = sorted(places, key=self._urgency)
            places, hidden = sorted(places[: room - 1]), places[room - 1 :]
        lines += _aligned([self._row(place) for place in places], width)
        if hidden:
            lines.append(_cut(self._summary(hidden), width))
        if has_legend:
            lines.append(_cut(self._legend(), width))
        return lines

    def _headline(self, width: int, *, closing: bool) -> list[str]:
        """How far the bank is and what its adapters do; two lines where one is too short."""
        counts = Counter(_state(life) for life in self._lives)
        percent = f"{math.floor(100 * self._pace.share_done())} %"
        pace = f"{self._label}: " + ", ".join([percent, *self._pace_parts(closing=closing)])
        states = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
        whole = f"{pace}, {states}" if states else pace
        return [whole] if len(whole) <= width else [_cut(pace, width), _cut(states, width)]

    def _urgency(self, place: int) -> tuple[int, int, int]:
        """Diverged before running before ended, those furthest behind first.

        Progress counts in tenths: adapters of a wave keep abreast, exact order would shuffle the lines all the time.
        """
        life = self._lives[place]
        kind = 0 if life.state == "diverged" else 1 if life.divergences else 2
        if not life.clock.running and life.state != "diverged":
            kind = 3
        return kind, math.floor(10 * life.clock.progress), place

    def _row(self, place: int) -> Row:
        life = self._lives[place]
        task, step = life.clock.task, life.clock.step
        rate, tokens = "", ""
        if life.clock.running:
            coming = min(step + 1, task.num_steps)
            rate = f"{life.rate_factor * learning_rate(task.spec.optimizer, coming, task.num_steps):.1e}"
            share = self._pace.rate_of(place)
            tokens = "" if share is None else f"{share:,.0f}"
        state = _state(life)
        return (
            _printable(life.name),
            f"{step}/{task.num_steps}",
            _figure(_loss(life)),
            rate,
            tokens,
            _figure(_best(life)),
            "at half rate" if state == "training" and life.divergences else state,
        )

    def _summary(self, hidden: Sequence[int]) -> str:
        counts = Counter(_state(self._lives[place]) for place in hidden)
        kinds = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
        return f"… and {len(hidden)} more: {kinds}"

    def _legend(self) -> str:
        measured = any(life.development for life in self._lives)
        return f"loss: mean of {_SMOOTHED_STEPS} steps" + ("; dev best: least on development rows" if measured else "")


class _Output:
    """A stream that never fails its user: what cannot be written any more is dropped."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._drawn: list[str] = []
        self.in_place = stream is not None and _is_terminal(stream)

    def size(self) -> tuple[int, int]:
        """The terminal's columns and lines."""
        try:
            assert self._stream is not None
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            size = shutil.get_terminal_size()
        return size.columns or 80, size.lines or 24

    def print(self, lines: Sequence[str]) -> None:
        """Write lines of a log."""
        self._write("".join(f"{line}\n" for line in lines))

    def redraw(self, above: Sequence[str], lines: Sequence[str]) -> None:
        """Put `lines` where the last ones stand, and `above` over them, where it stays."""
        columns, height = self.size()
        # a terminal made narrower has broken the old lines in several
        up = min(height - 1, sum(max(1, math.ceil(len(line) / columns)) for line in self._drawn))
        text = "".join(f"{line}\x1b[K\n" for line in [*above, *lines])
        self._write("\r" + (f"\x1b[{up}A" if up > 0 else "") + text + "\x1b[J")
        self._drawn = list(lines)

    def _write(self, text: str) -> None:
        if self._stream is None or not text:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe or file, a terminal that is gone
            self._stream = None
            self.in_place = False


def _is_terminal(stream: TextIO) -> bool:
    """Whether the cursor can be moved on it."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def _aligned(rows: Sequence[Row], width: int) -> list[str]:
    """Titles and rows as lines: names to the left and cut where needed, numbers to the right, no empty column."""
    if not rows:
        return []
    cells = {title: [row[place] for row in rows] for place, title in enumerate(_COLUMNS)}
    shown = [title for title in _COLUMNS if any(cells[title])]
    widths = {title: max(map(len, [title, *cells[title]])) for title in shown}
    name = min(widths["adapter"], _NAME_WIDTH)

    def others() -> int:
        return sum(widths[title] + 2 for title in shown if title != "adapter")

    for title in _DISPENSABLE:
        if title in shown and name + others() > width:
            shown.remove(title)
    widths["adapter"] = max(1, min(widths["adapter"], width - others()))
    lines = []
    for row in [_COLUMNS, *rows]:
        parts = []
        for title in shown:
            text = _cut(row[_COLUMNS.index(title)], widths[title])
            parts.append(text.ljust(widths[title]) if title in _TEXT_COLUMNS else text.rjust(widths[title]))
        lines.append(_cut("  ".join(parts).rstrip(), width))
    return lines


def _divergence(life: AdapterLife, number: int) -> str:
    divergence = life.divergences[number]
    record, back_to = divergence.record, divergence.back_to
    what = f"loss {_figure(record.loss)}, gradient norm {record.gradient_norm:.3g}"
    then = f"again from step {back_to} at half rate" if number == 0 else f"parked as it was at step {back_to}"
    return f"{_printable(life.name)} diverged at step {record.step} ({what}): {then}"


def _ending(life: AdapterLife) -> str:
    text = f"{_printable(life.name)} {_state(life)} at step {life.clock.step} of {life.clock.task.num_steps}"
    loss, best = _loss(life), _best(life)
    if loss is not None:
        text += f", loss {_figure(loss)}"
    if best is not None:
        text += f", dev best {_figure(best)} at step {life.best_step}"
    return text


def _state(life: AdapterLife) -> str:
    return life.state.replace("-", " ")


def _planned_steps(life: AdapterLife) -> int:
    return life.clock.task.num_steps if life.clock.running else life.clock.step


def _adapters(number: int) -> str:
    return "1 adapter" if number == 1 else f"{number} adapters"


def _loss(life: AdapterLife) -> float | None:
    """Mean of the latest steps' losses; None before the first."""
    losses = [record.loss for record in life.records[-_SMOOTHED_STEPS:]]
    return sum(losses) / len(losses) if losses else None


def _best(life: AdapterLife) -> float | None:
    return min((loss for _, loss in life.development), default=None)


def _figure(value: float | None) -> str:
    """A loss in at most nine characters."""
    if value is None:
        return ""
    return f"{value:.3f}" if not math.isfinite(value) or abs(value) < 1000 else f"{value:.2e}"


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[:width]
