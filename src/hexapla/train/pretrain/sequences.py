"""Which pieces of which documents make which packed sequence: decided once, from lengths alone, and kept in a file.

Documents come in the order of the mix. A sequence takes from those that wait, first come first served, whatever fits
whole; the oldest is always in it. What it then has room for is filled with the beginning of the oldest plain text that
waits, whose rest is a document of its own: sentence pairs are never cut, and a text only at a sequence's end. At most
`WINDOW` documents that were drawn wait, so that the shares of the mix hold along the way but for these.

The file makes any step as cheap to reach as the first, on any worker; what was killed while it was made goes on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hexapla.common import artifacts
from hexapla.common.errors import UserError
from hexapla.common.progress import Progress
from hexapla.data.mixer import Mixer, mix_report
from hexapla.data.mixing import MixSpec
from hexapla.train.pretrain.documents import MONOLINGUAL
from hexapla.train.pretrain.store import TokenStore, append_synced, mapped

PIECE = np.dtype([("source", "<i2"), ("num_tokens", "<i4"), ("start", "<i8")])
"""A piece of a sequence: so many tokens from `start` in the tokens of its source."""

WINDOW = 32
"""Documents that may wait for room: with the pairs and texts of NTREX 99.4 % to 99.9 % of 2048 tokens is filled."""
_SMALLEST = 16  # tokens: room for less stays empty, where a shred of a text would teach little
_DRAW = 8192  # documents drawn from the mixer at once
_COMMIT_PIECES = 1 << 18  # pieces held in memory until they are written: some 40 MB
_PROGRESS_FILE, _PIECES_FILE, _ENDS_FILE = "progress.json", "pieces", "ends"


class Piece(NamedTuple):
    """As `PIECE`."""

    source: int
    num_tokens: int
    start: int


class Packer:
    """Fills sequences with documents.

    Args:
        length: tokens of a sequence at most; no document is longer.
        draw: gives the next documents in their order; none at the end.
        cut: sources whose documents may be cut at the end of a sequence.
        waiting: documents that come first.
    """

    def __init__(
        self,
        length: int,
        draw: Callable[[], Iterable[Piece]],
        *,
        cut: frozenset[int] = frozenset(),
        waiting: Iterable[Piece] = (),
    ) -> None:
        self._length, self._draw, self._cut = length, draw, cut
        self._smallest = min(_SMALLEST, length // 8)
        self._waiting = deque(waiting)

    @property
    def waiting(self) -> list[Piece]:
        """Documents that were drawn and are in no sequence yet."""
        return list(self._waiting)

    def next_sequence(self) -> list[Piece]:
        """Pieces of the next sequence; none when all documents are packed."""
        room = self._length
        taken: list[Piece] = []
        passed: list[Piece] = []
        waiting = self._waiting
        while room >= self._smallest and len(passed) < WINDOW:
            if not waiting:
                waiting.extend(self._draw())
                if not waiting:
                    break
            piece = waiting.popleft()
            if piece[1] <= room:
                taken.append(piece)
                room -= piece[1]
            else:
                passed.append(piece)
        if room >= self._smallest:
            self._fill(room, taken, passed)
        waiting.extendleft(reversed(passed))
        return taken

    def _fill(self, room: int, taken: list[Piece], passed: list[Piece]) -> None:
        """Cut the first text that leaves enough on both sides."""
        for place, (source, num_tokens, start) in enumerate(passed):
            if source in self._cut and num_tokens - room >= self._smallest:
                taken.append(Piece(source, room, start))
                passed[place] = Piece(source, num_tokens - room, start + room)
                return


class Sequences:
    """The finished file.

    Attributes:
        pieces: `PIECE` [pieces].
        ends: int64 [sequences], behind the last piece of each.
        manifest: settings, number of sequences and tokens, and by source what was drawn (`hexapla.data.mixer`).
    """

    def __init__(self, folder: Path) -> None:
        self.manifest: dict[str, Any] = artifacts.read_json(folder / artifacts.MANIFEST)
        self.pieces = mapped(folder / _PIECES_FILE, PIECE, self.manifest["pieces"])
        self.ends = mapped(folder / _ENDS_FILE, "int64", self.manifest["sequences"])

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def digest(self) -> str:
        """sha256 of what decides the sequences."""
        return str(self.manifest["request"])

    def pieces_of(self, sequence: int) -> np.ndarray:
        """`PIECE` [pieces of the sequence]."""
        first = self.ends[sequence - 1] if sequence else 0
        return self.pieces[first : self.ends[sequence]]


def build_sequences(
    folder: Path, store: TokenStore, mix: MixSpec, *, tokens: int | None, length: int, seed: int
) -> Sequences:
    """Mix and pack into a folder in `folder`, or go on where that was interrupted, or only open what is finished.

    Args:
        tokens: the mix ends with the sequence that reaches so many, or before where `mix.exhaustion` says so; None:
            when every source was seen once.

    Raises:
        UserError: the mix names other sources or empty ones, or the disk is full.
    """
    request = {
        "store": store.digest,
        "mix": mix.resolved(),
        "tokens": tokens,
        "length": length,
        "seed": seed,
        "packing": [WINDOW, _SMALLEST],
    }
    digest = artifacts.digest_of(request)
    folder = folder / f"sequences-{digest[:16]}"
    if not artifacts.is_complete(folder):
        with artifacts.explain_os_errors(folder):
            _Builder(folder, store, mix, tokens=tokens, length=length, seed=seed, digest=digest).run()
    return Sequences(folder)


class _Builder:
    """The file in the making."""

    def __init__(
        self, folder: Path, store: TokenStore, mix: MixSpec, *, tokens: int | None, length: int, seed: int, digest: str
    ) -> None:
        self._folder, self._store, self._mix = folder, store, mix
        self._tokens, self._length, self._digest = tokens, length, digest
        folder.mkdir(parents=True, exist_ok=True)
        self._state = self._resumed()
        sources = [source.mix_source() for source in store.sources]
        self._mixer = Mixer(
            sources, mix, seed=seed, until_seen=tokens is None, state=self._state["mixer"], where="pretrain.mix"
        )
        cut = frozenset(index for index, name in enumerate(store.names) if name == MONOLINGUAL)
        waiting = [Piece(*piece) for piece in self._state["waiting"]]
        self._packer = Packer(length, self._draw, cut=cut, waiting=waiting)
        self._pieces: list[Piece] = []
        self._ends: list[int] = []

    def run(self) -> None:
        """Pack what is left, then write the manifest."""
        state, budget = self._state, self._tokens
        progress = Progress("packing", budget, unit="tokens", done=state["tokens"])
        while budget is None or state["tokens"] < budget:
            sequence = self._packer.next_sequence()
            if not sequence:
                break
            self._pieces += sequence
            self._ends.append(state["pieces"] + len(self._pieces))
            num_tokens = sum(piece.num_tokens for piece in sequence)
            state["tokens"] += num_tokens
            progress.advance(num_tokens)
            if len(self._pieces) >= _COMMIT_PIECES:
                self._commit()
        self._commit()
        progress.close()
        artifacts.write_json(self._folder / artifacts.MANIFEST, self._manifest())
        (self._folder / _PROGRESS_FILE).unlink()

    def _draw(self) -> list[Piece]:
        """The mixer's next documents, as whole pieces."""
        draw = self._mixer.draw(_DRAW)
        starts = np.empty(len(draw), dtype=np.int64)
        for index, source in enumerate(self._store.sources):
            of_source = draw.sources == index
            starts[of_source] = source.starts[draw.rows[of_source]]
        return list(map(Piece, draw.sources.tolist(), draw.num_tokens.tolist(), starts.tolist()))

    def _resumed(self) -> dict[str, Any]:
        """The state that was committed, the files cut to it; else a new one."""
        path = self._folder / _PROGRESS_FILE
        state: dict[str, Any] | None = artifacts.read_json(path) if path.exists() else None
        if state is None:
            state = {
                "mixer": None,
                "waiting": [],
                "pieces": 0,
                "sequences": 0,
                "tokens": 0,
                "packed": dict.fromkeys(self._store.names, 0),
            }
        for name, size in ((_PIECES_FILE, PIECE.itemsize * state["pieces"]), (_ENDS_FILE, 8 * state["sequences"])):
            (self._folder / name).touch()
            os.truncate(self._folder / name, size)
        return state

    def _commit(self) -> None:
        """Append what is held, sync it, and say that it counts."""
        state = self._state
        pieces = np.array(self._pieces, dtype=PIECE)
        append_synced(self._folder / _PIECES_FILE, pieces)
        append_synced(self._folder / _ENDS_FILE, np.array(self._ends, dtype=np.int64))
        state["pieces"] += len(self._pieces)
        state["sequences"] += len(self._ends)
        for index, name in enumerate(self._store.names):
            state["packed"][name] += int(pieces["num_tokens"][pieces["source"] == index].sum())
        state |= {"mixer": self._mixer.state, "waiting": self._packer.waiting}
        self._pieces, self._ends = [], []
        artifacts.write_json(self._folder / _PROGRESS_FILE, state)

    def _manifest(self) -> dict[str, Any]:
        state = self._state
        if not state["sequences"]:
            raise UserError("The mix holds nothing to train on.", where=str(self._folder))
        packed = self._mixer.state | {"tokens": state["packed"]}
        for piece in self._packer.waiting:  # drawn, but in no sequence
            packed["rows"][self._store.names[piece.source]] -= 1
        taken = mix_report(self._mixer.sources, self._mixer.shares, self._mix.unit, packed)
        return {
            "kind": "packed-sequences",
            "request": self._digest,
            "pieces": state["pieces"],
            "sequences": state["sequences"],
            "tokens": state["tokens"],
            "fill": state["tokens"] / (state["sequences"] * self._length),
            "mix": taken,
        }
