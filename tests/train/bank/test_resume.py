"""A bank killed at any moment and taken up again ends in the bytes of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.base import Base, load_model, load_tokenizer
from hexapla.common.artifacts import read_jsonl
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.train.bank import checkpoint
from hexapla.train.bank.life import AdapterLife
from hexapla.train.bank.milestones import Milestones
from hexapla.train.result import StepRecord, TrainResult
from hexapla.train.spec import AdapterSpec, DevelopmentSpec, LoraSpec, OptimizerSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.bank.runs import Recorded, outcome, tasks, train
from tests.train.material import DE_EN, examples, train_spec

# Adapter 1 stops early, adapter 3 diverges once, adapter 4 for good; a micro-batch holds less than most batches.
SPEC = train_spec(
    batch=4,
    epochs=3,
    lora=LoraSpec(rank=2, dropout=0.1),
    optimizer=OptimizerSpec(lr=3e-3, warmup=0.1),
    adapters={
        "adapter-1": AdapterSpec(lr=2e-2, batch=2),
        "adapter-2": AdapterSpec(rank=3, batch=1),
        "adapter-4": AdapterSpec(lr=1e25, batch=1),
    },
    development=DevelopmentSpec(every=0.2, patience=2),
    micro_batch_tokens=200,
    checkpoint_every_s=0,
)
NAMES = [f"adapter-{index}" for index in range(5)]
KILLS = 10
_SCRIPT = """
import sys
from pathlib import Path
from tests.train.bank.test_resume import kill_again_and_again
kill_again_and_again(*map(Path, sys.argv[1:]))
"""


class _StoppedError(Exception):
    """Stands for whatever ends a run between two micro-batches."""


class _StopAt(EventLog):
    """Ends a run at one of its checkpoints."""

    def __init__(self, number: int, error: BaseException | None = None) -> None:
        super().__init__(None)
        self.left, self.error = number, error if error is not None else _StoppedError()

    def write(self, event: str, **fields: Any) -> None:
        self.left -= event == "train-checkpoint"
        if self.left == 0:
            raise self.error


def made() -> list[TrainTask]:
    """Five adapters; what they are measured on is soon unlearned."""
    return tasks(len(NAMES), [Example(f"dev:{e.id}", DE_EN, e.source, e.target[::-1]) for e in examples(3)])


def run(base: Path, folder: Path, log: EventLog | None = None, spec: TrainSpec = SPEC) -> None:
    """Train, or go on; the third adapter's ninth step is judged unsound until its rate is halved."""
    is_sound = AdapterLife.is_sound

    def judged(life: AdapterLife, record: StepRecord) -> bool:
        unsound = life.name == "adapter-3" and record.step == 9 and life.rate_factor == 1.0
        return is_sound(life, record) and not unsound

    AdapterLife.is_sound = judged  # type: ignore[method-assign]
    try:
        train(base, spec, made(), folder, log=log)
    finally:
        AdapterLife.is_sound = is_sound  # type: ignore[method-assign]


def outcomes(folder: Path) -> dict[str, Any]:
    """What the run made, but for its environment."""
    return {name: outcome(folder / name) for name in NAMES}


# Killed from outside. All in one process that has imported everything and forks a fresh child for every attempt.


def kill_again_and_again(base: Path, folder: Path) -> None:
    """Ten kills at random moments and two in the middle of a checkpoint, then on to the end; beside it a whole run."""
    load_model(Base(str(base)), dtype=torch.float32, device=torch.device("cpu"))  # imports for all children
    load_tokenizer(Base(str(base)))
    moments = random.Random(0)
    whole = SPEC.model_copy(update={"checkpoint_every_s": 1e9})
    assert _wait(_fork(partial(run, base, folder / "whole", spec=whole))) == 0
    events, num_ended, num_within_batches = folder / "events.jsonl", 0, 0
    codes: list[int] = []
    while len(codes) < KILLS + 2:
        killed = folder / f"killed-{num_ended}"
        if len(codes) < KILLS:
            child = _fork(partial(run, base, killed, EventLog(events)))
            _wait_for_checkpoints(child, events, moments.randint(4, 11))
            time.sleep(moments.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
        else:
            die_in = ("_write_tensors", "write_text")[len(codes) - KILLS]
            child = _fork(partial(run_to_a_checkpoint, base, killed, EventLog(events), die_in))
        code = _wait(child)
        if code == 0:  # faster than its killer: another run, from the start
            num_ended += 1
            continue
        codes.append(code)
        rows = [path.read_bytes() for path in killed.glob("work/**/generation-*/row-*.safetensors")]
        num_within_batches += any(b'"gradients"' in row for row in rows)
    assert _wait(_fork(partial(run, base, killed, EventLog(events)))) == 0
    print(json.dumps({"codes": codes, "num_within_batches": num_within_batches}))


def run_to_a_checkpoint(base: Path, folder: Path, log: EventLog, die_in: str) -> None:
    """Go on, and die in the fourth call of one of the functions that write a checkpoint."""
    function, calls = getattr(checkpoint, die_in), []

    def deadly(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(checkpoint, die_in, deadly)
    run(base, folder, log)


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  a child must not return into its parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def _wait(child: int) -> int:
    """The exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _num_checkpoints(events: Path) -> int:
    return events.read_bytes().count(b'"train-checkpoint"') if events.is_file() else 0


def _wait_for_checkpoints(child: int, events: Path, number: int) -> None:
    """Wait until a child has begun so many more checkpoints; not beyond its end, whose status is left to `_wait`."""
    enough = _num_checkpoints(events) + number
    while (
        _num_checkpoints(events) < enough and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_in_the_same_bytes(qwen3_base: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SCRIPT, str(qwen3_base), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    finished = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr.decode()
    report = json.loads(finished.stdout.decode().splitlines()[-1])
    assert report["codes"] == [-signal.SIGKILL] * (KILLS + 2), finished.stderr.decode()
    assert report["num_within_batches"] >= 3
    killed = sorted(tmp_path.glob("killed-*"))
    for folder in killed:
        assert outcomes(folder) == outcomes(tmp_path / "whole")
    resumed = [event for event in read_jsonl(tmp_path / "events.jsonl") if event["event"] == "train-resume"]
    assert len(resumed) >= KILLS + 3 - len(killed)
    results = [TrainResult.load(killed[0] / name) for name in NAMES]
    assert [result.status for result in results][1:] == ["stopped-early", "finished", "finished", "diverged"]
    assert "From there, at half the rate, all went well." in str(results[3].story)


# Stopped from inside, and taken up in the same process at once.


@pytest.fixture(scope="module")
def whole(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run makes that is left alone."""
    folder = tmp_path_factory.mktemp("whole")
    run(qwen3_base, folder, spec=SPEC.model_copy(update={"checkpoint_every_s": 1e9}))
    return outcomes(folder)


def test_snapshots_stay_as_long_as_a_checkpoint_refers_to_them(tmp_path: Path) -> None:
    """With one checkpoint kept: what it needs is there until the next is complete, which the one after that shows."""
    milestones = Milestones(tmp_path / "milestones", keep=1)
    for step in (1, 2, 3):
        values = torch.full((4,), float(step))
        milestones.save("a", step, values)
        values.zero_()  # what is kept is a copy
        milestones.settle()
        milestones.checkpointed({"a": {step}})
        for needed in {max(step - 1, 1), step}:
            assert milestones.load("a", needed).tolist() == [float(needed)] * 4
    with pytest.raises(CorruptArtifactError, match="missing or damaged"):
        milestones.load("a", 1)
    milestones.require({"a": {2, 3}, "b": set()})
    with pytest.raises(CorruptArtifactError):
        milestones.require({"a": {1}})


def newest_generation(folder: Path) -> Path:
    *_, newest = sorted(folder.glob("work/**/generation-*"))
    return newest


def test_interrupted_by_the_user_the_next_call_goes_on_at_once(
    qwen3_base: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    for number in (3, 9):
        with pytest.raises(KeyboardInterrupt):
            run(qwen3_base, tmp_path, _StopAt(number, KeyboardInterrupt()))
        assert list(tmp_path.glob("work/**/*.part")) == []
    run(qwen3_base, tmp_path)
    assert outcomes(tmp_path) == whole


def test_a_damaged_checkpoint_costs_a_few_steps_and_no_byte(
    qwen3_base: Path, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it, from which the run goes on, was written while training went on, by a slow disk."""
    write = checkpoint._write_tensors

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.1)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "_write_tensors", slowly)
    with pytest.raises(_StoppedError):
        run(qwen3_base, tmp_path, _StopAt(3), SPEC.model_copy(update={"checkpoint_every_s": 0.05}))
    monkeypatch.undo()
    damaged = newest_generation(tmp_path)
    row = damaged / "row-0000.safetensors"
    content = row.read_bytes()
    row.unlink()  # it may be one file with the generation's before
    row.write_bytes(content[:-4] + b"\x00\x00\x80\x7f")
    log = Recorded()
    run(qwen3_base, tmp_path, log)
    [resumed] = log.of("train-resume")
    assert damaged.name in resumed["note"]
    assert outcomes(tmp_path) == whole


def test_an_adapter_that_cannot_be_delivered_is_delivered_later(
    qwen3_base: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "adapter-2"
    in_the_way.write_text("")
    with pytest.raises(NotADirectoryError):
        run(qwen3_base, tmp_path)
    in_the_way.unlink()
    run(qwen3_base, tmp_path)
    assert outcomes(tmp_path) == whole


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_without_the_state_to_go_back_to_there_is_a_clear_error(damage: str, qwen3_base: Path, tmp_path: Path) -> None:
    with pytest.raises(_StoppedError):
        run(qwen3_base, tmp_path, _StopAt(30))
    snapshots = list(tmp_path.glob("work/**/milestones/adapter-0-*.safetensors"))
    assert snapshots
    for snapshot in snapshots:
        if damage == "missing":
            snapshot.unlink()
        else:
            snapshot.write_bytes(snapshot.read_bytes()[:-4])
    with pytest.raises(CorruptArtifactError, match="This state of 'adapter-0' is missing or damaged") as caught:
        run(qwen3_base, tmp_path)
    assert str(snapshots[0].parent.parent) in caught.value.paragraph()


def test_snapshots_that_no_checkpoint_needs_are_removed(qwen3_base: Path, tmp_path: Path) -> None:
    with pytest.raises(_StoppedError):
        run(qwen3_base, tmp_path, _StopAt(60))
    lives = json.loads((newest_generation(tmp_path) / "state.json").read_text())["lives"]
    needed = {
        f"{life['name']}-{step:07d}.safetensors"
        for life in lives
        if life["state"] == "training"
        for step in (life["good_step"], life["best_step"])
        if step
    }
    found = {path.name for path in tmp_path.glob("work/**/milestones/*")}
    assert needed <= found
    # The checkpoints just before may need others; every measurement saved one.
    assert len(found) <= len(needed) + 2 < sum(len(life["development"]) for life in lives)


@pytest.mark.parametrize("change", ["seed", "rate", "budget"])
def test_a_checkpoint_of_another_run_is_refused(change: str, qwen3_base: Path, tmp_path: Path) -> None:
    with pytest.raises(_StoppedError):
        run(qwen3_base, tmp_path, _StopAt(3))
    spec = SPEC
    if change == "rate":
        spec = SPEC.model_copy(update={"optimizer": OptimizerSpec(lr=4e-3, warmup=0.1)})
    if change == "budget":
        spec = SPEC.model_copy(update={"micro_batch_tokens": 201})
    with pytest.raises(UserError):
        train(qwen3_base, spec, made(), tmp_path, seed=int(change == "seed"))
