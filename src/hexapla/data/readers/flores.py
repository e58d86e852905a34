"""FLORES-200 in its folder layout (NLLB team, 2022): `dev/CODE.dev` (997 lines) and `devtest/CODE.devtest` (1012)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from hexapla.common.errors import UserError
from hexapla.data.parallel import parallel_records
from hexapla.data.readers.base import COMPRESSIONS, PathReader, require, select_files
from hexapla.data.records import Record


class FloresReader(PathReader):
    """The folder that holds `dev` and `devtest`, or its parent."""

    reader: Literal["flores"] = Field("flores", description="FLORES-200 folder.")
    split: Literal["dev", "devtest"] = Field(description="Which of the two parts.")

    def default_name(self) -> str:
        """`flores-dev` or `flores-devtest`."""
        return f"flores-{self.split}"

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a line.

        Raises:
            UserError: no such folder, no file for a language, differing numbers of lines.
        """
        return parallel_records(self._texts(languages))

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The texts of the languages."""
        return tuple(self._texts(languages).values())

    def _texts(self, languages: tuple[str, ...]) -> dict[str, Path]:
        folder = self._folder()
        available = {
            path.name.split(".")[0]: path
            for compression in COMPRESSIONS
            for path in sorted(folder.glob(f"*.{self.split}{compression}"))
        }
        return select_files(self, languages, available, "flores", folder)

    def _folder(self) -> Path:
        require(self.path)
        for folder in (self.path, self.path / "flores200_dataset"):
            if (folder / self.split).is_dir():
                return folder / self.split
        raise UserError(
            f"There is no folder {self.split!r} in it.",
            where=str(self.path),
            hint="Give the folder of FLORES-200 that holds dev and devtest.",
        )
