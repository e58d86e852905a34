"""The bundled phrasebook as a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from hexapla.data.readers.base import Reader
from hexapla.data.records import Record


class PhrasebookReader(Reader):
    """A split of the bundled multi-way phrasebook; its splits share no row."""

    reader: Literal["phrasebook"] = Field("phrasebook", description="The bundled phrasebook.")
    split: Literal["pretrain", "train", "dev", "test"] = Field("train", description="Part of the phrasebook.")
    seed: int = Field(
        0, ge=0, description="Chooses the sample of sentences and the parts; equal in all uses of a recipe."
    )

    def default_name(self) -> str:
        """Always `phrasebook`: row ids are those of the phrasebook, whatever the split."""
        return "phrasebook"

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """The rows of the split, with its own ids."""
        from hexapla.phrasebook import corpus

        for number, row in enumerate(corpus.rows(self.split, self.wanted(languages), self.seed), 1):
            yield Record(number, row.texts, row.id.removeprefix("phrasebook:"), f"{row.domain}.{row.frame}")

    def fingerprint(self) -> dict[str, str]:
        """Digest of the phrasebook's code and tables, which decide its rows."""
        import hexapla.phrasebook

        folder = Path(hexapla.phrasebook.__path__[0])
        digest = hashlib.sha256()
        for file in sorted(folder.rglob("*")):
            if file.suffix in {".py", ".yaml", ".csv", ".json"}:
                digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
        return {"phrasebook": digest.hexdigest()}
