"""From rows to examples: one sentence pair in one direction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.common.seeds import uniform
from hexapla.data.auxiliaries import Auxiliaries
from hexapla.data.downsample import DownsampleSpec, is_kept
from hexapla.data.pmp import PmpSpec
from hexapla.data.rows import Row
from hexapla.languages import Direction
from hexapla.prompts import Auxiliary

_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn: translate `source` to `target`. The prompt is rendered where it is tokenised.

    Attributes:
        id: `ROW DIRECTION`; what data order and sampling hash.
        auxiliary: what the prompt shows beside the source; None: nothing.
    """

    id: str
    direction: Direction
    source: str
    target: str
    auxiliary: Auxiliary | None = None


def make_examples(rows: Iterable[Row], directions: Iterable[Direction]) -> list[Example]:
    """Every row in every direction of which it has both sides, rows outermost."""
    wanted = tuple(directions)
    return [example for row in rows for example in _examples_of(row, wanted)]


def examples_digest(examples: Iterable[Example]) -> str:
    """sha256 of everything that a trainer reads of examples, in order."""
    return digest_of([[each.id, each.source, each.target, each.auxiliary] for each in examples])


class Tally(NamedTuple):
    """What became of the examples of a direction, or of several.

    Attributes:
        available: rows with both sides.
        kept: of these, what downsampling leaves.
        wanted: of these, what is to be shown with an auxiliary sentence; none where the direction has no auxiliary.
        shown: of these, what is: the row has the auxiliary language.
    """

    available: int
    kept: int
    wanted: int
    shown: int


@dataclass(frozen=True)
class ExampleMaker:
    """Makes the examples of training: strategic downsampling, then parallel multilingual prompting (PMP).

    Which examples are kept, and which show an auxiliary sentence, is a hash of (seed, example id): it depends neither
    on the other examples nor on the job that they are for. Downsampled or not, an example has the same prompt.

    Attributes:
        seed: the recipe's.
        downsample: None: every example is kept.
        pmp: None: no example shows an auxiliary sentence.
        auxiliaries: what `pmp` shows in which direction (see `choose_auxiliaries`).
    """

    hubs: tuple[str, ...]
    seed: int
    downsample: DownsampleSpec | None = None
    pmp: PmpSpec | None = None
    auxiliaries: Auxiliaries = field(default_factory=Auxiliaries)

    def training(self, rows: Iterable[Row], directions: Iterable[Direction]) -> list[Example]:
        """Examples to train on, rows outermost.

        Args:
            rows: all rows for training, whatever the directions.

        Raises:
            UserError: no row has the auxiliary language of one of the directions.
        """
        return [example for example, stays, _ in self._decide(rows, directions) if stays]

    def tally(self, rows: Iterable[Row], directions: Iterable[Direction]) -> dict[Direction, Tally]:
        """What `training` makes of the same rows, counted: direction → its tally, directions without rows included.

        Raises:
            UserError: as `training`.
        """
        wanted = tuple(directions)
        counts: Counter[tuple[Direction, str]] = Counter()
        for example, stays, is_wanted in self._decide(rows, wanted):
            counts[example.direction, "available"] += 1
            counts[example.direction, "kept"] += stays
            counts[example.direction, "wanted"] += is_wanted
            counts[example.direction, "shown"] += example.auxiliary is not None
        return {direction: Tally(*(counts[direction, name] for name in Tally._fields)) for direction in wanted}

    def _decide(self, rows: Iterable[Row], directions: Iterable[Direction]) -> Iterator[tuple[Example, bool, bool]]:
        """Every possible example, whether it stays, and whether it then is to show an auxiliary sentence."""
        wanted = tuple(directions)
        auxiliaries = self._auxiliaries(wanted)
        missing = set(auxiliaries.values())
        num_rows = 0
        for row in rows:
            num_rows += 1
            missing -= row.texts.keys()
            for example in _examples_of(row, wanted):
                yield self._decided(row, example, auxiliaries.get(example.direction))
        for direction, code in auxiliaries.items():
            if code in missing and num_rows:
                raise UserError(
                    f"No row has the auxiliary language of {direction}, {code}.",
                    where="data.pmp",
                    hint="Give training rows that have it, choose the auxiliaries otherwise (data.pmp.auxiliary), or "
                    "leave data.pmp out.",
                )

    def _decided(self, row: Row, example: Example, code: str | None) -> tuple[Example, bool, bool]:
        stays = self.downsample is None or is_kept(
            self.downsample, row, example.direction, example.id, hubs=self.hubs, seed=self.seed
        )
        if not stays or code is None or self.pmp is None or uniform(self.seed, "pmp", example.id) >= self.pmp.share:
            return example, stays, False
        if code in row.texts:
            example = replace(example, auxiliary=Auxiliary(code, row.texts[code]))
        return example, True, True

    def _auxiliaries(self, directions: Iterable[Direction]) -> dict[Direction, str]:
        return {} if self.pmp is None else self.auxiliaries.by_direction(directions)


def add_up(tallies: Mapping[Direction, Tally], part: Callable[[Direction], _K]) -> dict[_K, Tally]:
    """The tallies of the parts that directions belong to, such as the sides of a layout (`layout.side`)."""
    sums: dict[_K, Tally] = {}
    for direction, tally in tallies.items():
        before = sums.get(part(direction), Tally(0, 0, 0, 0))
        sums[part(direction)] = Tally(*(a + b for a, b in zip(before, tally, strict=True)))
    return sums


def _examples_of(row: Row, directions: Iterable[Direction]) -> Iterator[Example]:
    for direction in directions:
        if direction.source in row.texts and direction.target in row.texts:
            id_ = f"{row.id} {direction}"
            yield Example(id_, direction, row.texts[direction.source], row.texts[direction.target])
