"""What the tests of processes run in them; imports little, because every process does it anew."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from hexapla.common.errors import CorruptArtifactError
from hexapla.common.progress import EventLog
from hexapla.train.bank.workers import Call, Link, run_apart


def work(link: Link, place: int, name: str) -> None:
    """Say something, and deliver a file with the process's place in it."""
    link.log.write("begin", name=name)
    print(f"about {name}", file=sys.stderr)
    link.deliver(name, lambda folder: _write(folder / "place.txt", str(place)))
    link.deliver(f"{name}-2", lambda folder: _write(folder / "process.txt", str(os.getpid())))


def refuse(_link: Link, _place: int, note: str) -> None:
    """A user's mistake."""
    _wait_for(note)
    raise CorruptArtifactError("The file is damaged.", where="here", hint="Delete it.")


def fail(_link: Link, _place: int, note: str) -> None:
    """Ours."""
    _wait_for(note)
    raise ZeroDivisionError("one over nothing")


def die(_link: Link, _place: int, note: str) -> None:
    """As when memory runs out."""
    _wait_for(note)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(_link: Link, _place: int, note: str) -> None:
    """Leave the process's number in a file, and stay."""
    aside = Path(f"{note}.part")
    _write(aside, str(os.getpid()))
    aside.rename(note)
    time.sleep(300)


def _wait_for(note: str) -> None:
    """Until another process is at work."""
    while not Path(note).exists():
        time.sleep(0.02)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    note_ = sys.argv[1]
    call = Call("sleeper", Path(note_).parent, sleep, (note_,))
    run_apart([call], num_processes=1, deliver=lambda _name, _fill: None, log=EventLog(None))
