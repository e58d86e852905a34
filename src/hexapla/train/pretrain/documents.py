"""Documents of continued pre-training, from rows: plain text, and sentence pairs in one direction each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hexapla import prompts
from hexapla.common.seeds import uniform
from hexapla.data.rows import Row
from hexapla.languages import Direction
from hexapla.prompts import Template, get_template

MONOLINGUAL = "monolingual"
"""The source of plain text; sentence pairs belong to a source under the code of their hub."""
BILINGUAL = "bilingual"
"""What rows without any pair are counted under."""


class Document(NamedTuple):
    """One text to be learned from its second token on, and the source it counts for."""

    source: str
    text: str


class Renderer:
    """Makes the documents of rows.

    Args:
        hubs: codes in the order of the recipe; a pair of two hubs belongs to the first of them.
        seed: what, with a row's id, decides the direction of its pairs.
    """

    def __init__(self, hubs: Sequence[str], seed: int) -> None:
        self._hubs, self._seed = tuple(hubs), seed
        self._template: Template = get_template("lmt-cpt")

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that documents can have."""
        return (MONOLINGUAL, *self._hubs)

    def monolingual(self, row: Row) -> list[Document]:
        """Every text of the row alone."""
        return [Document(MONOLINGUAL, text) for text in row.texts.values()]

    def bilingual(self, row: Row) -> list[Document]:
        """Every hub of the row with every other language, in one direction each: `<en2ky> SOURCE <ky> TARGET`."""
        documents = []
        for place, hub in enumerate(self._hubs):
            if hub in row.texts:
                others = [code for code in row.texts if code != hub and code not in self._hubs[:place]]
                documents += [Document(hub, self._pair(row, hub, other)) for other in others]
        return documents

    def _pair(self, row: Row, hub: str, other: str) -> str:
        forward = uniform(self._seed, "direction", row.id, hub, other) < 0.5
        direction = Direction(hub, other) if forward else Direction(other, hub)
        prompt = prompts.render(self._template, direction, row.texts[direction.source])
        return prompt.text + self._template.separator + row.texts[direction.target]
