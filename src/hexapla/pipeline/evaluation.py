"""Score a pool on corpora named on the command line, outside any recipe."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hexapla.base import Base
from hexapla.common.documents import apply_override
from hexapla.common.errors import UserError
from hexapla.common.spec import validation_message
from hexapla.data.readers import CorpusSpec
from hexapla.data.readers.base import Reader
from hexapla.data.rows import Row
from hexapla.data.stage import read_corpus_rows
from hexapla.evaluate.comparison import direction_table
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.evaluate.stage import require_metrics
from hexapla.languages import Direction
from hexapla.pipeline.scoring import Measurement
from hexapla.pipeline.workspace import Workspace
from hexapla.pool import Pool
from hexapla.translate.spec import TranslateSpec


@dataclass(frozen=True)
class Evaluation:
    """What to measure: test corpora as `key=value` words, and how."""

    corpora: tuple[str, ...]
    directions: tuple[str, ...] | None
    metrics: tuple[str, ...]
    settings: MetricSettings
    limit: int | None
    seed: int
    decoding: TranslateSpec


def evaluate_corpora(folder: Path, request: Evaluation, out: Path | None, *, base: Base | None = None) -> str:
    """Score the pool in `folder` and return the table of its directions.

    Raises:
        UserError: a corpus or a direction cannot be used, or the pool does not load.
    """
    pool = Pool.load(folder)
    layout = pool.description.layout
    spec = _spec(request)
    for direction in spec.directions or ():
        pool.route(direction)
    require_metrics(spec, layout)
    tests: dict[str, list[Row]] = {}
    for reader in map(parse_corpus, request.corpora):
        if reader.corpus in tests:
            raise UserError(
                f"Two corpora are called {reader.corpus!r}.", where="--data", hint="Name one of them: name=other."
            )
        tests[reader.corpus] = read_corpus_rows(reader, layout.languages)
    from hexapla.translate.translator import Translator

    measurement = Measurement(tests, spec, request.decoding, request.seed)
    with Workspace.open(out if out is not None else Path("scores") / pool.description.name) as workspace:
        table = measurement.of(pool, workspace, lambda: Translator(pool, request.decoding, base=base))
        folder = workspace.out / "scores" / pool.description.name
    return f"{direction_table(table)}\nscores  {folder}"


def parse_corpus(words: str) -> Reader:
    """A corpus given as `reader=ntrex path=corpora/ntrex rows=0:100`.

    Raises:
        UserError: a quote that is not closed, a word without `=`, an unknown reader or key.
    """
    section: dict[str, Any] = {}
    try:
        parts = shlex.split(words)
    except ValueError as error:
        raise UserError("A quote in this text is never closed.", where=f"--data {words!r}") from error
    for word in parts:
        apply_override(section, word)
    adapter: TypeAdapter[Any] = TypeAdapter(CorpusSpec)
    try:
        reader: Reader = adapter.validate_python(section)
    except ValidationError as error:
        raise validation_message(error, Reader, f"--data {words!r}") from error
    return reader


def _spec(request: Evaluation) -> EvaluateSpec:
    directions = None if request.directions is None else tuple(map(Direction.parse, request.directions))
    try:
        return EvaluateSpec(
            metrics=request.metrics,
            limit=request.limit,
            directions=directions,
            neural=request.settings.neural,
            identification=request.settings.identification,
        )
    except ValidationError as error:
        raise validation_message(error, EvaluateSpec) from error
