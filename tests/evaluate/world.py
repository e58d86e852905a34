"""A little layout with rows, and a translator whose work can be counted and interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexapla.data.rows import Row
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.evaluate.stage import evaluate_pool
from hexapla.languages import Direction
from hexapla.plan import Layout

LAYOUT = Layout(("en", "de", "nl", "fr"), ("en",), {"germanic": ("de", "nl"), "romance": ("fr",)})
ROWS = [
    Row("book:1", {"en": "Where is the station?", "de": "Wo ist der Bahnhof?", "nl": "Waar is het station?"}, "book"),
    Row("book:2", {"en": "The train is late today.", "de": "Der Zug hat heute Verspätung."}, "book"),
    Row(
        "book:3",
        {"en": "I would like two tickets.", "de": "Ich hätte gern zwei Fahrkarten.", "nl": "Twee graag."},
        "book",
    ),
]


@dataclass(frozen=True)
class Said:
    """A translation as the translator gives it."""

    text: str
    finish: str = "stop"


@dataclass
class Reverser:
    """Translates by putting the words in reverse; stops dead after `fail_after` sentences."""

    fail_after: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    num_calls: int = 0

    def __call__(self, requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
        self.num_calls += 1
        for position in reversed(range(len(requests))):
            if self.fail_after is not None and len(self.asked) == self.fail_after:
                raise KeyboardInterrupt
            text, direction = requests[position]
            self.asked.append((text, str(direction)))
            yield position, Said(" ".join(reversed(text.split())))


@dataclass
class Evaluation:
    """`evaluate_pool` with everything filled in."""

    folder: Path

    def run(self, translate: Any, **changes: Any) -> ScoreTable:
        arguments: dict[str, Any] = {
            "pool_name": "dat",
            "tests": {"book": ROWS},
            "layout": LAYOUT,
            "spec": EvaluateSpec(),
            "translate": translate,
            "folder": self.folder / "scores",
            "translations": self.folder / "translations",
            "identity": {"pool": "abc", "translate": {"beams": 1}},
            "seed": 0,
        }
        return evaluate_pool(**{**arguments, **changes})
