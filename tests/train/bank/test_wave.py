"""A wave of adapters: development and best states, early stops, divergence of one and the others unharmed."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from hexapla.adapter import LoraAdapter, read_adapter
from hexapla.base import Base, load_model, load_tokenizer
from hexapla.common.artifacts import read_jsonl
from hexapla.data.examples import Example
from hexapla.prompts import get_template
from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.model import BankedModel
from hexapla.train.bank.packing import PackedBatch
from hexapla.train.encoding import Limits, encode_examples
from hexapla.train.lora import initial_a
from hexapla.train.optimizer import FlatAdamW
from hexapla.train.result import LOG_FILE, TrainResult
from hexapla.train.spec import AdapterSpec, BankSpec, DevelopmentSpec, LoraSpec, OptimizerSpec
from hexapla.train.task import TrainTask
from tests.train.bank.runs import Recorded, distance, tasks, train
from tests.train.material import DE_EN, examples, train_spec

CONSTANT = OptimizerSpec(lr=2e-3, schedule="constant", warmup=0.0)
SPEC = train_spec(batch=2, epochs=2, lora=LoraSpec(rank=2), optimizer=CONSTANT, micro_batch_tokens=500)
NUMBER = 3


@pytest.fixture(scope="module")
def healthy(llama_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which nothing happens."""
    folder = tmp_path_factory.mktemp("healthy")
    train(llama_base, SPEC, tasks(NUMBER), folder)
    return folder


def spoil_gradient(monkeypatch: pytest.MonkeyPatch, is_due: Callable[[int], bool]) -> None:
    """Make the gradient of the first of `NUMBER` adapters infinite in those of its micro-batches, from 1, that are due.

    Every batch of it fits into one micro-batch.
    """
    backward, seen = BankedModel.backward, [0]

    def spoilt(self: BankedModel, batch: PackedBatch, beside: Any = None) -> torch.Tensor:
        nll = backward(self, batch, beside)
        if batch.segments[0].slot == 0 and len(self._context.bank.ranks) == NUMBER:
            seen[0] += 1
            if is_due(seen[0]):
                self._context.bank.gradients[0, -1] = torch.inf
        return nll

    monkeypatch.setattr(BankedModel, "backward", spoilt)


def others_are_unharmed(made: dict[str, LoraAdapter], healthy: Path, harmed: str) -> bool:
    return all(
        distance(adapter, read_adapter(healthy / name)) <= 1e-5 for name, adapter in made.items() if name != harmed
    )


def is_initial(adapter: LoraAdapter, name: str) -> bool:
    return all(
        torch.equal(a, initial_a(tuple(a.shape), 0, name, path)) and not b.any()
        for path, (a, b) in adapter.factors.items()
    )


def test_a_rate_without_reason_parks_one_adapter_only(llama_base: Path, healthy: Path, tmp_path: Path) -> None:
    wild = SPEC.model_copy(update={"adapters": {"adapter-1": AdapterSpec(lr=1e25)}})
    log = Recorded()
    made = train(llama_base, wild, tasks(NUMBER), tmp_path, log=log)
    result = TrainResult.load(tmp_path / "adapter-1")
    assert (result.status, result.num_steps, result.num_planned_steps) == ("diverged", 0, 24)
    assert result.story is not None
    assert "at learning rate 1e+25" in result.story
    assert "Then, at half the rate: " in result.story
    assert "at learning rate 5e+24" in result.story
    assert "The adapter is its state after 0 updates." in result.story
    assert is_initial(made["adapter-1"], "adapter-1")
    assert [(event["adapter"], event["again"]) for event in log.of("train-diverge")] == [
        ("adapter-1", True),
        ("adapter-1", False),
    ]
    assert others_are_unharmed(made, healthy, "adapter-1")
    for name in ("adapter-0", "adapter-2"):
        assert TrainResult.load(tmp_path / name).story is None


def test_an_adapter_that_diverges_once_goes_on_at_half_the_rate(
    llama_base: Path, healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_gradient(monkeypatch, lambda seen: seen == 24)
    updates: dict[int, list[int]] = {}
    step = FlatAdamW.step

    def counted(self: FlatAdamW, lr: float, gradient_norm: float) -> None:
        updates.setdefault(id(self), []).append(int(self.state().get("step", 0)))
        step(self, lr, gradient_norm)

    monkeypatch.setattr(FlatAdamW, "step", counted)
    log = Recorded()
    made = train(llama_base, SPEC, tasks(NUMBER), tmp_path, log=log)
    result = TrainResult.load(tmp_path / "adapter-0")
    assert (result.status, result.num_steps) == ("finished", 40)
    assert result.story is not None
    assert "At step 24 " in result.story
    assert "It went back to its state after 20 updates. From there, at half the rate, all went well." in result.story
    assert [event["back_to"] for event in log.of("train-diverge")] == [20]
    records = read_jsonl(tmp_path / "adapter-0" / LOG_FILE)
    undisturbed = read_jsonl(healthy / "adapter-0" / LOG_FILE)
    assert [record["step"] for record in records] == list(range(1, 41))
    assert [record["lr"] for record in records] == [2e-3] * 20 + [1e-3] * 20
    # The moments that led astray are forgotten, and the correction of their bias begins anew.
    assert [*range(23), *range(20)] in updates.values()
    # The loss of step 21 is that of the state after 20 updates, on the same batch: back is really back.
    for record, expected in zip(records[:21], undisturbed, strict=False):
        assert record["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert records[21]["loss"] != pytest.approx(undisturbed[21]["loss"], rel=1e-5)
    told = [float(loss) for loss in result.story.split("Losses before: ")[1].split(". It")[0].split(", ")]
    assert told == [float(f"{record['loss']:.4g}") for record in undisturbed[15:23]]
    assert others_are_unharmed(made, healthy, "adapter-0")


def test_an_adapter_that_diverges_again_is_parked_as_it_was(
    llama_base: Path, healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the adapter of half as many epochs: the order of an epoch and a constant rate know nothing of the end."""
    half = SPEC.model_copy(update={"epochs": 1})
    expected = train(llama_base, half, tasks(1), tmp_path / "half")["adapter-0"]
    spoil_gradient(monkeypatch, lambda seen: seen >= 24)
    made = train(llama_base, SPEC, tasks(NUMBER), tmp_path / "parked")
    result = TrainResult.load(tmp_path / "parked" / "adapter-0")
    assert (result.status, result.num_steps, result.num_planned_steps) == ("diverged", 20, 40)
    assert len(read_jsonl(tmp_path / "parked" / "adapter-0" / LOG_FILE)) == 20
    assert distance(made["adapter-0"], expected) <= 1e-5
    assert others_are_unharmed(made, healthy, "adapter-0")


def test_a_broken_character_harms_only_the_adapters_that_see_it(
    llama_base: Path, healthy: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(llama_base, base)
    broken = load_tokenizer(Base(str(base)))("%", add_special_tokens=False)["input_ids"]
    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"][broken] = float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    made = tasks(NUMBER)
    first, *others = made[1].examples
    sees = Example(first.id, first.direction, "50 %", first.target)
    made[1] = TrainTask(made[1].job, [sees, *others])
    trained = train(base, SPEC, made, tmp_path)
    result = TrainResult.load(tmp_path / "adapter-1")
    assert result.status == "diverged"
    assert "the loss was nan" in str(result.story)
    assert all(bool(a.isfinite().all() and b.isfinite().all()) for a, b in trained["adapter-1"].factors.values())
    assert others_are_unharmed(trained, healthy, "adapter-1")


def unrelated(number: int = 6) -> list[Example]:
    """Sentences to measure on that training soon makes less likely."""
    return [
        Example(f"dev:{place}", DE_EN, example.source, example.target[::-1].upper())
        for place, example in enumerate(examples(number))
    ]


def peft_loss(base: Path, folder: Path, given: Sequence[Example]) -> float:
    """Mean loss a target token of an adapter, as peft and transformers see it, a sentence at a time."""
    from peft import PeftModel

    model = load_model(Base(str(base)), dtype=torch.float32, device=torch.device("cpu"))
    if folder.is_dir():
        model = PeftModel.from_pretrained(model, folder)
    encoded = encode_examples(load_tokenizer(Base(str(base))), get_template("alma"), given, Limits(512, 512))
    loss_sum, num_targets = 0.0, 0
    for example in encoded.examples:
        ids = torch.from_numpy(example.ids).long()
        with torch.no_grad():
            logits = model(input_ids=ids[None, :-1]).logits[0, example.num_prompt_tokens - 1 :]
        loss_sum += float(F.cross_entropy(logits, ids[example.num_prompt_tokens :], reduction="sum"))
        num_targets += example.num_target_tokens
    return loss_sum / num_targets


def test_development_keeps_the_best_state_and_its_loss_is_pefts(llama_base: Path, tmp_path: Path) -> None:
    """Adapter 0 is measured on what it learns and ends with its last state; adapter 1 on what it unlearns."""
    made = tasks(2)
    measured = (list(made[0].examples[:6]), unrelated())
    made = [TrainTask(task.job, task.examples, given) for task, given in zip(made, measured, strict=True)]
    spec = SPEC.model_copy(
        update={
            "lora": LoraSpec(rank=2, dropout=0.1),  # which must not act on measurements
            "adapters": {"adapter-1": AdapterSpec(lr=1e-2)},
            "development": DevelopmentSpec(every=0.25),
        }
    )
    log = Recorded()
    train(llama_base, spec, made, tmp_path, log=log)
    for index, (num_steps, given) in enumerate(zip((40, 24), measured, strict=True)):
        name = f"adapter-{index}"
        result = TrainResult.load(tmp_path / name)
        steps, losses = zip(*result.development, strict=True)
        assert list(steps) == [num_steps * quarter // 4 for quarter in range(1, 5)]
        assert result.status == "finished"
        assert result.num_steps == steps[losses.index(min(losses))]
        assert peft_loss(llama_base, tmp_path / name, given) == pytest.approx(min(losses), rel=1e-5)
        logged = [[event["step"], event["loss"]] for event in log.of("train-development") if event["adapter"] == name]
        assert logged == result.development
    assert TrainResult.load(tmp_path / "adapter-0").num_steps == 40
    assert TrainResult.load(tmp_path / "adapter-1").num_steps < 24


def test_measuring_changes_no_training(llama_base: Path, healthy: Path, tmp_path: Path) -> None:
    made = tasks(NUMBER, unrelated())
    train(llama_base, SPEC.model_copy(update={"development": DevelopmentSpec(every=0.1)}), made, tmp_path)
    for task in made:
        name = task.job.name
        assert (tmp_path / name / LOG_FILE).read_bytes() == (healthy / name / LOG_FILE).read_bytes()


def test_without_patience_left_one_adapter_stops_early_with_its_best_state(llama_base: Path, tmp_path: Path) -> None:
    made = tasks(2, unrelated())
    made[0] = TrainTask(made[0].job, made[0].examples, made[0].examples[:6])
    spec = SPEC.model_copy(
        update={
            "adapters": {"adapter-1": AdapterSpec(lr=1e-2, epochs=4)},
            "development": DevelopmentSpec(every=0.1, patience=2),
        }
    )
    train(llama_base, spec, made, tmp_path)
    finished, stopped = (TrainResult.load(tmp_path / task.job.name) for task in made)
    assert (finished.status, finished.num_steps) == ("finished", 40)
    assert stopped.status == "stopped-early"
    assert stopped.num_planned_steps == 48
    *before, first_worse, second_worse = stopped.development
    best = before[-1]
    assert best[1] < min(first_worse[1], second_worse[1])
    assert all(best[1] < loss for _, loss in before[:-1])
    assert stopped.num_steps == best[0]
    assert len(read_jsonl(tmp_path / "adapter-1" / LOG_FILE)) == second_worse[0] < 48
    assert peft_loss(llama_base, tmp_path / "adapter-1", unrelated()) == pytest.approx(best[1], rel=1e-5)


@pytest.mark.parametrize("development", [None, DevelopmentSpec(every=0.1, patience=1)])
def test_adapters_of_a_single_step(development: DevelopmentSpec | None, llama_base: Path, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"batch": 64, "epochs": 1, "development": development})
    train(llama_base, spec, tasks(2, unrelated(2)), tmp_path)
    for index in range(2):
        result = TrainResult.load(tmp_path / f"adapter-{index}")
        assert (result.status, result.num_steps, result.num_planned_steps) == ("finished", 1, 1)
        assert [step for step, _ in result.development] == ([] if development is None else [1])


def test_a_wave_leaves_no_bank_in_memory(llama_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next wave's bank must not have to fit beside the one before."""
    banks: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    make = FactorBank.__init__

    def noted(self: FactorBank, groups: Any, ranks: Sequence[int], *others: Any) -> None:
        if len(ranks) == 2:
            alive.append(sum(bank() is not None for bank in banks))
        make(self, groups, ranks, *others)
        if len(ranks) == 2:
            banks.append(weakref.ref(self.values))

    monkeypatch.setattr(FactorBank, "__init__", noted)
    spec = SPEC.model_copy(update={"epochs": 1, "bank": BankSpec(adapters_at_once=2)})
    gc.disable()
    try:
        train(llama_base, spec, tasks(4), tmp_path)
    finally:
        gc.enable()
    assert alive == [0, 0]
