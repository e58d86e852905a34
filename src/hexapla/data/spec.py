"""Settings of a recipe's data: corpora for training, development and test, splits, and the contamination check."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from hexapla.common.spec import Spec
from hexapla.data.contamination import ContaminationSpec
from hexapla.data.downsample import DownsampleSpec
from hexapla.data.filters.spec import CleanSpec
from hexapla.data.instructions import InstructionsSpec
from hexapla.data.pmp import PmpSpec
from hexapla.data.readers import CorpusSpec
from hexapla.data.readers.base import Reader

__all__ = ["HELD_OUT", "HELD_OUT_DEV", "ContaminationSpec", "CorpusSpec", "DataSpec", "SplitSpec"]

HELD_OUT = "held-out"
"""Name of the test set that an automatic split makes."""
HELD_OUT_DEV = "held-out-dev"
"""Name under which development rows of an automatic split are kept out of training; no test set may have it."""


class SplitSpec(Spec):
    """Rows taken out of the training corpora by a stable hash of (seed, row id)."""

    dev: int = Field(0, ge=0, description="Number of rows for development.")
    test: int = Field(0, ge=0, description="Number of rows for the test set held-out.")


class DataSpec(Spec):
    """Corpora of a recipe. Paths are relative to the current folder."""

    train: tuple[CorpusSpec, ...] = Field(description="Corpora for training, at least one.")
    dev: tuple[CorpusSpec, ...] = Field((), description="Corpora for development (choosing, early stopping).")
    test: tuple[CorpusSpec, ...] = Field((), description="Test sets, each reported under its name.")
    monolingual: tuple[CorpusSpec, ...] = Field(
        (), description="Text for continued pre-training; every text of a row stands alone."
    )
    bilingual: tuple[CorpusSpec, ...] = Field(
        (), description="Sentence pairs for continued pre-training: of a row, every hub with every other language."
    )
    split: SplitSpec | None = Field(
        None, description="Take dev or test rows out of the training corpora; None: do not."
    )
    clean: CleanSpec | None = Field(
        None, description="Filters over the corpora for training and pre-training; null: all rows."
    )
    downsample: DownsampleSpec | None = Field(
        None, description="Train on fewer examples into a hub (strategic downsampling); null: on all."
    )
    pmp: PmpSpec | None = Field(
        None, description="Show a translation into an auxiliary language (parallel multilingual prompting); null: none."
    )
    instructions: InstructionsSpec | None = Field(
        None, description="General instructions to train on beside translation (AlignX's second stage); null: none."
    )
    contamination: ContaminationSpec = Field(
        default_factory=lambda: ContaminationSpec.model_validate({}),
        description="Check of training and development rows against the test sets.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.train:
            raise ValueError("train: at least one corpus is needed")
        num_dev, num_test = (self.split.dev, self.split.test) if self.split is not None else (0, 0)
        if not self.test and not num_test:
            raise ValueError("nothing to test on: give test corpora, or split: {test: 500}")
        if self.test and num_test:
            raise ValueError("split.test makes the test set, so test must be empty (or leave split.test out)")
        if self.dev and num_dev:
            raise ValueError("split.dev makes the development rows, so dev must be empty (or leave split.dev out)")
        self._check_names()
        if any(reader.corpus == HELD_OUT_DEV for reader in self.test):
            raise ValueError(f"test: the name {HELD_OUT_DEV} is taken")
        names = [HELD_OUT] if num_test else [reader.corpus for reader in self.test]
        if strangers := [name for name in self.contamination.allow if name not in names]:
            raise ValueError(
                f"contamination.allow: no such test set: {', '.join(strangers)} (there are: {', '.join(names)})"
            )
        return self

    def _check_names(self) -> None:
        """A name stands for one source, so that row ids are unique; within a section it stands once."""
        sources: dict[str, tuple[object, ...]] = {}
        for section, readers in self.sections:
            names = [reader.corpus for reader in readers]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{section}: two corpora are called {', '.join(twice)}; give one of them another name")
            for reader in readers:
                if sources.setdefault(reader.corpus, _source(reader)) != _source(reader):
                    raise ValueError(f"different corpora are called {reader.corpus}; give one of them another name")

    @property
    def sections(self) -> tuple[tuple[str, tuple[Reader, ...]], ...]:
        """Every list of corpora under its key."""
        names = ("train", "dev", "test", "monolingual", "bilingual")
        return tuple((name, getattr(self, name)) for name in names)

    @property
    def readers(self) -> tuple[Reader, ...]:
        """Every corpus of every section."""
        return tuple(reader for _, readers in self.sections for reader in readers)


def _source(reader: Reader) -> tuple[object, ...]:
    """What tells one source from another: the settings but for slices, languages and the phrasebook's split."""
    ignored = {"name", "rows", "languages"} | ({"split"} if reader.reader == "phrasebook" else set())
    return tuple(sorted((key, str(value)) for key, value in reader if key not in ignored))
