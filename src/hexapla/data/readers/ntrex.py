"""NTREX-128 in its own folder layout (Federmann et al., 2022): one English source and references, 1997 lines each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from hexapla.common.errors import UserError
from hexapla.common.textfiles import read_lines
from hexapla.data.parallel import parallel_records
from hexapla.data.readers.base import COMPRESSIONS, PathReader, existing, require, select_files
from hexapla.data.records import Record


class NtrexReader(PathReader):
    """The folder `NTREX-128`, or the folder that holds it."""

    reader: Literal["ntrex"] = Field("ntrex", description="NTREX-128 folder.")

    def default_name(self) -> str:
        """Always `ntrex`."""
        return "ntrex"

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a line, with its document where DOCUMENT_IDS.tsv is there.

        Raises:
            UserError: no such folder, no file for a language, differing numbers of lines.
        """
        return parallel_records(self._texts(languages), self._documents())

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The texts of the languages and, if there, the document ids."""
        documents = self._documents_file()
        return (*self._texts(languages).values(), *([documents] if documents else []))

    def _folder(self) -> Path:
        require(self.path)
        inner = self.path / "NTREX-128"
        return inner if inner.is_dir() else self.path

    def _texts(self, languages: tuple[str, ...]) -> dict[str, Path]:
        folder = self._folder()
        available = _available(folder)
        if not available:
            raise UserError(
                "This folder holds no NTREX-128 text (newstest2019-ref.CODE.txt).",
                where=str(self.path),
                hint="Give the folder NTREX-128 or the one that holds it.",
            )
        return select_files(self, languages, available, "ntrex", folder)

    def _documents_file(self) -> Path | None:
        for folder in (self._folder(), self._folder().parent):
            if (found := existing(folder / "DOCUMENT_IDS.tsv")).is_file():
                return found
        return None

    def _documents(self) -> list[str] | None:
        path = self._documents_file()
        return [line or "" for line in read_lines(path)] if path else None


def _available(folder: Path) -> dict[str, Path]:
    """NTREX code → file."""
    found = {}
    for kind in ("ref", "src"):
        for compression in COMPRESSIONS:
            for path in sorted(folder.glob(f"newstest2019-{kind}.*.txt{compression}")):
                found[path.name.split(".")[1]] = path
    return found
