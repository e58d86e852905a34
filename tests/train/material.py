"""Examples and settings that the tests of training share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexapla.base import Base
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.languages import Direction
from hexapla.plan import Job
from hexapla.prompts import get_template
from hexapla.train.reference.trainer import AdapterTrainer
from hexapla.train.spec import OptimizerSpec, TrainSpec
from hexapla.train.task import TrainTask

DE_EN = Direction("de", "en")
EN_DE = Direction("en", "de")
JOB = Job("de-en", (DE_EN,))

_PAIRS = (
    ("Guten Morgen.", "Good morning."),
    ("Wie geht es dir?", "How are you?"),
    ("Der Zug fährt um neun Uhr ab.", "The train leaves at nine."),
    ("Wo ist der Bahnhof?", "Where is the station?"),
    ("Ich lese ein Buch.", "I am reading a book."),
    ("Danke, sehr gut, und selbst?", "Very well, thank you, and yourself?"),
    ("Ja.", "Yes."),
    ("Heute regnet es den ganzen Tag in der Stadt.", "It is raining all day in the city today."),
)


def examples(num: int = 8, direction: Direction = DE_EN) -> list[Example]:
    """Sentence pairs; beyond the eight distinct ones they are numbered."""
    made = []
    for index in range(num):
        german, english = _PAIRS[index % len(_PAIRS)]
        suffix = f" {index}" if index >= len(_PAIRS) else ""
        source, target = (german, english) if direction == DE_EN else (english, german)
        made.append(Example(f"test:{index:04d} {direction}", direction, source + suffix, target + suffix))
    return made


def task(num: int = 8, job: Job = JOB) -> TrainTask:
    """A job with so many examples of its first direction."""
    return TrainTask(job, examples(num, job.directions[0]))


def train_spec(**changes: Any) -> TrainSpec:
    """Settings for tiny bases: batches of 4, a moderate constant rate, checkpoints never by the clock."""
    settings: dict[str, Any] = {
        "batch": 4,
        "optimizer": OptimizerSpec(lr=5e-3, schedule="constant", warmup=0.0),
        "checkpoint_every_s": 1e9,
        **changes,
    }
    return TrainSpec(**settings)


def trainer(
    base_folder: Path, spec: TrainSpec | None = None, *, template: str = "alma", seed: int = 0
) -> AdapterTrainer:
    """A reference trainer on the CPU."""
    spec = spec if spec is not None else train_spec()
    reference = spec.model_copy(update={"method": "peft"})
    return AdapterTrainer(Base(str(base_folder)), get_template(template), reference, seed, device="cpu")


def adapter_bytes(folder: Path) -> dict[str, bytes]:
    """Content of the files that make the adapter."""
    names = ("adapter_model.safetensors", "adapter_config.json", "README.md", "log.jsonl")
    return {name: (folder / name).read_bytes() for name in names}


class InterruptedRunError(Exception):
    """Stands for whatever ends a run between two steps."""


class InterruptAt(EventLog):
    """Raises after the checkpoint of a step, and tells where a run went on."""

    def __init__(self, step: int | None) -> None:
        super().__init__(None)
        self.step, self.resumed_at = step, None

    def write(self, event: str, **fields: Any) -> None:
        if event == "train-resume":
            self.resumed_at = fields["step"]
        if event == "train-checkpoint" and fields["step"] == self.step:
            raise InterruptedRunError
