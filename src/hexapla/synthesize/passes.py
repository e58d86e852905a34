"""The three passes over the rows: translate; judge and score, with the translator gone; write what is kept.

Rows stream; of every translation one byte and, where there are scores, two numbers are held.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexapla.common.artifacts import explain_os_errors
from hexapla.data.cleaning import check_text
from hexapla.data.rows import Row
from hexapla.evaluate.hypotheses import Hypothesis
from hexapla.evaluate.metrics import Metric, MetricSettings
from hexapla.languages import Direction
from hexapla.synthesize.judgement import Drop, Judge
from hexapla.synthesize.selection import Selection
from hexapla.synthesize.spec import SynthesizeSpec
from hexapla.synthesize.store import Store

_KEPT = 0  # among the bytes; a drop is its place in `_DROPS`
_DROPS: tuple[Drop | None, ...] = (None, *Drop)
_NUMBERS = {drop: number for number, drop in enumerate(_DROPS)}


@dataclass(frozen=True)
class Unit:
    """Rows that are translated together.

    Attributes:
        start: position of the first one among the rows of all sources.
    """

    start: int
    rows: Sequence[Row]


class Passes:
    """Makes, judges, scores, chooses and writes the translations of one corpus.

    Args:
        maker: how rows name what translated them.
        metric: scores what `spec.keep` chooses by.
    """

    def __init__(self, spec: SynthesizeSpec, maker: str, store: Store, metric: Metric | None) -> None:
        self._spec, self._maker, self._store, self._metric = spec, maker, store, metric
        settings = MetricSettings(identification=spec.identification, neural=spec.neural)
        self._judges = {direction: Judge(direction, settings) for direction in judged_directions(spec)}
        self._selection = None if spec.keep is None else Selection(spec.keep)
        self._judged = {code: bytearray() for code in spec.made}
        self._chosen: dict[str, Iterator[Drop | None]] = {}
        self._drops: dict[str, Counter[Drop]] = {code: Counter() for code in spec.made}
        self._num_kept: Counter[str] = Counter()

    def translate(self, unit: Unit) -> dict[str, list[Hypothesis | None]]:
        """Language → the translation of each row, found or made now; None where its pivot was dropped."""
        spec = self._spec
        originals = self._originals(unit)
        if spec.pivot is None:
            return {code: [*self._store.translate(Direction(spec.source, code), originals)] for code in spec.targets}
        pivots = self._store.translate(Direction(spec.source, spec.pivot), originals)
        if len(self._judged[spec.pivot]) == unit.start:
            self._remember(spec.pivot, self._judges[Direction(spec.source, spec.pivot)].judge(originals, pivots))
        there = [place for place, number in enumerate(self._verdicts(spec.pivot, unit)) if number == _KEPT]
        made: dict[str, list[Hypothesis | None]] = {spec.pivot: [*pivots]}
        for code in spec.targets:
            self._store.count(len(originals) - len(there))
            made[code] = [None] * len(originals)
            through = self._store.translate(Direction(spec.pivot, code), [pivots[place].text for place in there])
            for place, hypothesis in zip(there, through, strict=True):
                made[code][place] = hypothesis
        return made

    def judge(self, unit: Unit) -> None:
        """Judge what was translated, and score what is left of it."""
        made = self.translate(unit)
        originals = self._originals(unit)
        for code, hypotheses in made.items():
            if code != self._spec.pivot:
                pivots = made.get(self._spec.pivot or "", [])
                self._remember(code, self._judge(code, originals, pivots, hypotheses))
            if self._selection is None or self._metric is None:
                continue
            left = self._left(code, unit, hypotheses)
            sources = [originals[place] for place, _ in left]
            scores = self._store.scores(self._metric, self._spec.source, sources, [text for _, text in left])
            for (place, _), score in zip(left, scores, strict=True):
                self._selection.add(code, unit.rows[place].id, score)

    def rows(self, unit: Unit) -> Iterator[Row]:
        """The rows that keep a translation into a target."""
        if self._selection is not None and not self._chosen:
            self._chosen = {code: iter(drops) for code, drops in self._selection.decide().items()}
        texts: list[dict[str, str]] = [{} for _ in unit.rows]
        for code, hypotheses in self.translate(unit).items():
            for place, text in self._left(code, unit, hypotheses):
                drop = next(self._chosen[code]) if self._selection is not None else None
                if drop is None:
                    texts[place][code] = text
                    self._num_kept[code] += 1
                else:
                    self._drops[code][drop] += 1
        for row, kept in zip(unit.rows, texts, strict=True):
            if kept.keys() & set(self._spec.targets):
                yield self._row(row, kept)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Language → translations, drops by reason, kept, quantiles of the scores."""
        made = {}
        for code, drops in self._drops.items():
            made[code] = {
                "translated": self._num_kept[code] + sum(drops.values()) - drops[Drop.NO_PIVOT],
                "dropped": {drop.value: number for drop, number in sorted(drops.items()) if number},
                "kept": self._num_kept[code],
            }
            if self._selection is not None:
                made[code]["scores"] = self._selection.quantiles(code)
        return made

    def _originals(self, unit: Unit) -> list[str]:
        return [row.texts[self._spec.source] for row in unit.rows]

    def _judge(
        self,
        code: str,
        originals: list[str],
        pivots: list[Hypothesis | None],
        hypotheses: list[Hypothesis | None],
    ) -> list[Drop | None]:
        """The drops of one target; what came through a pivot is held against both its pivot and the original."""
        there = [place for place, hypothesis in enumerate(hypotheses) if hypothesis is not None]
        made = [hypothesis for hypothesis in hypotheses if hypothesis is not None]
        of_them = [originals[place] for place in there]
        judge = self._judges[Direction(self._spec.source, code)]
        if self._spec.pivot is None:
            drops = judge.judge(of_them, made)
        else:
            through = [pivot.text for place in there if (pivot := pivots[place]) is not None]
            drops = judge.compare(of_them, made, self._judges[Direction(self._spec.pivot, code)].judge(through, made))
        judged: list[Drop | None] = [Drop.NO_PIVOT] * len(originals)
        for place, drop in zip(there, drops, strict=True):
            judged[place] = drop
        return judged

    def _remember(self, code: str, drops: Sequence[Drop | None]) -> None:
        self._judged[code].extend(_NUMBERS[drop] for drop in drops)
        self._drops[code].update(drop for drop in drops if drop is not None)

    def _verdicts(self, code: str, unit: Unit) -> bytearray:
        return self._judged[code][unit.start : unit.start + len(unit.rows)]

    def _left(self, code: str, unit: Unit, hypotheses: list[Hypothesis | None]) -> list[tuple[int, str]]:
        """Place and text of the translations that judgement left."""
        left = []
        for place, (number, hypothesis) in enumerate(zip(self._verdicts(code, unit), hypotheses, strict=True)):
            if number == _KEPT:
                text = check_text(hypothesis.text) if hypothesis is not None else None
                assert isinstance(text, str), "a translation that was judged sound has no text"
                left.append((place, text))
        return left

    def _row(self, row: Row, texts: dict[str, str]) -> Row:
        spec = self._spec
        way = f"{self._maker} from {spec.source}"
        makers = {code: way if spec.pivot in (None, code) else f"{way} via {spec.pivot}" for code in texts}
        of_source = {code: maker for code, maker in row.synthetic.items() if code == spec.source}
        texts = {spec.source: row.texts[spec.source], **texts}
        return Row(f"{spec.name}:{row.id}", texts, spec.name, row.document, of_source | makers)


def judged_directions(spec: SynthesizeSpec) -> tuple[Direction, ...]:
    """Every direction that is translated, and those that a pivot stands between."""
    return tuple(dict.fromkeys((*spec.directions, *(Direction(spec.source, code) for code in spec.made))))


def write_rows(rows: Iterator[Row], path: Path) -> int:
    """Write rows as they come; returns how many."""
    num_written = 0
    with explain_os_errors(path), path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row.to_record(), ensure_ascii=False) + "\n")
            num_written += 1
    return num_written
