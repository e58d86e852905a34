"""The same adapter in any company: with dropout, with every adapter's own settings, bit by bit where possible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hexapla.adapter import LoraAdapter
from hexapla.common.artifacts import read_jsonl
from hexapla.train.result import LOG_FILE, TrainResult
from hexapla.train.spec import AdapterSpec, LoraSpec, OptimizerSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.bank.runs import distance, outcome, tasks, train
from tests.train.material import train_spec

SPEC = train_spec(
    batch=3,
    epochs=2,
    lora=LoraSpec(rank=4, alpha=8, dropout=0.1),
    optimizer=OptimizerSpec(lr=2e-3, warmup=0.1),
    micro_batch_tokens=800,
)
NUMBER = 7


@pytest.fixture(scope="module")
def in_company(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoraAdapter]:
    """Seven adapters trained together with dropout."""
    return train(qwen3_base, SPEC, tasks(NUMBER), tmp_path_factory.mktemp("company"))


@pytest.mark.parametrize("index", [0, 4])
def test_with_dropout_an_adapter_alone_is_the_one_in_company(
    index: int, qwen3_base: Path, in_company: dict[str, LoraAdapter], tmp_path: Path
) -> None:
    task = tasks(NUMBER)[index]
    alone = train(qwen3_base, SPEC, [task], tmp_path / "alone")[task.job.name]
    assert distance(alone, in_company[task.job.name]) <= 1e-5
    assert TrainResult.load(tmp_path / "alone" / task.job.name).company == 1


def test_the_seed_and_dropout_matter(qwen3_base: Path, in_company: dict[str, LoraAdapter], tmp_path: Path) -> None:
    """Lest the test above pass for want of dropout: the masks come from the seed, and they change the adapter."""
    task = tasks(NUMBER)[4]
    name = task.job.name
    expected = in_company[name]
    other_seed = train(qwen3_base, SPEC, [task], tmp_path / "seed", seed=1)[name]
    without = SPEC.model_copy(update={"lora": LoraSpec(rank=4, alpha=8)})
    plain = train(qwen3_base, without, [task], tmp_path / "plain")[name]
    assert distance(other_seed, expected) > 0.1
    assert distance(plain, expected) > 0.01


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_every_step_drops_anew(dropout: float, qwen3_base: Path, tmp_path: Path) -> None:
    """One sentence over and over, and hardly a change of the adapter: its gradients differ by what was dropped."""
    spec = SPEC.model_copy(
        update={
            "epochs": 4,
            "lora": LoraSpec(rank=4, alpha=8, dropout=dropout),
            "optimizer": OptimizerSpec(lr=1e-12, schedule="constant"),
        }
    )
    train(qwen3_base, spec, [TrainTask(tasks(1)[0].job, tasks(1)[0].examples[:1])], tmp_path)
    norms = {round(record["gradient_norm"], 4) for record in read_jsonl(tmp_path / "adapter-0" / LOG_FILE)}
    assert len(norms) == (4 if dropout else 1)


def test_the_order_of_the_tasks_and_the_budget_change_rounding_only(
    qwen3_base: Path, in_company: dict[str, LoraAdapter], tmp_path: Path
) -> None:
    small = SPEC.model_copy(update={"micro_batch_tokens": 200})
    again = train(qwen3_base, small, tasks(NUMBER)[::-1], tmp_path)
    for name, adapter in in_company.items():
        assert distance(adapter, again[name]) <= 5e-5


def test_the_same_run_twice_gives_the_same_bytes(qwen3_base: Path, tmp_path: Path) -> None:
    made = tasks(3)
    for run in ("one", "two"):
        train(qwen3_base, SPEC, made, tmp_path / run)
    for task in made:
        assert outcome(tmp_path / "one" / task.job.name) == outcome(tmp_path / "two" / task.job.name)


def test_settings_of_one_adapter_do_not_reach_the_others(
    qwen3_base: Path, in_company: dict[str, LoraAdapter], tmp_path: Path
) -> None:
    own = {"adapter-1": AdapterSpec(lr=0.05, batch=2, epochs=1, rank=2, alpha=3.0, dropout=0.5)}
    mixed = train(qwen3_base, SPEC.model_copy(update={"adapters": own}), tasks(NUMBER), tmp_path)
    for name, adapter in in_company.items():
        if name in own:
            assert mixed[name].settings.rank == 2
        else:
            assert distance(adapter, mixed[name]) <= 1e-5
    assert TrainResult.load(tmp_path / "adapter-1").num_steps == 12


def test_clipping_is_each_adapters_own(qwen3_base: Path, tmp_path: Path) -> None:
    """One adapter's gradients are larger than the other's, as its alpha is: it is clipped, the other as without it."""
    own = {"adapter-0": AdapterSpec(alpha=80.0)}
    made, names = tasks(2), ("adapter-0", "adapter-1")
    free = train(qwen3_base, _with(SPEC, max_grad_norm=1e9, adapters=own), made, tmp_path / "free")
    norms = [
        max(record["gradient_norm"] for record in read_jsonl(tmp_path / "free" / name / LOG_FILE)) for name in names
    ]
    between = 1.5 * norms[1]
    assert norms[0] > 2 * between
    clipped = train(qwen3_base, _with(SPEC, max_grad_norm=between, adapters=own), made, tmp_path / "clipped")
    assert distance(clipped["adapter-0"], free["adapter-0"]) > 1e-3
    assert distance(clipped["adapter-1"], free["adapter-1"]) <= 1e-5


def _with(spec: TrainSpec, *, max_grad_norm: float, adapters: dict[str, AdapterSpec]) -> TrainSpec:
    optimizer = spec.optimizer.model_copy(update={"max_grad_norm": max_grad_norm})
    return spec.model_copy(update={"optimizer": optimizer, "adapters": adapters})


def test_an_example_in_one_adapter_changes_only_that_one(
    qwen3_base: Path, in_company: dict[str, LoraAdapter], tmp_path: Path
) -> None:
    made = tasks(NUMBER)
    longer = replace(made[2].examples[0], target=made[2].examples[0].target * 3)
    made[2] = TrainTask(made[2].job, [longer, *made[2].examples[1:]])
    changed = train(qwen3_base, SPEC, made, tmp_path)
    for name, adapter in in_company.items():
        assert (distance(adapter, changed[name]) > 1e-3) == (name == "adapter-2")
        assert name == "adapter-2" or distance(adapter, changed[name]) <= 1e-5
