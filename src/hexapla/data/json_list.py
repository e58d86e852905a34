"""A file that is one JSON list, element by element: neither its text nor its elements are ever held whole."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from hexapla.common.errors import UserError
from hexapla.common.textfiles import open_binary

_CHUNK_BYTES = 1 << 20
_LONGEST_WORD = 16  # characters that the end of a chunk may cut off: `-Infinity`, an escape, the exponent of a number
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def stream_json_list(path: Path) -> Iterator[Any]:
    """The elements of the list that a file (plain, .gz or .zst, UTF-8) holds, in order.

    Memory grows with the largest element.

    Raises:
        UserError: as `open_binary`; or the file is not valid UTF-8 or not one JSON list, with the line where that
            shows. What stands before it has been handed out by then.
    """
    with open_binary(path) as file:
        yield from _ListReader(file, path).elements()


class _ListReader:
    """A window on the text of the file, which moves on as elements are taken."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._place = "", 0
        self._lines_before = 0  # of the window

    def elements(self) -> Iterator[Any]:
        """Every element; the list must be all that the file holds."""
        self._take("[", "Expecting a list")
        if self._next() != "]":
            yield self._element()
            while self._next() != "]":
                self._take(",", "Expecting ',' delimiter")
                yield self._element()
        self._take("]", "Expecting ']'")
        if self._next():
            raise self._fault("Extra data", self._place)

    def _take(self, character: str, otherwise: str) -> None:
        if self._next() != character:
            raise self._fault(otherwise, self._place)
        self._place += 1

    def _next(self) -> str:
        """The next character that is no white space, which stays; empty at the end of the file."""
        while True:
            self._place = self._space_end(self._place)
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._widen():
                return ""

    def _element(self) -> Any:
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                may_be_cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _LONGEST_WORD
                if not (may_be_cut and self._widen()):
                    raise self._fault(error.msg, error.pos) from error
                continue
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand lists in lists
                raise self._fault(str(error), self._place) from error
            # What ends with the window may go on behind it: 12, and then 3.
            behind = self._space_end(end)
            room = len(self._text) - behind
            is_whole = room > _LONGEST_WORD or (room > 0 and self._text[behind] in ",]")
            if is_whole or not self._widen():
                self._place = end
                return value

    def _space_end(self, place: int) -> int:
        space = _SPACE.match(self._text, place)
        assert space is not None
        return space.end()

    def _widen(self) -> bool:
        """Read on, at least as much as is not taken yet; False, and nothing moved, at the end of the file."""
        chunk = self._file.read(max(_CHUNK_BYTES, len(self._text) - self._place))
        try:
            text = self._decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            line = self._lines_before + self._text.count("\n") + error.object[: error.start].count(b"\n") + 1
            raise UserError("This line is not valid UTF-8.", where=f"{self._path}:{line}") from error
        if chunk:
            self._lines_before += self._text.count("\n", 0, self._place)
            self._text, self._place = self._text[self._place :] + text, 0
        return bool(chunk)

    def _fault(self, what: str, place: int) -> UserError:
        line = self._lines_before + self._text.count("\n", 0, place) + 1
        return UserError(f"This JSON list cannot be read ({what}).", where=f"{self._path}:{line}")
