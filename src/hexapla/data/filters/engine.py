"""Runs rows through a chain of filters, in order and in several processes, with memory that does not grow with them.

A chain is cut behind each corpus filter. Up to there rows stream through: chunks are judged in worker processes and
come back in order. A corpus filter lets them rest in a file until all have come, then those that repeat an earlier one
are known, and the stream goes on. What is kept depends neither on the number of processes nor on timing.
"""

from __future__ import annotations

import contextlib
import itertools
import marshal
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from hexapla.common.artifacts import explain_os_errors
from hexapla.common.errors import UserError
from hexapla.data.filters.corpus import CorpusFilter
from hexapla.data.filters.filter import Filter
from hexapla.data.filters.judging import Judged, Rejection, Terms, judge_chunk, parts_of
from hexapla.data.filters.repeats import Repeats
from hexapla.data.rows import Row

if TYPE_CHECKING:
    import numpy as np

CHUNK_TEXTS = 2000
"""Texts that a process judges at once."""
PATIENCE_S = 2.0
"""Judging that takes longer goes on in several processes, which need about a second to start."""
_CHUNKS_AHEAD = 3
"""Chunks that wait for each process, so that none is idle."""

Item = tuple[int, Row]
"""A row and the line it stands in."""


class _Loss(NamedTuple):
    """What the witness is to hear of: it goes down the stream between the rows, so that the order is always one."""

    row: Row
    step: int
    rejections: list[Rejection]
    is_gone: bool


_Stream = Iterator[Item | _Loss]


class Witness(Protocol):
    """Is told what happens to rows, in their order."""

    def rejected(self, row: Row, step: int, rejections: Sequence[Rejection], is_gone: bool) -> None:
        """Texts of a row, as it was before, were rejected; the row is gone when too few are left."""


class Engine(contextlib.AbstractContextManager["Engine"]):
    """A chain of filters with its processes.

    Args:
        filters: in order; the first that rejects a text names the reason.
        hubs: of the recipe; pairs are those of a hub with every other language.
        processes: that judge; 1: this one.
        folder: where rows rest before a corpus filter; None: the system's place for such files.
        patience_s: seconds of judging before processes are started; None: PATIENCE_S.
    """

    def __init__(
        self,
        filters: Sequence[Filter],
        hubs: Sequence[str],
        *,
        processes: int | None = None,
        folder: Path | None = None,
        patience_s: float | None = None,
    ) -> None:
        self._filters, self._hubs, self._folder = tuple(filters), tuple(hubs), folder
        self._processes = processes or len(os.sched_getaffinity(0))
        self._patience_s, self._spent_s = PATIENCE_S if patience_s is None else patience_s, 0.0
        self._executor: ProcessPoolExecutor | None = None
        self._strangers = set(multiprocessing.active_children())

    def __exit__(self, *error: object) -> None:
        for each in self._filters:
            each.release()
        if self._executor is None:
            return
        if error[0] is not None:
            for process in set(multiprocessing.active_children()) - self._strangers:
                process.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def clean(self, rows: Iterable[Item], witness: Witness, *, pairs: bool, min_languages: int) -> Iterator[Item]:
        """What is left of the rows of one section, in order; row by row but for corpus filters.

        Args:
            witness: is told of every rejection in an order that is always the same.
            pairs: whether the texts of a row are translations of each other; else pair filters judge nothing.
            min_languages: rows with fewer go.

        Raises:
            UserError: a process was killed, the disk is full, or as the filters.
        """
        stream: _Stream = iter(rows)
        for first, stop in self._cuts():
            judge = self._filters[stop] if stop < len(self._filters) else None
            if isinstance(judge, CorpusFilter):
                terms = Terms(first, stop, judge.by if pairs else "text", pairs, min_languages)
                stream = self._without_repeats(self._judged(stream, terms), terms, witness)
            else:
                terms = Terms(first, stop, None, pairs, min_languages)
                stream = itertools.chain.from_iterable(left for left, _ in self._judged(stream, terms))
        return _heard(stream, witness)

    def _cuts(self) -> Iterator[tuple[int, int]]:
        """First and last + 1 of filters that judge a chunk one after the other, in this process or all in others."""
        first = 0
        for step, each in enumerate(self._filters):
            if isinstance(each, CorpusFilter):
                yield first, step
                first = step + 1
            elif first < step and each.one_process != self._filters[first].one_process:
                yield first, step
                first = step
        if first < len(self._filters):
            yield first, len(self._filters)

    def _judged(self, rows: _Stream, terms: Terms) -> Iterator[tuple[list[Item | _Loss], Judged]]:
        """Chunks of what is left, with the fingerprints of their units where a corpus filter follows."""
        for chunk, judged in self._in_order(_chunks(rows), terms):
            yield _survivors(chunk, judged, terms.min_languages), judged

    def _in_order(
        self, chunks: Iterator[list[Item | _Loss]], terms: Terms
    ) -> Iterator[tuple[list[Item | _Loss], Judged]]:
        waiting: deque[tuple[list[Item | _Loss], Future[Judged]]] = deque()
        stays = self._processes == 1 or any(each.one_process for each in self._filters[terms.first : terms.stop])
        for chunk in chunks:
            texts = [dict(item[1].texts) for item in chunk if not isinstance(item, _Loss)]
            if stays or self._spent_s < self._patience_s:
                start = time.perf_counter()
                judged = judge_chunk(self._filters, self._hubs, terms, texts)
                self._spent_s += time.perf_counter() - start
                yield chunk, judged
                continue
            waiting.append((chunk, self._submit(terms, texts)))
            if len(waiting) > _CHUNKS_AHEAD * self._processes:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())

    def _submit(self, terms: Terms, texts: list[dict[str, str]]) -> Future[Judged]:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._processes,
                multiprocessing.get_context("spawn"),  # a fork of a process with threads (torch) may hang
                initializer=_start,
                initargs=(self._filters, self._hubs),
            )
        try:
            return self._executor.submit(_judge_here, terms, texts)
        except BrokenProcessPool as error:
            raise _killed() from error

    def _without_repeats(
        self, chunks: Iterator[tuple[list[Item | _Loss], Judged]], terms: Terms, witness: Witness
    ) -> _Stream:
        """Two passes: let all rows rest in a file, then let go on what repeats nothing."""
        judge = self._filters[terms.stop]
        assert isinstance(judge, CorpusFilter)
        assert terms.by is not None
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".repeats-") as name:
            folder = Path(name)
            with explain_os_errors(folder):
                repeats = Repeats(judge, folder)
                with (folder / "rows").open("wb") as file:
                    for items, judged in chunks:
                        _rest(file, _heard(items, witness), judged.num_units)
                        assert judged.prints is not None
                        repeats.add(judged.prints)
                flags = repeats.resolve()
            (reason,) = judge.reasons
            for item, repeated in _resting(folder / "rows", flags):
                if not any(repeated):
                    yield item
                    continue
                parts = parts_of(tuple(item[1].texts), self._hubs, terms.by)
                found = _repeated_texts(parts, repeated)
                rejections = [Rejection(terms.stop, code, reason, against) for code, against in found.items()]
                yield from _without(item, rejections, terms.min_languages)


def _heard(stream: Iterable[Item | _Loss], witness: Witness) -> Iterator[Item]:
    """The rows alone; the witness hears of the rest."""
    for item in stream:
        if isinstance(item, _Loss):
            witness.rejected(*item)
        else:
            yield item


def _chunks(rows: _Stream) -> Iterator[list[Item | _Loss]]:
    """The same chunks always: what a model says may depend, in its last digit, on what else is in its batch."""
    chunk: list[Item | _Loss] = []
    num_texts = 0
    for item in rows:
        chunk.append(item)
        num_texts += len((item.row if isinstance(item, _Loss) else item[1]).texts)
        if num_texts >= CHUNK_TEXTS:
            yield chunk
            chunk, num_texts = [], 0
    if chunk:
        yield chunk


def _survivors(chunk: list[Item | _Loss], judged: Judged, min_languages: int) -> list[Item | _Loss]:
    if not judged.rejections:
        return chunk
    left: list[Item | _Loss] = []
    number = 0
    for item in chunk:
        if isinstance(item, _Loss):
            left.append(item)
            continue
        rejections = judged.rejections.get(number)
        number += 1
        if rejections is None:
            left.append(item)
        else:
            left += _without(item, rejections, min_languages)
    return left


def _without(item: Item, rejections: Sequence[Rejection], min_languages: int) -> Iterator[Item | _Loss]:
    """What the witness is to hear of each step, and the row without its rejected texts, unless too few are left."""
    line, row = item
    for step, group in itertools.groupby(rejections, key=lambda rejection: rejection.step):
        rejected = {rejection.code: rejection for rejection in group}
        texts = {code: text for code, text in row.texts.items() if code not in rejected}
        is_gone = len(texts) < min_languages
        yield _Loss(row, step, list(rejected.values()), is_gone)
        if is_gone:
            return
        synthetic = {code: source for code, source in row.synthetic.items() if code in texts}
        row = Row(row.id, texts, row.corpus, row.document, synthetic)
    yield line, row


def _repeated_texts(parts: Sequence[tuple[str, ...]], repeated: bytes) -> dict[str, str | None]:
    """Texts that take part in nothing new → what each was compared beside, None for texts compared alone."""
    new = {code for part, is_repeated in zip(parts, repeated, strict=True) if not is_repeated for code in part}
    found: dict[str, str | None] = {}
    for part, is_repeated in zip(parts, repeated, strict=True):
        if is_repeated:
            for code in reversed(part):
                if code not in new:
                    found.setdefault(code, next((other for other in part if other != code), None))
    return found


def _rest(file: BinaryIO, items: Iterable[Item], num_units: Sequence[int]) -> None:
    """Write a chunk of rows, each with the number of its units."""
    packed = [
        (number, line, row.id, dict(row.texts), row.corpus, row.document, dict(row.synthetic))
        for number, (line, row) in zip(num_units, items, strict=True)
    ]
    content = marshal.dumps(packed)
    file.write(len(content).to_bytes(8, "little") + content)


def _resting(path: Path, flags: np.ndarray) -> Iterator[tuple[Item, bytes]]:
    """The rows of a file that this process has written, and of their units which repeat something."""
    at = 0
    with path.open("rb") as file:
        while size := file.read(8):
            chunk = marshal.loads(file.read(int.from_bytes(size, "little")))
            of_chunk = flags[at : at + sum(packed[0] for packed in chunk)].tobytes()
            at += len(of_chunk)
            begin = 0
            for number, line, *fields in chunk:
                yield (line, Row(*fields)), of_chunk[begin : begin + number]
                begin += number


def _result(chunk: list[Item | _Loss], future: Future[Judged]) -> tuple[list[Item | _Loss], Judged]:
    try:
        return chunk, future.result()
    except BrokenProcessPool as error:
        raise _killed() from error


def _killed() -> UserError:
    return UserError(
        "A process that judged texts was killed.",
        where="data.clean.processes",
        hint="If the machine ran out of memory, fewer processes need less (processes: 1).",
    )


class _Worker(NamedTuple):
    filters: tuple[Filter, ...]
    hubs: tuple[str, ...]


_worker: list[_Worker] = []
"""What a worker process was started with; empty in all other processes."""


def _start(filters: tuple[Filter, ...], hubs: tuple[str, ...]) -> None:
    """Prepare a worker process: it ends with its parent, and without a word when interrupted."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    _worker.append(_Worker(filters, hubs))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _judge_here(terms: Terms, texts: list[dict[str, str]]) -> Judged:
    return judge_chunk(_worker[0].filters, _worker[0].hubs, terms, texts)
