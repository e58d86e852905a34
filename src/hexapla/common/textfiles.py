"""Reading other people's text files: compression, byte-order marks, line ends and broken UTF-8.

Lines are separated by LF or CRLF only: U+2028, U+0085 and form feeds occur inside real sentences and
`str.splitlines` would shift every line after them.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hexapla.common.errors import UserError, require_extra


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes; `.gz` and `.zst` are decompressed on the way.

    Raises:
        UserError: the file is missing, a folder, unreadable, or damaged compressed data.
    """
    if not path.exists():
        raise UserError("This file does not exist.", where=str(path))
    if path.is_dir():
        raise UserError("This is a folder, a file is needed.", where=str(path))
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                yield file  # type: ignore[misc]
        elif path.suffix == ".zst":
            zstandard = require_extra("zstandard", "zstd", f"Reading {path.name}")
            try:
                with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                    yield io.BufferedReader(stream)
            except zstandard.ZstdError as error:
                raise UserError(f"This is not sound Zstandard data ({error}).", where=str(path)) from error
        else:
            with path.open("rb") as file:
                yield file
    except PermissionError as error:
        raise UserError("This file may not be read (permission denied).", where=str(path)) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"This is not sound gzip data ({error}).", where=str(path)) from error


def read_lines(path: Path) -> Iterator[str | None]:
    """Lines of a text file without their ends (LF or CRLF); a leading byte-order mark is dropped.

    A line that is not valid UTF-8 comes as None, so that the caller can set it aside and keep the count.

    Raises:
        UserError: as `open_binary`; or the file is UTF-16, which would make every line broken.
    """
    with open_binary(path) as file:
        yield from _decoded(file, str(path))


def read_valid_lines(path: Path | None) -> Iterator[str]:
    """As `read_lines`, for work where no line may be left out; None reads standard input.

    Raises:
        UserError: as `read_lines`; or a line is not valid UTF-8 (with its number).
    """
    where = str(path) if path is not None else "standard input"
    lines = read_lines(path) if path is not None else _decoded(sys.stdin.buffer, where)
    for number, line in enumerate(lines, start=1):
        if line is None:
            raise UserError("This line is not valid UTF-8.", where=f"{where}:{number}")
        yield line


def _decoded(file: BinaryIO, where: str) -> Iterator[str | None]:
    for number, raw in enumerate(file):
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 0:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(
                    "This file is UTF-16, UTF-8 is needed.",
                    where=where,
                    hint="Convert it, for example with: iconv -f UTF-16 -t UTF-8.",
                )
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            yield None
