"""Data sets of the Hugging Face hub, or local ones, through the optional package `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from hexapla.common.errors import UserError, require_extra
from hexapla.data.layouts import Layout
from hexapla.data.readers.base import Reader
from hexapla.data.records import Record


class HfReader(Reader):
    """A data set with one record a row, in any shape of `hexapla.data.layouts`. Loading scripts are never run."""

    reader: Literal["hf"] = Field("hf", description="Hugging Face data set (extra: datasets).")
    dataset: str = Field(description="Hub id or local folder.")
    config: str | None = Field(None, description="Configuration of the data set; None: its only one.")
    split: str = Field("train", description="Split of the data set.")
    revision: str | None = Field(None, description="Branch, tag or commit; give a commit to get the same data again.")

    def default_name(self) -> str:
        """The last part of the id, with configuration and split."""
        return "-".join(part for part in (self.dataset.rstrip("/").rpartition("/")[2], self.config, self.split) if part)

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a row.

        Raises:
            UserError: `datasets` is not installed, or the data set cannot be loaded.
        """
        datasets = require_extra("datasets", "datasets", "The reader hf")
        try:
            rows = datasets.load_dataset(self.dataset, self.config, split=self.split, revision=self.revision)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"The data set {self.dataset!r} (split {self.split!r}) cannot be loaded: {error}",
                where=f"corpus {self.corpus}",
            ) from error
        layout = Layout(self.wanted(languages), self.languages if isinstance(self.languages, dict) else None)
        for number, value in enumerate(rows, 1):
            yield layout.record(value, number)

    def fingerprint(self) -> dict[str, str]:
        """Id, configuration, split and revision: what the hub is asked for."""
        asked = f"{self.config or ''}/{self.split}@{self.revision or 'default branch'}"
        return {f"hf:{self.dataset}": asked}
