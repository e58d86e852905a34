"""The entry of training with the reference trainer: every adapter delivered once, as soon as it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hexapla.base import Base
from hexapla.common.errors import UserError
from hexapla.plan import Job
from hexapla.prompts import get_template
from hexapla.train.reference.checkpoint import CHECKPOINT_FILE
from hexapla.train.stage import train_adapters
from hexapla.train.task import TrainTask
from tests.train.material import EN_DE, adapter_bytes, examples, task, train_spec, trainer

OTHER = Job("en-de", (EN_DE,))
SPEC = train_spec(method="peft", checkpoint_every_s=0)


class _Shelf:
    """Takes what is delivered into folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def __call__(self, name: str, fill: Callable[[Path], None]) -> None:
        fill(self.folder / name)
        self.names.append(name)


def _train(base: Path, shelf: _Shelf, tasks: list[TrainTask], finished: frozenset[str] = frozenset()) -> None:
    train_adapters(
        Base(str(base)),
        get_template("alma"),
        SPEC,
        0,
        tasks,
        deliver=shelf,
        finished=finished,
        work=shelf.folder / "work",
        device="cpu",
    )


def test_every_adapter_is_delivered_as_the_trainer_makes_it(qwen3_base: Path, tmp_path: Path) -> None:
    shelf = _Shelf(tmp_path)
    _train(qwen3_base, shelf, [task(8), task(6, OTHER)])
    assert shelf.names == ["de-en", "en-de"]
    with trainer(qwen3_base, SPEC) as made:
        made.train(task(6, OTHER), tmp_path / "alone", tmp_path / "work-alone")
    assert adapter_bytes(tmp_path / "alone") == adapter_bytes(tmp_path / "en-de")
    assert (tmp_path / "work" / "de-en" / CHECKPOINT_FILE).is_file()


def test_what_is_finished_is_not_trained_again(qwen3_base: Path, tmp_path: Path) -> None:
    shelf = _Shelf(tmp_path)
    _train(qwen3_base, shelf, [task(8), task(6, OTHER)], frozenset({"de-en"}))
    assert shelf.names == ["en-de"]
    assert not (tmp_path / "work" / "de-en").exists()


def test_a_fault_in_a_later_task_leaves_what_was_delivered(qwen3_base: Path, tmp_path: Path) -> None:
    shelf = _Shelf(tmp_path)
    with pytest.raises(UserError, match="'en-de' has no examples"):
        _train(qwen3_base, shelf, [task(8), TrainTask(OTHER, []), TrainTask(OTHER, examples(3, EN_DE))])
    assert shelf.names == ["de-en"]
