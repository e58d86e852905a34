"""Plain-text files side by side, one a language: Moses and OPUS (`name.de-en.de`), OpusCleaner (`name.en.gz`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from hexapla.common.errors import UserError, nearest
from hexapla.data.codes import match_spellings
from hexapla.data.parallel import parallel_records
from hexapla.data.readers.base import COMPRESSIONS, PathReader, existing
from hexapla.data.records import Record

MIN_LANGUAGES = 2


class MosesReader(PathReader):
    """Files that share a prefix: `path: data/Europarl.de-en` reads `Europarl.de-en.de` and `Europarl.de-en.en`.

    More than two are a multi-way corpus. With a folder as path, `languages` maps each language to a file name in it.
    """

    reader: Literal["moses"] = Field("moses", description="One plain-text file a language, lines corresponding.")

    def default_name(self) -> str:
        """The last part of the prefix."""
        return self.path.name

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a line.

        Raises:
            UserError: fewer than two of the languages have a file, or the numbers of lines differ.
        """
        return parallel_records(self._texts(languages))

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The texts of the languages."""
        return tuple(self._texts(languages).values())

    def _texts(self, languages: tuple[str, ...]) -> dict[str, Path]:
        explicit = self.languages if isinstance(self.languages, dict) else None
        endings = self._endings()
        matched = match_spellings(endings, self.wanted(languages), explicit, str(self.path))
        files = {}
        for code in self.wanted(languages):
            if code in matched:
                files[code] = self._file(matched[code])
            elif code in self.explicit:
                raise self._missing(code, code, endings)
        for code, path in files.items():
            if not path.is_file():
                raise self._missing(code, matched[code], endings)
        if len(files) < min(MIN_LANGUAGES, len(self.wanted(languages))):
            raise self._missing(", ".join(code for code in languages if code not in files), "", endings)
        return files

    def _file(self, spelling: str) -> Path:
        return existing(self.path / spelling if self.path.is_dir() else Path(f"{self.path}.{spelling}"))

    def _endings(self) -> list[str]:
        """What follows the prefix and its dot, without compression endings."""
        if self.path.is_dir():
            return sorted(path.name for path in self.path.iterdir() if path.is_file())
        if not self.path.parent.is_dir():
            raise UserError(
                "This folder does not exist.",
                where=str(self.path.parent),
                hint=f"Paths are relative to the current folder, {Path.cwd()}.",
            )
        prefix = f"{self.path.name}."
        names = (path.name for path in self.path.parent.iterdir() if path.is_file() and path.name.startswith(prefix))
        endings = {_uncompressed(name.removeprefix(prefix)) for name in names}
        return sorted(ending for ending in endings if "." not in ending)

    def _missing(self, code: str, spelling: str, endings: list[str]) -> UserError:
        prefixes = sorted({path.name.rpartition(".")[0] for path in _folder_files(self.path)} - {""})
        hint = f"There are: {', '.join(endings)}. {nearest(spelling, endings)}" if endings and spelling else None
        if not endings:
            hint = f"No file begins with {self.path.name!r}. {nearest(self.path.name, prefixes)}" if prefixes else None
        elif not spelling:
            hint = f"There are: {', '.join(endings)}. Map languages to endings or file names with languages: {{en: …}}."
        return UserError(f"There is no file for {code}.", where=str(self.path), hint=hint)


def _uncompressed(name: str) -> str:
    return next((name.removesuffix(ending) for ending in COMPRESSIONS[1:] if name.endswith(ending)), name)


def _folder_files(path: Path) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    return [Path(_uncompressed(file.name)) for file in folder.iterdir() if file.is_file()]
