"""The registry of readers. A new one is a file here and a line below."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from hexapla.common.errors import nearest
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
    return tuple(reader.model_fields["reader"].default for reader in get_args(AnyReader))


def _known_reader(value: Any) -> Any:
    """Say it in our words when the reader is missing or unknown."""
    name = value.get("reader") if isinstance(value, dict) else getattr(value, "reader", None)
    if name is None:
        raise ValueError(f"a corpus needs a reader: {', '.join(reader_names())}")
    if name not in reader_names():
        raise ValueError(f"there is no reader {name!r}. {nearest(str(name), reader_names())}")
    return value


CorpusSpec = Annotated[AnyReader, Field(discriminator="reader"), BeforeValidator(_known_reader)]
