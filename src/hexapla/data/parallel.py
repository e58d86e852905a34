"""Plain-text files whose lines correspond: one file a language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hexapla.common.errors import UserError
from hexapla.common.textfiles import open_binary, read_lines
from hexapla.data.records import Flaw, Reason, Record


def count_lines(path: Path) -> int:
    """Lines of a file, decompressed; a last line without an end counts.

    Raises:
        UserError: as `open_binary`.
    """
    num_lines, last = 0, b"\n"
    with open_binary(path) as file:
        while chunk := file.read(1 << 20):
            num_lines += chunk.count(b"\n")
            last = chunk[-1:]
    return num_lines if last == b"\n" else num_lines + 1


def parallel_records(files: Mapping[str, Path], documents: Sequence[str] | None = None) -> Iterator[Record]:
    """One record a line; all files are counted before the first record comes.

    Args:
        files: language code → file.
        documents: id of the document of each line.

    Raises:
        UserError: a file is missing, damaged or UTF-16; or the numbers of lines differ.
    """
    for path in files.values():
        next(read_lines(path), None)  # refuses UTF-16, whose number of lines would mislead
    counts = {str(path): count_lines(path) for path in files.values()}
    if documents is not None:
        counts["document ids"] = len(documents)
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {number}" for name, number in counts.items())
        raise UserError(
            f"The files of one parallel corpus differ in their number of lines ({listed}).",
            hint="Line n of every file must be the same sentence; get the files again or align them.",
        )
    return _records(files, documents)


def _records(files: Mapping[str, Path], documents: Sequence[str] | None) -> Iterator[Record]:
    streams = [read_lines(path) for path in files.values()]
    for position, lines in enumerate(zip(*streams, strict=True)):
        texts = {
            code: Flaw(Reason.INVALID_UTF8) if line is None else line for code, line in zip(files, lines, strict=True)
        }
        yield Record(position + 1, texts, document=documents[position] if documents is not None else None)
