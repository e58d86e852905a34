"""Translations and their scores on disk by content, so that nothing is translated or scored twice.

A unit is a list of texts in one direction. Its file is named by the digest of all that its translations depend on:
another threshold, another target or further text translates only what was never translated. A unit in work appends to
a log, from which a killed run continues.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import digest_of, read_json, read_jsonl, write_json, write_jsonl
from hexapla.common.progress import EventLog, Progress
from hexapla.evaluate.hypotheses import Hypothesis, HypothesisLog, SegmentKey, source_digest
from hexapla.evaluate.metrics import Metric, Segments
from hexapla.languages import Direction

if TYPE_CHECKING:
    from hexapla.translate.translator import Translator

_DIGEST_LENGTH = 24


class Store:
    """Translates and scores units, or finds them again.

    Args:
        folder: where they are kept; it may hold those of other translators and metrics as well.
        identity: JSON data, everything that a translation depends on besides its source and direction.
        make_translator: called when the first translation is missing, and not before.
        total: translations that will be asked for, for the line of progress.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        make_translator: Callable[[], Translator],
        *,
        label: str,
        total: int,
        log: EventLog,
    ) -> None:
        self._folder, self._identity, self._log = folder, dict(identity), log
        self._make_translator = make_translator
        self._translator: Translator | None = None
        self._label, self._total, self._num_found = label, total, 0
        self._progress: Progress | None = None

    def translate(self, direction: Direction, texts: Sequence[str]) -> list[Hypothesis]:
        """The translation of each text; equal texts are translated once."""
        digest = digest_of([self._identity, str(direction), texts])[:_DIGEST_LENGTH]
        file = self._folder / str(direction) / f"{digest}.jsonl"
        if file.exists():
            self.count(len(texts))
            return [Hypothesis(record["text"], record["finish"]) for record in read_jsonl(file)]
        part = file.with_suffix(".part")
        with HypothesisLog(part, self._identity) as log:
            self._translate_missing(direction, list(dict.fromkeys(texts)), log)
            found = [log.known[_key(direction, text)] for text in texts]
        write_jsonl(file, [each._asdict() for each in found])
        shutil.rmtree(part)
        self.count(len(texts) - len(set(texts)))
        self._log.write("synthesize-unit", corpus=self._label, direction=str(direction), translations=len(texts))
        return found

    def count(self, amount: int) -> None:
        """Count translations that are there already, or that nobody needs any more."""
        self._num_found += amount
        if self._progress is not None:
            self._progress.advance(amount)

    def finish_translating(self) -> None:
        """Let the translator go, so that its memory is there for what comes next."""
        self._translator = None
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def scores(self, metric: Metric, source: str, sources: Sequence[str], texts: Sequence[str]) -> list[float]:
        """The score of each pair by a metric without references, not scaled.

        Args:
            source: code of the language of `sources`.

        Raises:
            UserError: as the metric.
        """
        digest = digest_of([metric.signature, source, sources, texts])[:_DIGEST_LENGTH]
        file = self._folder / "scores" / f"{digest}.json"
        if not file.exists():
            statistics = metric.statistics(Segments(texts, None, sources, source))
            write_json(file, [score for score, _ in statistics])
        scores: list[float] = read_json(file)
        return scores

    def _translate_missing(self, direction: Direction, distinct: list[str], log: HypothesisLog) -> None:
        from hexapla.translate.translator import Request

        missing = [text for text in distinct if _key(direction, text) not in log.known]
        self.count(len(distinct) - len(missing))
        if not missing:
            return
        if self._translator is None:
            self._translator = self._make_translator()
        if self._progress is None:
            self._progress = Progress(self._label, self._total, unit="translations", done=self._num_found)
        requests = (Request(text, direction) for text in missing)
        for position, translation in self._translator.translate_requests(requests):
            log.add(_key(direction, missing[position]), translation)
            self._progress.advance(note=str(direction))


def _key(direction: Direction, text: str) -> SegmentKey:
    """A translation belongs to its text, whatever row that stands in."""
    return SegmentKey("", str(direction), "", source_digest(text))
