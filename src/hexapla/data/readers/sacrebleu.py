"""Test sets that sacreBLEU knows by name (wmt08 … wmt24, iwslt17, …), from its cache or downloaded by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hexapla.common.errors import UserError, nearest
from hexapla.data.codes import find_code
from hexapla.data.parallel import parallel_records
from hexapla.data.readers.base import Reader
from hexapla.data.records import Record


class SacrebleuReader(Reader):
    """A sacreBLEU test set. Its pairs are directional: `en-de` was written in English."""

    reader: Literal["sacrebleu"] = Field("sacrebleu", description="Test set that sacreBLEU knows by name.")
    testset: str = Field(description="Its name, such as wmt22.")
    pairs: tuple[str, ...] | None = Field(
        None,
        description="Language pairs to take, such as en-de, source first; None: all between the recipe's languages.",
    )

    def default_name(self) -> str:
        """The name of the test set."""
        return self.testset

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """The pairs one after another, source and first reference of each segment.

        Raises:
            UserError: unknown set or pair, or the set is neither cached nor to be had.
        """
        dataset = self._dataset()
        for pair, source, target in self._pairs(dataset, self.wanted(languages)):
            files = _files(dataset, pair)
            for record in parallel_records({source: files[0], target: files[1]}):
                yield replace(record, id=f"{pair}:{record.line - 1:04d}")

    def fingerprint(self) -> dict[str, str]:
        """The checksums by which sacreBLEU knows the set."""
        dataset = self._dataset()
        return {f"sacrebleu:{self.testset}": " ".join(dataset.md5 or dataset.data or [])}

    def _dataset(self) -> Any:
        from sacrebleu.dataset import DATASETS

        if self.testset not in DATASETS:
            raise UserError(
                f"sacreBLEU knows no test set {self.testset!r}.",
                where=f"corpus {self.corpus}",
                hint=nearest(self.testset, DATASETS),
            )
        return DATASETS[self.testset]

    def _pairs(self, dataset: Any, wanted: tuple[str, ...]) -> list[tuple[str, str, str]]:
        """Pair, code of its source, code of its target."""
        for pair in self.pairs or ():
            if pair not in dataset.langpairs:
                raise UserError(
                    f"{self.testset} has no pair {pair!r}.",
                    where=f"corpus {self.corpus}",
                    hint=nearest(pair, dataset.langpairs),
                )
        found = []
        for pair in self.pairs or sorted(dataset.langpairs):
            source, target = (find_code(side, wanted) for side in pair.split("-"))
            if source in wanted and target in wanted and source is not None and target is not None:
                found.append((pair, source, target))
        return found


def _files(dataset: Any, pair: str) -> tuple[Path, Path]:
    """Source and first reference in sacreBLEU's cache, fetched when they are not there."""
    try:
        return Path(dataset.get_source_file(pair)), Path(dataset.get_reference_files(pair)[0])
    except (OSError, SystemExit) as error:
        raise UserError(
            f"The test set {dataset.name} is not in sacreBLEU's cache and could not be fetched ({error}).",
            hint=f"Fetch it where there is a network (sacrebleu -t {dataset.name} -l {pair} --echo src) "
            "and copy ~/.sacrebleu.",
        ) from error
