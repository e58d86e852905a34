"""Objectives beside what else a bank can do: moments elsewhere, a base in bf16, several processes, kills."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hexapla.adapter import read_adapter
from hexapla.common.artifacts import read_json, read_jsonl, write_json
from hexapla.common.progress import EventLog
from hexapla.train.bank.waves import PLAN_FILE
from hexapla.train.result import LOG_FILE, TrainResult
from hexapla.train.spec import BankSpec, LoraSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.bank.aligned import aligned_spec, tasks
from tests.train.bank.runs import Recorded, distance, outcome, train

NAMES = [f"adapter-{index}" for index in range(3)]
ROUNDING = 2**-8  # relative distance of two neighbours in bf16
LOSSES = ("semantic", "matching")
NEEDS_8_BITS = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra quantization"
)


def spec(states: Any = "device", **changes: Any) -> TrainSpec:
    """With dropout; some batches fit into a micro-batch and others do not."""
    return aligned_spec(lora=LoraSpec(rank=4, alpha=8, dropout=0.2), bank=BankSpec(optimizer_states=states), **changes)


def outcomes(folder: Path) -> dict[str, Any]:
    return {name: outcome(folder / name) for name in NAMES}


def column(folder: Path, name: str, facet: str) -> list[float]:
    """A loss of all steps that had it."""
    records = read_jsonl(folder / name / LOG_FILE)
    if facet == "loss":
        return [record["loss"] for record in records]
    return [record["objectives"][facet] for record in records if facet in record["objectives"]]


# Moments elsewhere


@pytest.fixture(scope="module")
def on_device(llama_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose moments lie beside the values, undisturbed."""
    folder = tmp_path_factory.mktemp("device")
    train(llama_base, spec(), tasks(3), folder)
    return folder


def test_moments_in_the_hosts_memory_give_the_same_bytes(llama_base: Path, on_device: Path, tmp_path: Path) -> None:
    train(llama_base, spec("host"), tasks(3), tmp_path)
    assert outcomes(tmp_path) == outcomes(on_device)


@NEEDS_8_BITS
def test_moments_in_8_bits_train_adapters_and_head(llama_base: Path, on_device: Path, tmp_path: Path) -> None:
    """Every loss is near that with moments in fp32, and not the same."""
    train(llama_base, spec("8bit"), tasks(3), tmp_path)
    for name in NAMES:
        for facet in ("loss", *LOSSES):
            found, expected = column(tmp_path, name, facet), column(on_device, name, facet)
            assert all(map(math.isfinite, found))
            assert found == pytest.approx(expected, rel=3e-3, abs=3e-3)
            assert found != expected
        assert distance(read_adapter(tmp_path / name), read_adapter(on_device / name)) < 0.1


# A base in bf16


@pytest.fixture(scope="module")
def by_precision(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of the bank over bases in bf16 and in fp32, and of peft over one in bf16."""
    folder = tmp_path_factory.mktemp("precision")
    made = {}
    for precision, method in (("bf16", "lora"), ("bf16", "peft"), ("fp32", "lora")):
        made[f"{precision} {method}"] = folder / precision / method
        chosen = aligned_spec(precision=precision, method=method, batch=8, epochs=4)
        train(qwen3_base, chosen, tasks(2), folder / precision / method)
    return made


def test_over_a_base_in_bf16_the_losses_are_those_of_fp32_rounded(by_precision: dict[str, Path]) -> None:
    for name in NAMES[:2]:
        for facet in ("loss", *LOSSES):
            found, exact, theirs = (
                column(by_precision[run], name, facet) for run in ("bf16 lora", "fp32 lora", "bf16 peft")
            )
            assert all(map(math.isfinite, found))
            assert found == pytest.approx(exact, rel=4 * ROUNDING, abs=4 * ROUNDING)
            assert found == pytest.approx(theirs, rel=4 * ROUNDING, abs=4 * ROUNDING)
            assert found != pytest.approx(exact, rel=1e-6)  # it was bf16 indeed
            tenth = max(1, len(found) // 10)
            assert sum(found[-tenth:]) < sum(found[:tenth])


def test_over_a_base_in_bf16_adapters_are_as_near_to_those_of_fp32_as_the_references(
    by_precision: dict[str, Path],
) -> None:
    for name in NAMES[:2]:
        ours, theirs, exact = (
            read_adapter(by_precision[run] / name) for run in ("bf16 lora", "bf16 peft", "fp32 lora")
        )
        assert distance(ours, exact) < 1.25 * distance(theirs, exact)


# Several processes


@pytest.mark.slow  # starts two interpreters
@pytest.mark.usefixtures("_one_thread")
def test_two_processes_train_what_one_does(qwen3_base: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    log = Recorded()

    def shared_out(number: int) -> TrainSpec:
        return aligned_spec(bank=BankSpec(processes=number))

    train(qwen3_base, shared_out(2), tasks(3), two, log=log)
    assert {event["adapter"] for event in log.of("train-end")} == set(NAMES)
    plan = read_json(two / "work" / PLAN_FILE)
    assert sorted(len(share) for share in plan["shares"]) == [1, 1]
    write_json(one / "work" / PLAN_FILE, plan)
    train(qwen3_base, shared_out(1), tasks(3), one)
    assert outcomes(two) == outcomes(one)
    # and whatever the company
    train(qwen3_base, shared_out(1), tasks(3), tmp_path / "together")
    for name in NAMES:
        assert distance(read_adapter(two / name), read_adapter(tmp_path / "together" / name)) <= 1e-5


# Killed


_KILLED = """
import sys
from pathlib import Path
from tests.train.bank.test_aligned import train_to_death
train_to_death(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


class _DeadlyWithin(EventLog):
    """Kills the process at a checkpoint that was taken within the global batch of an adapter."""

    def __init__(self, work: Path) -> None:
        super().__init__(None)
        self.work, self.seen = work, 0

    def write(self, event: str, **_fields: Any) -> None:
        if event == "train-checkpoint" and rows_within_batches(self.work):
            self.seen += 1
            if self.seen == 3:
                os.kill(os.getpid(), signal.SIGKILL)


def rows_within_batches(work: Path) -> Sequence[Path]:
    """The files of adapters in the newest complete checkpoint that hold gradients of a part of a batch."""
    generations = sorted(work.glob("**/generation-*"))
    rows = generations[-1].glob("row-*.safetensors") if generations else ()
    return [row for row in rows if "gradients" in load_file(row)]


def train_to_death(base: Path, folder: Path, states: str) -> None:
    """Until killed."""
    train(base, killed_spec(states), few_tasks(), folder, log=_DeadlyWithin(folder / "work"))


def killed_spec(states: str) -> TrainSpec:
    """Batches that several micro-batches hold, and a checkpoint after each of those."""
    return spec(states, batch=6, epochs=1, checkpoint_every_s=0)


def few_tasks() -> list[TrainTask]:
    return tasks(3)


@pytest.mark.slow  # starts an interpreter
@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("states", ["device", pytest.param("8bit", marks=NEEDS_8_BITS)])
def test_killed_within_a_batch_and_taken_up_it_ends_in_the_same_bytes(
    states: str, llama_base: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _KILLED, str(llama_base), str(tmp_path / "killed"), states]
    killed = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert rows_within_batches(tmp_path / "killed" / "work")
    log = Recorded()
    train(llama_base, killed_spec(states), few_tasks(), tmp_path / "killed", log=log)
    assert len(log.of("train-resume")) == 1
    undisturbed = killed_spec(states).model_copy(update={"checkpoint_every_s": 1e9})
    train(llama_base, undisturbed, few_tasks(), tmp_path / "whole")
    assert outcomes(tmp_path / "killed") == outcomes(tmp_path / "whole")
    assert TrainResult.load(tmp_path / "killed" / "adapter-1").status == "finished"
