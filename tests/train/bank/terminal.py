"""A terminal of a given size: a real pseudo-terminal, and what a screen would show of what is written to it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import threading
from types import TracebackType
from typing import TextIO

_ALL_READ = b"\0"
_CODES = re.compile(r"\x1b\[(\d*)([AJK])|([\r\n])|([^\x1b\r\n])")


class Screen:
    """Rows of characters with the few control codes that the table uses; long lines wrap and follow a new width."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.rows, self._wrapped = [""], [False]  # all rows ever, the last `lines` of them visible
        self._row = self._column = 0

    @property
    def visible(self) -> list[str]:
        """What can be seen, without empty rows at the end."""
        seen = [row.rstrip() for row in self.rows[-self.lines :]]
        while seen and not seen[-1]:
            seen.pop()
        return seen

    def feed(self, text: str) -> None:
        """Take in what a program wrote."""
        position = 0
        for match in _CODES.finditer(text):
            assert match.start() == position, f"unknown code at {text[position : position + 8]!r}"
            position = match.end()
            number, code, control, character = match.groups()
            if code == "A":
                self._row = max(len(self.rows) - self.lines, 0, self._row - int(number or 1))
            elif code in ("K", "J"):
                self.rows[self._row] = self.rows[self._row][: self._column]
                if code == "J":
                    del self.rows[self._row + 1 :], self._wrapped[self._row + 1 :]
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._down(wrapped=False)
            else:
                self._put(character)
        assert position == len(text)

    def resize(self, columns: int, lines: int) -> None:
        """Another size: rows are broken anew, as most terminals do."""
        whole: list[str] = []
        for row, wrapped in zip(self.rows, self._wrapped, strict=True):
            if wrapped:
                whole[-1] += row
            else:
                whole.append(row)
        self.rows, self._wrapped = [], []
        for line in whole:
            parts = [line[start : start + columns] for start in range(0, len(line), columns)] or [""]
            self.rows += parts
            self._wrapped += [place > 0 for place in range(len(parts))]
        self.columns, self.lines = columns, lines
        self._row = len(self.rows) - 1

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._column = 0
            self._down(wrapped=True)
        row = self.rows[self._row].ljust(self._column)
        self.rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
        self._column += 1

    def _down(self, *, wrapped: bool) -> None:
        self._row += 1
        if self._row == len(self.rows):
            self.rows.append("")
            self._wrapped.append(wrapped)


class Terminal:
    """A pseudo-terminal; `stream` is what a program has as its standard error."""

    def __init__(self, columns: int, lines: int) -> None:
        self._master, self._slave = os.openpty()
        self._end, self._ending = os.pipe()
        self._written = b""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.stream: TextIO = open(os.dup(self._slave), "w", encoding="utf-8")  # noqa: SIM115  closed in __exit__
        self.screen = Screen(columns, lines)
        self._set_size(columns, lines)
        self._reader.start()  # a terminal whose output nobody takes in stops those who write to it

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hang_up()
        self.stream.close()
        os.close(self._slave)

    def hang_up(self) -> None:
        """The terminal's window is closed."""
        if self._reader.is_alive():
            os.close(self._ending)
            self._reader.join()
            os.close(self._end)
            os.close(self._master)

    def resize(self, columns: int, lines: int) -> None:
        """The window's size is changed."""
        self.look()
        self._set_size(columns, lines)
        self.screen.resize(columns, lines)

    def look(self) -> list[str]:
        """The rows that are seen now."""
        os.write(self._slave, _ALL_READ)
        with self._news:
            assert self._news.wait_for(lambda: _ALL_READ in self._written, timeout=10)
            text, self._written = self._written.replace(_ALL_READ, b"").decode(), b""
        self.screen.feed(text)
        return self.screen.visible

    def _read(self) -> None:
        while self._end not in select.select([self._master, self._end], [], [])[0]:
            text = os.read(self._master, 65536)
            with self._news:
                self._written += text
                self._news.notify_all()

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class Watch:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def __call__(self) -> float:
        return self.time_s
