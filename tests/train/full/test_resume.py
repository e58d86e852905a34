"""Killed and taken up again: the same bytes; checkpoints are whole, few, and of this run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hexapla.common.errors import CorruptArtifactError, UserError
from tests.train.full.runs import full_spec, outcome, train
from tests.train.material import InterruptAt, InterruptedRunError, task

SPEC = full_spec(epochs=2, checkpoint_every_s=0)  # 12 steps

_KILLED = """
import os, signal, sys
from pathlib import Path
from hexapla.common.progress import EventLog
from safetensors import torch as safetensors_torch
from tests.train.full.runs import train
from tests.train.full.test_resume import SPEC
import hexapla.train.full.checkpoint as checkpoint

save_file, saved = checkpoint.save_file, []

def deadly(tensors, path):
    save_file(tensors, path)
    saved.append(path.parent.name)
    if len(saved) == 3 * 7 + 2:  # in the midst of the eighth checkpoint
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = deadly
base, folder = map(Path, sys.argv[1:])
train(base, SPEC, folder)
"""


@pytest.fixture(scope="module")
def whole(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The model of an undisturbed run, which never takes a checkpoint."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    train(qwen3_base, SPEC.model_copy(update={"checkpoint_every_s": 1e9}), folder)
    return outcome(folder)


def test_killed_in_the_midst_of_a_checkpoint(qwen3_base: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    command = [sys.executable, "-c", _KILLED, str(qwen3_base), str(tmp_path / "model")]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "model").exists()
    log = InterruptAt(None)
    train(qwen3_base, SPEC, tmp_path / "model", log=log)
    assert log.resumed_at == 7
    assert outcome(tmp_path / "model") == whole


def test_interrupted_twice(qwen3_base: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    for step in (2, 9):
        with pytest.raises(InterruptedRunError):
            train(qwen3_base, SPEC, tmp_path / "model", log=InterruptAt(step))
    log = InterruptAt(None)
    result = train(qwen3_base, SPEC, tmp_path / "model", log=log)
    assert (log.resumed_at, result.num_steps) == (9, 12)
    assert outcome(tmp_path / "model") == whole


def test_the_latest_two_checkpoints_are_kept(qwen3_base: Path, tmp_path: Path) -> None:
    train(qwen3_base, SPEC, tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "model.work").iterdir())
    assert names == ["step-000000010", "step-000000011"]


@pytest.fixture
def interrupted(qwen3_base: Path, tmp_path: Path) -> Path:
    """A folder of work with the checkpoints of steps 1 and 2."""
    with pytest.raises(InterruptedRunError):
        train(qwen3_base, SPEC, tmp_path / "model", log=InterruptAt(2))
    return tmp_path / "model.work"


@pytest.mark.parametrize("change", ["rate", "examples"])
def test_a_checkpoint_of_another_run_is_refused(qwen3_base: Path, interrupted: Path, change: str) -> None:
    spec = SPEC.model_copy(update={"epochs": 3}) if change == "rate" else SPEC
    made = task(21) if change == "examples" else None
    with pytest.raises(UserError, match="of another run") as caught:
        train(qwen3_base, spec, interrupted.with_suffix(""), made=made)
    assert "step-000000001" in caught.value.paragraph()


def test_a_damaged_checkpoint_is_told(qwen3_base: Path, interrupted: Path) -> None:
    path = interrupted / "step-000000002" / "exp_avg.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptArtifactError, match="damaged") as caught:
        train(qwen3_base, SPEC, interrupted.with_suffix(""))
    assert str(path) in caught.value.paragraph()


def test_what_changes_rounding_only_may_change_under_way(qwen3_base: Path, interrupted: Path) -> None:
    log = InterruptAt(None)
    train(qwen3_base, SPEC.model_copy(update={"micro_batch_tokens": 500}), interrupted.with_suffix(""), log=log)
    assert log.resumed_at == 2
