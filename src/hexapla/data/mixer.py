"""The mix: of every source as much as its share says, at every point of the way.

At every draw, of the sources that are not ahead of their share, the one is taken whose next document is due first:
worst-case fair weighted fair queueing (WF²Q; Bennett and Zhang, "WF²Q: Worst-case Fair Weighted Fair Queueing", 1996),
documents for packets. A document of a source is due where a mix that could cut documents anywhere would end it.

How exact. After any number of documents, let D be all units drawn, d those of a source with share s, c its longest
document and L the longest of all (units are tokens or rows; for rows c = L = 1):

    -L  ≤  d - s·D  ≤  (1 - s)·c

Above: a source is taken only while d ≤ s·D, and a document of length l ≤ c adds l to d and s·l to s·D. Below: a
document that is due at F ends by F + L (their theorem 1). The lag s·D - d is greatest where a document of the source
begins; let one of length l begin at D, so that D + l ≤ F + L. The mix without documents, which is through with it at F,
has given the source d + l by then, so at most d + l + s·(L - l) by D. Hence s·D ≤ d + l + s·(L - l) ≤ d + L.

Taking the source that is furthest behind, the obvious rule, holds the upper bound only: with many sources one can fall
behind by more than a document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

from hexapla.data.mixing import MixSpec, mix_shares
from hexapla.data.permutation import Permutation

_CHUNK = 4096  # documents of a source whose lengths are looked up at once


@dataclass(frozen=True)
class MixSource:
    """A source of the mix.

    Attributes:
        name: what the order of its rows depends on, with the seed and the pass.
        num_tokens_of: tokens of every row; anything that numpy can index, such as a mapped file.
        num_tokens: their sum.
    """

    name: str
    num_tokens_of: np.ndarray
    num_tokens: int

    @property
    def num_rows(self) -> int:
        """Documents of one pass."""
        return len(self.num_tokens_of)


@dataclass(frozen=True)
class Draw:
    """Documents in the order of the mix: int16 indices of their sources, int64 rows and tokens, all [N]."""

    sources: np.ndarray
    rows: np.ndarray
    num_tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


class Mixer:
    """Draws documents; between draws `state` is all there is to continue from.

    Args:
        until_seen: end with the document that completes the first pass of the last source; without it a mix that
            repeats never ends.
        state: what another mixer of the same sources and settings had.
        where: the place of `spec` in the recipe, for errors.

    Raises:
        UserError: as `mix_shares`.
    """

    def __init__(
        self,
        sources: Sequence[MixSource],
        spec: MixSpec,
        *,
        seed: int,
        until_seen: bool = False,
        state: Mapping[str, Any] | None = None,
        where: str = "mix",
    ) -> None:
        self.sources, self._spec, self._until_seen = tuple(sources), spec, until_seen
        sizes = {source.name: source.num_tokens if spec.unit == "tokens" else source.num_rows for source in sources}
        self.shares = mix_shares(spec, sizes, where)
        self._streams = [_Stream(source, seed) for source in sources]
        self._units = [0] * len(sources)  # drawn since the last source was dropped
        self._tokens = [0] * len(sources)
        self.ended = False
        if state is not None:
            for index, source in enumerate(sources):
                self._streams[index].position = state["rows"][source.name]
                self._tokens[index] = state["tokens"][source.name]
                self._units[index] = state["units"][source.name]
            self.ended = state["ended"]

    @property
    def state(self) -> dict[str, Any]:
        """Where the mix stands, as JSON data: rows, tokens and units of every source, and whether it has ended."""
        names = [source.name for source in self.sources]
        return {
            "rows": dict(zip(names, (stream.position for stream in self._streams), strict=True)),
            "tokens": dict(zip(names, self._tokens, strict=True)),
            "units": dict(zip(names, self._units, strict=True)),
            "ended": self.ended,
        }

    def report(self) -> list[dict[str, Any]]:
        """What was drawn of every source; see `mix_report`."""
        return mix_report(self.sources, self.shares, self._spec.unit, self.state)

    def draw(self, num_documents: int) -> Draw:
        """The next documents; fewer where the mix ends."""
        order: list[int] = []
        before = [stream.position for stream in self._streams]
        while len(order) < num_documents and not self.ended:
            order += self._draw_phase(num_documents - len(order))
        return self._collect(np.array(order, dtype=np.int16), before)

    def _draw_phase(self, num_documents: int) -> list[int]:
        """Sources of the next documents, at most until one is dropped and the shares of the others grow."""
        streams, units, by_tokens = self._streams, self._units, self._spec.unit == "tokens"
        exhaustion = self._spec.exhaustion
        shares = self._active_shares()
        costs = {index: streams[index].upcoming(num_documents) if by_tokens else None for index in shares}
        cursors = dict.fromkeys(shares, 0)
        waiting = [(units[index] / share, index) for index, share in shares.items()]
        heapify(waiting)
        due: list[tuple[float, int]] = []
        total = sum(units)
        order: list[int] = []
        while len(order) < num_documents:
            while waiting and waiting[0][0] <= total:
                index = heappop(waiting)[1]
                listed = costs[index]
                cost = listed[cursors[index]] if listed else 1
                heappush(due, ((units[index] + cost) / shares[index], index))
            # Nothing is due where rounding puts all sources ahead by some 1e-16.
            index = heappop(due or waiting)[1]
            stream = streams[index]
            if exhaustion == "stop" and stream.position >= stream.num_rows:
                self.ended = True
                break
            listed = costs[index]
            cursor = cursors[index]
            cost = listed[cursor] if listed else 1
            order.append(index)
            units[index] += cost
            total += cost
            stream.position += 1
            cursors[index] = cursor + 1
            if listed and cursor + 1 == len(listed):
                costs[index], cursors[index] = stream.upcoming(num_documents), 0
            if stream.position == stream.num_rows and self._note_end():
                break
            heappush(waiting, (units[index] / shares[index], index))
        return order

    def _note_end(self) -> bool:
        """Whether the phase ends where a source was seen once: with the mix, or because the source is dropped."""
        unseen = any(
            self.shares[source.name] and stream.position < stream.num_rows
            for source, stream in zip(self.sources, self._streams, strict=True)
        )
        if self._spec.exhaustion == "drop":
            self.ended = not unseen
            self._units[:] = [0] * len(self._units)
            return True
        self.ended = self._spec.exhaustion == "repeat" and self._until_seen and not unseen
        return self.ended

    def _active_shares(self) -> dict[int, float]:
        """Index → share of those that are drawn from, which add up to 1."""
        dropping = self._spec.exhaustion == "drop"
        shares = {
            index: self.shares[source.name]
            for index, (source, stream) in enumerate(zip(self.sources, self._streams, strict=True))
            if self.shares[source.name] and not (dropping and stream.position >= stream.num_rows)
        }
        total = sum(shares.values())
        return {index: share / total for index, share in shares.items()}

    def _collect(self, order: np.ndarray, before: Sequence[int]) -> Draw:
        """The rows and tokens of a sequence of sources, and the tokens counted."""
        rows = np.empty(len(order), dtype=np.int64)
        num_tokens = np.empty(len(order), dtype=np.int64)
        for index, (stream, start) in enumerate(zip(self._streams, before, strict=True)):
            if stream.position > start:
                of_source = order == index
                rows[of_source] = found = stream.rows(start, stream.position - start)
                num_tokens[of_source] = tokens = stream.source.num_tokens_of[found]
                self._tokens[index] += int(tokens.sum())
        return Draw(order, rows, num_tokens)


def mix_report(
    sources: Sequence[MixSource], shares: Mapping[str, float], unit: str, taken: Mapping[str, Mapping[str, int]]
) -> list[dict[str, Any]]:
    """By source: rows and tokens taken, passes (1.5: half of it twice), its share of the mix, and the share it had.

    Args:
        taken: `rows` and `tokens` by source, such as the state of a mixer.
    """
    total = sum(taken[unit].values())
    return [
        {
            "source": source.name,
            "share": shares[source.name],
            "taken_share": taken[unit][source.name] / total if total else None,
            "rows": taken["rows"][source.name],
            "tokens": taken["tokens"][source.name],
            "passes": taken["rows"][source.name] / source.num_rows if source.num_rows else 0.0,
        }
        for source in sources
    ]


class _Stream:
    """The rows of one source, pass after pass, each pass in an order of its own."""

    def __init__(self, source: MixSource, seed: int) -> None:
        self.source = source
        self.num_rows = source.num_rows
        self.position = 0
        self._order = Permutation(source.num_rows, seed, "mix", source.name)

    def rows(self, start: int, count: int) -> np.ndarray:
        """Rows at `count` positions from `start`; positions go on from pass to pass."""
        return self._order.rows(np.arange(start, start + count))

    def upcoming(self, count: int) -> list[int]:
        """Tokens of the next documents, at most `count`; never none: what comes after the last pass is not drawn."""
        rows = self.rows(self.position, min(count, _CHUNK))
        lengths: list[int] = self.source.num_tokens_of[rows].tolist()
        return lengths
