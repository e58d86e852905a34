"""Shares of one work on processes of this machine: each a fresh interpreter that hands its results to this one.

Processes do not speak to each other. A child tells its parent of events and of finished adapters, which it lays down in
a folder aside, and goes on when the parent has taken them; it dies with its parent, however that one ends.

Clusters: what `run_apart` does is all that would change under `torchrun` or a scheduler. There, every rank would take
the shares `rank, rank + world_size, ...` of the plan on the folder that all of them see, deliver for itself, and die
by its launcher's hand; plan, shares and waves stay as they are. A base too large for one device would change `Worker`'s
target, not this module.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.common.progress import EventLog

_LAST_WORDS_S = 5.0  # a process that is told to end has so long before it is killed


@dataclass(frozen=True)
class Call:
    """One share's work: `target(link, place, *arguments)`, all of it to be pickled.

    Attributes:
        label: for people, before what it prints.
        aside: folder that its results pass through.
    """

    label: str
    aside: Path
    target: Callable[..., None]
    arguments: tuple[Any, ...]


class Link:
    """A child's side: hands results and events to the parent.

    Attributes:
        log: writes into the parent's log.
    """

    def __init__(self, connection: Connection, aside: Path) -> None:
        self._connection, self._aside = connection, aside
        self._lock = threading.Lock()
        self.log: EventLog = _ParentsLog(self)

    def deliver(self, name: str, fill: Callable[[Path], None]) -> None:
        """Have a folder filled, and wait until the parent has taken what is in it."""
        folder = self._aside / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fill(folder)
        self.send("finished", name, folder)
        self._connection.recv()
        shutil.rmtree(folder, ignore_errors=True)

    def send(self, kind: str, *content: Any) -> None:
        """One message; from any thread."""
        with self._lock:
            self._connection.send((kind, *content))


@dataclass
class _Worker:
    """The parent's side of a process; `place` is its number among those at work, `ended` whether all went well."""

    call: Call
    place: int
    process: BaseProcess
    ended: bool = field(default=False)


def run_apart(
    calls: Sequence[Call],
    *,
    num_processes: int,
    deliver: Callable[[str, Callable[[Path], None]], None],
    log: EventLog,
    num_threads: int | None = None,
    say: Callable[[str], None] | None = None,
    hear: Callable[..., None] | None = None,
) -> None:
    """Make calls in processes of their own, so many at a time; a call is given the lowest free place, from 0.

    Args:
        deliver: as `stage.Deliver`; called in this process.
        num_threads: of torch in every process; None: as many as it takes by itself.
        say: shows a line that a process wrote; None: on standard error.
        hear: called with a call's label and what its process sent as "told", `link.send("told", ...)`.

    Raises:
        UserError: a call raised one, or its process was killed. The other processes are stopped.
        RuntimeError: a call raised another error; holds its traceback.
    """
    waiting = deque(calls)
    places = list(range(num_processes))
    workers: dict[Any, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and places:
                new, worker = _start(waiting.popleft(), places.pop(0), num_threads)
                workers[new] = worker
            for ready in wait(list(workers)):
                connection: Any = ready
                try:
                    kind, *content = connection.recv()
                except (EOFError, ConnectionResetError):
                    worker = workers.pop(connection)
                    _check_end(worker)
                    places = sorted([*places, worker.place])
                    continue
                if kind == "finished":
                    name, folder = content
                    deliver(name, _taking(folder))
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is seen next
                        connection.send("taken")
                elif kind == "told":
                    assert hear is not None
                    hear(workers[connection].call.label, *content)
                elif kind == "line":
                    (say or _print_line)(f"{workers[connection].call.label}: {content[0]}")
                else:
                    _hear(workers[connection], kind, content, log)
    finally:
        _stop([worker.process for worker in workers.values()])


def _start(call: Call, place: int, num_threads: int | None) -> tuple[Connection, _Worker]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, call, place, num_threads), daemon=True, name=call.label)
    process.start()
    theirs.close()  # the child has its own now; its end is ours to see
    return ours, _Worker(call, place, process)


def _child(connection: Connection, call: Call, place: int, num_threads: int | None) -> None:
    """What a process does."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, interrupted, stops us
    if num_threads is not None:
        import torch

        torch.set_num_threads(num_threads)
    link = Link(connection, call.aside)
    with contextlib.redirect_stderr(_ParentsScreen(link)):
        try:
            call.target(link, place, *call.arguments)
        except UserError as error:
            link.send("refused", isinstance(error, CorruptArtifactError), error.what, error.where, error.hint)
        except Exception:  # noqa: BLE001  the parent raises it again
            link.send("failed", traceback.format_exc())
        else:
            link.send("ended")


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _hear(worker: _Worker, kind: str, content: list[Any], log: EventLog) -> None:
    """Take in a message of a child."""
    if kind == "ended":
        worker.ended = True
    elif kind == "event":
        event, fields = content
        log.write(event, **fields)
    elif kind == "refused":
        is_corrupt, what, where, hint = content
        raise (CorruptArtifactError if is_corrupt else UserError)(what, where=where, hint=hint)
    else:
        assert kind == "failed"
        raise RuntimeError(f"{worker.call.label} failed:\n{content[0]}")


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _check_end(worker: _Worker) -> None:
    """The process closed its connection: was that its end?"""
    worker.process.join()
    if worker.ended:
        return
    code = worker.process.exitcode
    assert code is not None
    if code >= 0:
        raise RuntimeError(f"The process of {worker.call.label} ended with code {code}.")
    raise UserError(
        f"The process of {worker.call.label} was killed ({signal.Signals(-code).name}). What was finished is kept.",
        where="train.bank.processes",
        hint="If the machine ran out of memory, fewer processes need less. The same command continues.",
    )


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_LAST_WORDS_S)
        if process.is_alive():
            process.kill()
            process.join()


def _taking(source: Path) -> Callable[[Path], None]:
    """Fills a folder with what lies in another one."""

    def fill(folder: Path) -> None:
        for path in sorted(source.iterdir()):
            shutil.move(path, folder / path.name)

    return fill


class _ParentsLog(EventLog):
    def __init__(self, link: Link) -> None:
        super().__init__(None)
        self._link = link

    def write(self, event: str, **fields: Any) -> None:
        """Append one event to the parent's log."""
        self._link.send("event", event, fields)


class _ParentsScreen(io.TextIOBase):
    """What a child would show, line by line to the parent; no terminal, so nothing is drawn in place."""

    def __init__(self, link: Link) -> None:
        self._link, self._rest = link, ""

    def write(self, text: str) -> int:
        """Send complete lines."""
        *lines, self._rest = re.split(r"[\r\n]+", self._rest + text)
        for line in filter(None, lines):
            self._link.send("line", line)
        return len(text)
