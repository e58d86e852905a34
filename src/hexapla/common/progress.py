"""Progress of long work: one line for people on standard error, JSON lines for machines.

The line for people shows done/total, rate and time left; on a terminal it is redrawn in place, elsewhere
it is printed at most every ten seconds. The events go to a log file that is appended as they come.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from hexapla.common.artifacts import explain_os_errors


class EventLog:
    """Appends machine-readable events (`{"time": ..., "event": ..., ...}`) to a JSONL file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event, flushed at once, so that a killed run leaves all it knew."""
        if self.path is None:
            return
        record = {"time": round(time.time(), 3), "event": event, **fields}
        with explain_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


class Progress:
    """A counter with rate and time left.

    Args:
        label: what is being done, for people.
        total: how many units there are; None when unknown.
        unit: name of the unit in the plural ("examples").
        done: units finished before (a resumed run), not counted in the rate.
    """

    def __init__(
        self, label: str, total: int | None, *, unit: str = "items", done: int = 0, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._done_before = done
        self._stream = stream if stream is not None else sys.stderr
        self._in_place = self._stream.isatty()
        self._start = time.monotonic()
        self._last_shown = self._start if not self._in_place else 0.0

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more units; `note` (a loss, a name) is shown behind the line."""
        self.done += amount
        now = time.monotonic()
        if now - self._last_shown >= (0.1 if self._in_place else 10.0):
            self._last_shown = now
            self._show(note)

    def close(self, note: str = "") -> None:
        """Show the final state and end the line."""
        self._show(note)
        if self._in_place:
            self._stream.write("\n")
            self._stream.flush()

    def _show(self, note: str) -> None:
        elapsed_s = time.monotonic() - self._start
        rate = (self.done - self._done_before) / elapsed_s if elapsed_s > 0 else 0.0
        text = f"{self.label}: {self.done}"
        if self.total is not None:
            text += f"/{self.total}"
        text += f" {self.unit}, {rate:.1f}/s"
        if self.total is not None and rate > 0 and self.done < self.total:
            text += f", {duration((self.total - self.done) / rate)} left"
        elif elapsed_s >= 1:
            text += f", {duration(elapsed_s)}"
        if note:
            text += f", {note}"
        self._stream.write(f"\r\x1b[K{text}" if self._in_place else f"{text}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
