"""The contract of every reader: settings, the files it needs, and a stream of records."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from hexapla import languages as registry
from hexapla.common.errors import UserError, nearest
from hexapla.common.spec import Spec
from hexapla.data.records import Record

SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
COMPRESSIONS = ("", ".gz", ".zst")


class Reader(Spec):
    """Settings of one corpus, and how it is read. Each subclass fixes `reader`, its name in recipes."""

    reader: str
    name: str | None = Field(
        None,
        pattern=SAFE_NAME.pattern,
        description="Name in reports, row ids and file names; None: made from the source.",
    )
    rows: str | None = Field(None, description="Slice of the corpus's records, such as 0:1500 or 1500:; None: all.")
    languages: tuple[str, ...] | dict[str, str | int] | None = Field(
        None,
        description="Languages taken from this corpus: a list, or a map to their spelling there (file code, column, "
        "key). Each one must be found. None: those of the recipe.",
    )

    @field_validator("rows", mode="before")
    @classmethod
    def _is_slice(cls, value: Any) -> Any:
        if value is not None and not (isinstance(value, str) and re.fullmatch(r"\d*:\d*", value, re.ASCII)):
            raise ValueError("a slice is written FIRST:END, such as 0:1500 or 1500:, counting from 0, END not included")
        return value

    @field_validator("languages")
    @classmethod
    def _canonical(
        cls, value: tuple[str, ...] | dict[str, str | int] | None
    ) -> tuple[str, ...] | dict[str, str | int] | None:
        if value is None:
            return None
        try:
            codes = [registry.get(spelling).code for spelling in value]
        except UserError as error:
            raise ValueError(error.paragraph()) from error
        if len(set(codes)) < len(codes):
            raise ValueError("a language is named twice")
        return dict(zip(codes, value.values(), strict=True)) if isinstance(value, dict) else tuple(codes)

    @model_validator(mode="after")
    def _slice_is_ordered(self) -> Self:
        start, stop = self.bounds
        if stop is not None and stop <= start:
            raise ValueError(f"rows: the slice {self.rows!r} is empty")
        return self

    @property
    def bounds(self) -> tuple[int, int | None]:
        """First position wanted and the first one no longer wanted (None: to the end)."""
        start, _, stop = (self.rows or ":").partition(":")
        return int(start or 0), int(stop) if stop else None

    @property
    def corpus(self) -> str:
        """The name of the corpus."""
        if self.name is not None:
            return self.name
        cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", self.default_name()).strip("._-")
        return cleaned or self.reader

    @property
    def explicit(self) -> tuple[str, ...]:
        """The languages that the settings of this corpus name."""
        return tuple(self.languages or ())

    def wanted(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the recipe's languages that this corpus is asked for, in the recipe's order."""
        return languages if self.languages is None else tuple(code for code in languages if code in self.languages)

    def spelling(self, code: str) -> str | int | None:
        """How this corpus writes a language, where the settings say it."""
        return self.languages.get(code) if isinstance(self.languages, dict) else None

    @abstractmethod
    def default_name(self) -> str:
        """A name made from the source."""

    @abstractmethod
    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """Every record in order, with the texts of `languages` (canonical codes) that it has.

        Raises:
            UserError: the source as a whole cannot be used: missing, damaged, ragged between its files.
        """

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The files that `records` reads, for digests; none for sources that are not files."""
        return ()

    def fingerprint(self) -> dict[str, str]:
        """Name → value of what decides the content where it is not files."""
        return {}


class PathReader(Reader):
    """A corpus that lies in files."""

    path: Path = Field(description="File, folder or prefix, relative to the current folder.")

    def default_name(self) -> str:
        """The name of the file without folder and endings."""
        return stem(self.path)


def select_files(
    reader: Reader, languages: tuple[str, ...], available: Mapping[str, Path], scheme: str, where: Path
) -> dict[str, Path]:
    """Canonical code → file, for folders with one file a language; every language asked for must be there.

    Args:
        available: code in the folder's own scheme → file.
        scheme: attribute of `Language` that holds that code: `ntrex` or `flores`.

    Raises:
        UserError: a language has no file; the nearest codes are named.
    """
    files = {}
    for code in reader.wanted(languages):
        spelling = str(reader.spelling(code) or getattr(registry.get(code), scheme) or code)
        if spelling not in available:
            raise UserError(
                f"There is no text for {code} ({scheme} code {spelling}) among the {len(available)} languages here.",
                where=str(where),
                hint=f"{nearest(spelling, available)} To take fewer languages from this corpus, list them: "
                "languages: [en, …].",
            )
        files[code] = available[spelling]
    return files


def stem(path: Path) -> str:
    """The file name without compression and format endings: `data/a.b.tsv.gz` gives `a.b`."""
    name = path.name
    for ending in (".gz", ".zst", ".tsv", ".csv", ".jsonl", ".json", ".tmx", ".txt"):
        name = name.removesuffix(ending)
    return name


def existing(path: Path) -> Path:
    """`path`, or the same with a compression ending, whichever exists; `path` when none does."""
    return next((found for ending in COMPRESSIONS if (found := Path(f"{path}{ending}")).is_file()), path)


def require_file(path: Path) -> None:
    """As `require`, and it must be a file.

    Raises:
        UserError: it does not exist or is a folder.
    """
    require(path)
    if path.is_dir():
        raise UserError("This is a folder, a file is needed.", where=str(path))


def require(path: Path) -> None:
    """Refuse a path that does not exist, saying what the current folder is.

    Raises:
        UserError: it does not exist.
    """
    if not path.exists():
        raise UserError(
            "This path does not exist.",
            where=str(path),
            hint=f"Paths are relative to the current folder, {Path.cwd()}.",
        )
