"""A bank over a base in bf16: adapters stay in fp32, and learn what the reference trainer's learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.adapter import LoraAdapter, read_adapter
from hexapla.base import Base
from hexapla.prompts import get_template
from hexapla.train.spec import LoraSpec, TrainSpec
from hexapla.train.stage import train_adapters
from tests.train.bank.test_parity import distance
from tests.train.material import JOB, task, train_spec

_TEN_STEPS = {"batch": 4, "epochs": 5}  # of eight examples
_ROUNDING = 2**-9  # relative distance of a number to the nearest one in bf16, at most


@pytest.fixture(scope="module")
def runs(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[float], LoraAdapter]]:
    """Losses of the ten steps and the adapter, by precision and method."""
    folder = tmp_path_factory.mktemp("bf16")
    made = {}
    for precision, method in (("bf16", "lora"), ("bf16", "peft"), ("fp32", "lora")):
        spec = train_spec(precision=precision, method=method, lora=LoraSpec(rank=4, dropout=0.0), **_TEN_STEPS)
        made[f"{precision} {method}"] = losses_and_adapter(qwen3_base, spec, folder / precision / method)
    return made


def losses_and_adapter(base: Path, spec: TrainSpec, folder: Path) -> tuple[list[float], LoraAdapter]:
    """What training eight examples of one adapter gives: the loss of every step, and the adapter."""

    def deliver(name: str, fill: Any) -> None:
        (folder / name).mkdir(parents=True)
        fill(folder / name)

    train_adapters(
        Base(str(base)), get_template("alma"), spec, 0, [task()], deliver=deliver, work=folder / "work", device="cpu"
    )
    lines = (folder / JOB.name / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines], read_adapter(folder / JOB.name)


def test_losses_fall_as_the_references_do(runs: dict[str, tuple[list[float], LoraAdapter]]) -> None:
    losses, expected = runs["bf16 lora"][0], runs["bf16 peft"][0]
    assert len(losses) == 10
    assert losses[-1] < 0.9 * losses[0]
    assert losses == pytest.approx(expected, rel=_ROUNDING)
    assert losses != pytest.approx(runs["fp32 lora"][0], rel=1e-6)  # it was bf16 indeed


def test_adapters_are_fp32_and_as_near_to_those_of_an_fp32_base_as_the_references(
    runs: dict[str, tuple[list[float], LoraAdapter]],
) -> None:
    ours, theirs, exact = (runs[name][1] for name in ("bf16 lora", "bf16 peft", "fp32 lora"))
    for a, b in ours.factors.values():
        assert a.dtype == b.dtype == torch.float32
        assert not torch.equal(b, b.bfloat16().float())
    assert distance(ours, exact) < 1.25 * distance(theirs, exact)
