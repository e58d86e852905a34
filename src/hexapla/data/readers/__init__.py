"""The registry of readers. A new one is a file here and a line below."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hexapla.data.readers.flores import FloresReader
from hexapla.data.readers.hf import HfReader
from hexapla.data.readers.jsonl import JsonlReader
from hexapla.data.readers.moses import MosesReader
from hexapla.data.readers.ntrex import NtrexReader
from hexapla.data.readers.phrasebook import PhrasebookReader
from hexapla.data.readers.sacrebleu import SacrebleuReader
from hexapla.data.readers.tmx import TmxReader
from hexapla.data.readers.tsv import TsvReader

CorpusSpec = Annotated[
    PhrasebookReader
    | NtrexReader
    | FloresReader
    | MosesReader
    | TsvReader
    | JsonlReader
    | TmxReader
    | SacrebleuReader
    | HfReader,
    Field(discriminator="reader"),
]
