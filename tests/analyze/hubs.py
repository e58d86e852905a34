"""Scores of two hubs that can be worked out by hand: a direction is translated without a fault, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hexapla.data.rows import Row
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Layout
from tests.evaluate.world import Evaluation, Said

LAYOUT = Layout(("en", "nl", "de", "ur"), ("en", "nl"), {"others": ("de", "ur")})
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ROWS = [
    Row(
        f"book:{number}",
        {
            "en": f"The train number {number} is late today.",
            "nl": f"De trein met nummer {number} is vandaag te laat.",
            "de": f"Der Zug mit der Nummer {number} hat heute Verspätung.",
            "ur": f"ٹرین نمبر {number} آج دیر سے ہے۔",
        },
        "book",
    )
    for number in _NUMBERS
]
FROM_HUBS = tuple(Direction.parse(text) for text in ("en-de", "en-ur", "nl-de", "nl-ur"))
BETWEEN = tuple(Direction.parse(text) for text in ("en-nl", "nl-en"))


def scores(
    folder: Path, good: Collection[str], layout: Layout = LAYOUT, more: Mapping[str, Sequence[Row]] | None = None
) -> ScoreTable:
    """Scores 100 in the directions `good` (written `de-en`) and 0 in all others.

    Args:
        more: further test sets; their sentences, where they are no others', are not translated right.
    """
    texts = {text: row for row in ROWS for text in row.texts.values()}

    def translate(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
        return [
            (position, Said(texts[text].texts[direction.target] if str(direction) in good and text in texts else "§"))
            for position, (text, direction) in enumerate(requests)
        ]

    rows = [Row(row.id, {code: row.texts[code] for code in layout.languages}, row.corpus) for row in ROWS]
    return Evaluation(folder).run(
        translate,
        pool_name=folder.name,
        layout=layout,
        tests={"book": rows, **(more or {})},
        spec=EvaluateSpec(metrics=("chrf++",)),
    )
