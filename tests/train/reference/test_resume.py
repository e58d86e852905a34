"""Killed and taken up again: the same bytes; checkpoints of other runs are refused."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.reference.checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint, save_checkpoint
from hexapla.train.spec import LoraSpec, OptimizerSpec
from tests.train.material import InterruptAt, InterruptedRunError, adapter_bytes, task, train_spec, trainer

NUM_EXAMPLES = 22
SPEC = train_spec(
    batch=3,
    epochs=2,
    lora=LoraSpec(rank=4, dropout=0.1),
    optimizer=OptimizerSpec(lr=5e-3),
    checkpoint_every_s=0,
)

_KILLED = """
import os, signal, sys
from pathlib import Path
from hexapla.common.progress import EventLog
from tests.train.material import task, trainer
from tests.train.reference.test_resume import NUM_EXAMPLES, SPEC

class Deadly(EventLog):
    def write(self, event, **fields):
        if event == "train-checkpoint" and fields["step"] == 9:
            os.kill(os.getpid(), signal.SIGKILL)

base, folder, work = map(Path, sys.argv[1:])
trainer(base, SPEC).train(task(NUM_EXAMPLES), folder, work, Deadly(None))
"""


def _whole_run(base: Path, folder: Path) -> dict[str, bytes]:
    with trainer(base, SPEC) as made:
        made.train(task(NUM_EXAMPLES), folder, folder.with_suffix(".work"))
    return adapter_bytes(folder)


def test_a_run_killed_by_sigkill_ends_in_the_same_bytes(qwen3_base: Path, tmp_path: Path) -> None:
    folder, work = tmp_path / "a", tmp_path / "work"
    command = [sys.executable, "-c", _KILLED, str(qwen3_base), str(folder), str(work)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not folder.exists()
    log = InterruptAt(None)
    with trainer(qwen3_base, SPEC) as made:
        result = made.train(task(NUM_EXAMPLES), folder, work, log)
    assert log.resumed_at == 9
    assert result.num_steps == 16
    assert adapter_bytes(folder) == _whole_run(qwen3_base, tmp_path / "whole")


def test_interrupted_twice_in_one_process(qwen3_base: Path, tmp_path: Path) -> None:
    with trainer(qwen3_base, SPEC) as made:
        for step in (2, 11):
            with pytest.raises(InterruptedRunError):
                made.train(task(NUM_EXAMPLES), tmp_path / "a", tmp_path / "work", InterruptAt(step))
        log = InterruptAt(None)
        made.train(task(NUM_EXAMPLES), tmp_path / "a", tmp_path / "work", log)
    assert log.resumed_at == 11
    assert adapter_bytes(tmp_path / "a") == _whole_run(qwen3_base, tmp_path / "whole")


@pytest.mark.parametrize("change", ["seed", "lora", "examples"])
def test_a_checkpoint_of_another_run_is_refused(qwen3_base: Path, tmp_path: Path, change: str) -> None:
    with trainer(qwen3_base, SPEC) as made, pytest.raises(InterruptedRunError):
        made.train(task(NUM_EXAMPLES), tmp_path / "a", tmp_path / "work", InterruptAt(2))
    spec = SPEC.model_copy(update={"lora": LoraSpec(rank=4, alpha=5)}) if change == "lora" else SPEC
    num = 21 if change == "examples" else NUM_EXAMPLES
    with (
        trainer(qwen3_base, spec, seed=int(change == "seed")) as made,
        pytest.raises(UserError, match="of another run") as caught,
    ):
        made.train(task(num), tmp_path / "a", tmp_path / "work")
    assert CHECKPOINT_FILE in caught.value.paragraph()
    assert (tmp_path / "work" / CHECKPOINT_FILE).is_file()


@pytest.mark.parametrize(
    "change", [{"checkpoint_every_s": 1e9}, {"micro_batch_tokens": 40}, {"gradient_checkpointing": True}]
)
def test_what_the_adapter_does_not_depend_on_may_change(
    qwen3_base: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Less memory included: after a failure for lack of it the run goes on where it was."""
    with trainer(qwen3_base, SPEC) as made, pytest.raises(InterruptedRunError):
        made.train(task(NUM_EXAMPLES), tmp_path / "a", tmp_path / "work", InterruptAt(2))
    log = InterruptAt(None)
    with trainer(qwen3_base, SPEC.model_copy(update=change)) as made:
        made.train(task(NUM_EXAMPLES), tmp_path / "a", tmp_path / "work", log)
    assert log.resumed_at == 2


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint("run", 1, [], 0.5, {"values": torch.zeros(100)}))
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptArtifactError, match="checkpoint is damaged"):
        load_checkpoint(tmp_path, "run")


def test_a_checkpoint_round_trips_and_none_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, "run") is None
    save_checkpoint(tmp_path, Checkpoint("run", 3, [{"step": 3, "loss": 0.1}], 0.5, {"values": torch.arange(5.0)}))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert (loaded.step, loaded.history, loaded.seconds) == (3, [{"step": 3, "loss": 0.1}], 0.5)
    assert torch.equal(loaded.tensors["values"], torch.arange(5.0))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
