"""Runs of the bank, and of peft alone, that its tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hexapla.adapter import LoraAdapter, read_adapter
from hexapla.base import Base
from hexapla.common.artifacts import read_json
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.languages import Direction
from hexapla.plan import Job
from hexapla.prompts import get_template
from hexapla.train.bank.schedule import Clock
from hexapla.train.encoding import EncodedExample, EncodedSet
from hexapla.train.result import LOG_FILE, SUMMARY_FILE
from hexapla.train.spec import TrainSpec
from hexapla.train.stage import train_adapters
from hexapla.train.task import PreparedTask, TrainTask
from tests.train.material import DE_EN, EN_DE, examples, train_spec

SIZES = (40, 23, 9, 31, 5, 16, 27)  # examples of the adapters: ragged ends of epochs, different numbers of steps
_ENVIRONMENT = ("seconds", "device", "threads")  # of a summary: what may differ between equal runs


class Recorded(EventLog):
    """Keeps the events of a run instead of writing them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.events: list[dict[str, Any]] = []

    def write(self, event: str, **fields: Any) -> None:
        """Keep one event."""
        self.events.append({"event": event, **fields})

    def of(self, event: str) -> list[dict[str, Any]]:
        """All events of a kind."""
        return [each for each in self.events if each["event"] == event]


def tasks(number: int, development: Sequence[Example] = ()) -> list[TrainTask]:
    """`adapter-0`, `adapter-1`...: of different sizes, every second from English."""
    made = []
    for index, size in enumerate(SIZES[:number]):
        direction: Direction = DE_EN if index % 2 == 0 else EN_DE
        made.append(TrainTask(Job(f"adapter-{index}", (direction,)), examples(size, direction), development))
    return made


def train(
    base: Path, spec: TrainSpec, made: Sequence[TrainTask], folder: Path, seed: int = 0, log: EventLog | None = None
) -> dict[str, LoraAdapter]:
    """The adapters that a trainer makes, by name; their folders lie in `folder`, its checkpoints in `work` there."""
    finished = frozenset(task.job.name for task in made if (folder / task.job.name).is_dir())

    def deliver(name: str, fill: Any) -> None:
        aside = folder / f".{name}"
        aside.mkdir(parents=True, exist_ok=True)
        fill(aside)
        aside.rename(folder / name)

    train_adapters(
        Base(str(base)),
        get_template("alma"),
        spec,
        seed,
        made,
        deliver=deliver,
        finished=finished,
        work=folder / "work",
        log=log,
        device="cpu",
    )
    return {task.job.name: read_adapter(folder / task.job.name) for task in made}


def outcome(folder: Path) -> dict[str, Any]:
    """Everything in an adapter's folder that equal runs have equal."""
    files: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SUMMARY_FILE}
    assert LOG_FILE in files
    summary: Mapping[str, Any] = read_json(folder / SUMMARY_FILE)
    files[SUMMARY_FILE] = repr({key: value for key, value in summary.items() if key not in _ENVIRONMENT})
    return files


def distance(one: LoraAdapter, other: LoraAdapter) -> float:
    """Largest relative distance of the updates B·A over the layers: what an adapter does, whatever its factors are."""
    distances = []
    for path, (a, b) in one.factors.items():
        other_a, other_b = other.factors[path]
        update, expected = b.double() @ a.double(), other_b.double() @ other_a.double()
        distances.append(float((update - expected).norm() / expected.norm()))
    return max(distances)


def clock(slot: int, lengths: Sequence[int], batch: int, epochs: int = 1, **changes: Any) -> Clock:
    """An adapter at its start, with examples of these lengths in input tokens; `changes` are of the test settings."""
    job = Job(f"adapter-{slot}", (DE_EN,))
    encoded = [
        EncodedExample(f"{slot}:{place}", np.zeros(length + 1, dtype=np.int32), 1 + length // 2)
        for place, length in enumerate(lengths)
    ]
    spec = train_spec(batch=batch, epochs=epochs, **changes)
    return Clock.start(slot, PreparedTask(job, spec, EncodedSet(encoded, {}), [], [], ""), seed=0)
