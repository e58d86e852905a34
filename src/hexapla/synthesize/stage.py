"""Pseudo-parallel text: rows in one language in, multi-way rows out, with every translation marked as synthetic."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import digest_file, write_json
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog, Progress
from hexapla.data.cleaning import rows_of
from hexapla.data.rows import Row
from hexapla.evaluate.metrics import Metric, MetricSettings, make_metric
from hexapla.evaluate.metrics.comet import release_scorers
from hexapla.synthesize.judgement import Judge
from hexapla.synthesize.passes import Passes, Unit, write_rows
from hexapla.synthesize.spec import SynthesizeSpec
from hexapla.synthesize.store import Store

if TYPE_CHECKING:
    from hexapla.pool import Pool
    from hexapla.translate.translator import Translator

ROWS_FILE, SUMMARY_FILE = "rows.jsonl", "summary.json"
ROWS_PER_UNIT = 2048
"""Rows that are translated together: many batches, and little to hold at once in sixty languages (assumption)."""


@dataclass(frozen=True)
class Maker:
    """Who translates.

    Attributes:
        name: of the pool, or of the base.
        digest: of all that its translations depend on besides the settings of decoding.
    """

    name: str
    digest: str

    @property
    def label(self) -> str:
        """How rows name it."""
        return f"{self.name}@{self.digest[:12]}"


def require_directions(spec: SynthesizeSpec, pool: Pool | None) -> None:
    """Refuse a pool that lacks a direction; a bare base (None) has them all.

    Raises:
        UserError: with every direction that is missing.
    """
    if pool is None:
        return
    routes = pool.description.routes
    if missing := [str(direction) for direction in spec.directions if direction not in routes]:
        raise UserError(
            f"The pool {pool.description.name!r} does not translate {', '.join(missing)}.",
            where=f"synthesize {spec.name}",
            hint=f"It translates: {', '.join(map(str, sorted(routes)))}. Take targets out, or name a pivot.",
        )


def translation_identity(spec: SynthesizeSpec, maker: Maker) -> dict[str, Any]:
    """What a translation depends on besides its text and direction: names the folder where translations are kept."""
    translate = spec.translate.resolved()
    del translate["batch_tokens"]  # changes rounding only
    return {"pool": maker.digest, "translate": translate}


def synthesis_key(spec: SynthesizeSpec, maker: Maker) -> dict[str, Any]:
    """All that the corpus depends on, as JSON data.

    Raises:
        UserError: a file of a source, or the model of the scores, is missing.
    """
    settings = spec.resolved()
    for key in ("pool", "into", "translate", "neural", "identification"):  # what follows stands for them
        del settings[key]
    inputs: dict[str, str] = {}
    for reader in spec.sources:
        inputs |= reader.fingerprint()
        inputs |= {str(path): digest_file(path) for path in reader.files((spec.source,))}
    metric = _metric(spec)
    return {
        **translation_identity(spec, maker),
        "maker": maker.label,
        "synthesize": settings,
        "inputs": inputs,
        "metric": None if metric is None else metric.signature,
        "rules": Judge(spec.directions[0], MetricSettings(identification=spec.identification)).signatures,
    }


def synthesize_corpus(
    spec: SynthesizeSpec,
    maker: Maker,
    make_translator: Callable[[], Translator],
    *,
    folder: Path,
    translations: Path,
    log: EventLog,
) -> None:
    """Write rows.jsonl and summary.json into an existing folder, which its caller makes visible as a whole.

    Args:
        make_translator: a translator with the settings `spec.translate`; called only if a translation is missing.
        translations: folder where translations and scores are kept as they come. It stays: a killed run continues from
            it, and with another threshold, target or source only what is missing is translated.

    Raises:
        UserError: a source cannot be used or is empty; the pool lacks a direction; a model is missing; no translation
            is left.
    """
    metric = _metric(spec)
    num_rows, set_aside = _count_rows(spec)
    store = Store(
        translations,
        translation_identity(spec, maker),
        lambda: _checked(spec, make_translator()),
        label=f"synthesize {spec.name}",
        total=num_rows * len(spec.directions),
        log=log,
    )
    passes = Passes(spec, maker.label, store, metric)
    for unit in _units(spec):
        passes.translate(unit)
    store.finish_translating()
    progress = Progress(f"judge {spec.name}", num_rows, unit="rows")
    for unit in _units(spec):
        passes.judge(unit)
        progress.advance(len(unit.rows))
    progress.close()
    release_scorers()
    num_written = write_rows((row for unit in _units(spec) for row in passes.rows(unit)), folder / ROWS_FILE)
    summary = {
        "name": spec.name,
        "maker": maker.label,
        "source": spec.source,
        "pivot": spec.pivot,
        "metric": None if metric is None else metric.signature,
        "rows": {"read": num_rows, "set_aside": dict(sorted(set_aside.items())), "written": num_written},
        "made": passes.summary(),
    }
    write_json(folder / SUMMARY_FILE, summary)
    log.write("synthesize", **summary)
    if not num_written:
        dropped = {code: made["dropped"] for code, made in passes.summary().items()}
        raise UserError(
            f"No translation of {num_rows} rows is left. Dropped: {dropped}.",
            where=f"synthesize {spec.name}",
            hint="Look at what the pool makes of this text with `hexapla translate`; or keep more (keep).",
        )


def _metric(spec: SynthesizeSpec) -> Metric | None:
    """The metric that chooses.

    Raises:
        UserError: its model is missing.
    """
    if spec.keep is None:
        return None
    return make_metric(spec.keep.metric, spec.targets[0], MetricSettings(neural=spec.neural))


def _checked(spec: SynthesizeSpec, translator: Translator) -> Translator:
    require_directions(spec, translator.pool)
    return translator


def _count_rows(spec: SynthesizeSpec) -> tuple[int, Counter[str]]:
    """Rows, and what is set aside by reason; finds what is wrong with the sources before hours are spent."""
    num_rows, set_aside = 0, Counter[str]()
    for reader in spec.sources:
        for _, item in rows_of(reader, (spec.source,), min_languages=1):
            if isinstance(item, Row):
                num_rows += 1
            else:
                set_aside[item.reason.value] += 1
    return num_rows, set_aside


def _units(spec: SynthesizeSpec) -> Iterator[Unit]:
    """The rows of all sources, so many at a time."""
    rows = (
        item
        for reader in spec.sources
        for _, item in rows_of(reader, (spec.source,), min_languages=1)
        if isinstance(item, Row)
    )
    for start in itertools.count(step=ROWS_PER_UNIT):
        if not (unit := list(itertools.islice(rows, ROWS_PER_UNIT))):
            return
        yield Unit(start, unit)
