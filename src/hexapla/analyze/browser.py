"""The data of the segment browser: everything that was translated, packed so that a page can hold it.

A block is gzip in base64, unpacked by the page when it is looked at:

    a direction   {"ids", "outputs": [row][pool], "scores": {metric: [pool][row]}, "failed": [pool][row], ...}
    a language    {row id: text}, shared by all the directions of a test set that read or write the language

`failed` has bit k set where the k-th failure of the index occurred. What a pool has no row of is null. Where a metric
found errors in translations, "errors" has them: {metric: [pool][row]}, null where they were not looked for or kept.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hexapla import languages
from hexapla.analyze.observed import Key
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable

Segment = Mapping[str, Any]
_TEXTS = (("source", "source"), ("reference", "target"))  # a segment's text, and which language of the direction it has


@dataclass
class Browser:
    """Collects the segments direction by direction.

    Attributes:
        blocks: each packed, named by its position.
    """

    tables: Sequence[ScoreTable]
    blocks: list[str] = field(default_factory=list)
    _languages: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _directions: list[dict[str, Any]] = field(default_factory=list)
    _with_errors: set[str] = field(default_factory=set)

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics of quality, in the order of the tables."""
        names = [name for table in self.tables for name in table.measured]
        return [name for name in dict.fromkeys(names) if not METRICS[name].is_failure]

    @cached_property
    def failures(self) -> list[str]:
        """Failures that were looked for, in the registry's order."""
        names = {name for table in self.tables for name in table.measured}
        return [name for name in METRICS if name in names and METRICS[name].is_failure]

    @property
    def num_rows(self) -> int:
        """Sentences in all directions together."""
        return sum(entry["rows"] for entry in self._directions)

    def add(self, key: Key, by_pool: Mapping[str, Sequence[Segment]]) -> None:
        """Pack one direction of a test set; `by_pool` need not hold every pool."""
        test, direction = key
        given: dict[str, Segment] = {}
        for segments in by_pool.values():
            for segment in segments:
                given.setdefault(segment["id"], segment)
        block = self._block([{s["id"]: s for s in by_pool.get(table.pool, ())} for table in self.tables], list(given))
        for text, end in _TEXTS:
            texts = {row: str(segment[text]) for row, segment in given.items()}
            known = self._languages.setdefault((test, getattr(direction, end)), {})
            # A row whose text is not the same in all directions cannot be shared.
            if any(known.get(row, value) != value for row, value in texts.items()):
                block[text] = list(texts.values())
            else:
                known.update(texts)
        self._directions.append(
            {
                "test": test,
                "direction": str(direction),
                "source": direction.source,
                "target": direction.target,
                "rows": len(given),
                "block": self._pack(block),
            }
        )

    def index(self) -> dict[str, Any]:
        """What the page needs to know before it unpacks anything; call it last."""
        places = {key: self._pack(texts) for key, texts in self._languages.items()}
        for entry in self._directions:
            for end in ("source", "target"):
                entry[f"{end}Block"] = places[entry["test"], entry[end]]
        codes = {entry[end] for entry in self._directions for end in ("source", "target")}
        return {
            "pools": [table.pool for table in self.tables],
            "metrics": [_described(name) for name in self.metrics],
            "failures": [_described(name) for name in self.failures],
            "withErrors": [_described(name) for name in self.metrics if name in self._with_errors],
            "languages": {
                code: {"name": languages.get(code).name, "tag": languages.get(code).bcp47} for code in sorted(codes)
            },
            "directions": self._directions,
        }

    def _block(self, by_pool: Sequence[Mapping[str, Segment]], ids: Sequence[str]) -> dict[str, Any]:
        def column(of: Mapping[str, Segment], name: str) -> list[Any]:
            return [None if row not in of else of[row][name] for row in ids]

        outputs = [column(of, "hypothesis") for of in by_pool]
        finishes = [[None if end == "stop" else end for end in column(of, "finish")] for of in by_pool]
        scores = [column(of, "scores") for of in by_pool]
        notes = [column(of, "notes") for of in by_pool]
        errors = self._errors(by_pool, ids)
        return {
            **({"errors": errors} if errors else {}),
            "ids": list(ids),
            # Row by row: translations of one sentence are alike, and packed best beside each other.
            "outputs": [list(row) for row in zip(*outputs, strict=True)],
            "scores": {name: [[_score(row, name) for row in of] for of in scores] for name in self.metrics},
            "failed": [[self._bits(row) for row in of] for of in scores],
            "finish": [{str(n): end for n, end in enumerate(of) if end is not None} for of in finishes],
            "notes": [
                {
                    str(n): told
                    for n, (row, note) in enumerate(zip(of, noted, strict=True))
                    if (told := {name: note[name] for name in self.failures if row and row.get(name) and name in note})
                }
                for of, noted in zip(scores, notes, strict=True)
            ],
        }

    def _errors(self, by_pool: Sequence[Mapping[str, Segment]], ids: Sequence[str]) -> dict[str, list[list[Any]]]:
        """Metric → [pool][row]: the errors found, None where there are none to tell."""
        names = {name for of in by_pool for segment in of.values() for name in segment.get("errors", ())}
        self._with_errors |= names
        return {
            name: [[of[row].get("errors", {}).get(name) if row in of else None for row in ids] for of in by_pool]
            for name in sorted(names)
        }

    def _bits(self, scores: Mapping[str, float | None] | None) -> int:
        if scores is None:
            return 0
        return sum(1 << position for position, name in enumerate(self.failures) if scores.get(name))

    def _pack(self, value: Any) -> int:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self.blocks.append(pack(text))
        return len(self.blocks) - 1


def pack(text: str) -> str:
    """Text as gzip in base64; the same text gives the same bytes."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0)).decode("ascii")


def _described(name: str) -> dict[str, Any]:
    return {"name": name, "title": METRICS[name].title, "higherIsBetter": METRICS[name].higher_is_better}


def _score(scores: Mapping[str, float | None] | None, name: str) -> float | None:
    value = None if scores is None else scores.get(name)
    return None if value is None else round(value, 1)
