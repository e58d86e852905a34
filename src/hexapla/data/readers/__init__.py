"""The registry of readers. A new one is a file here and a line below."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hexapla.common.spec import kinds_of, require_kind
from hexapla.data.readers.flores import FloresReader
from hexapla.data.readers.hf import HfReader
from hexapla.data.readers.jsonl import JsonlReader
from hexapla.data.readers.moses import MosesReader
from hexapla.data.readers.ntrex import NtrexReader
from hexapla.data.readers.phrasebook import PhrasebookReader
from hexapla.data.readers.sacrebleu import SacrebleuReader
from hexapla.data.readers.text import TextReader
from hexapla.data.readers.tmx import TmxReader
from hexapla.data.readers.tsv import TsvReader

AnyReader = (
    PhrasebookReader
    | NtrexReader
    | FloresReader
    | MosesReader
    | TsvReader
    | JsonlReader
    | TextReader
    | TmxReader
    | SacrebleuReader
    | HfReader
)


def reader_names() -> tuple[str, ...]:
    """Every value that `reader` may have."""
    return kinds_of(AnyReader, "reader")


def _known_reader(value: Any) -> Any:
    """Say it in our words when the reader is missing or unknown."""
    require_kind(value, "reader", "a corpus", reader_names())
    return value


CorpusSpec = Annotated[AnyReader, Field(discriminator="reader"), BeforeValidator(_known_reader)]
