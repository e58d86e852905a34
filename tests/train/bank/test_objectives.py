"""Adapters of a bank whose representations are aligned: those of the reference trainer, whatever is beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.adapter import read_adapter
from hexapla.common.artifacts import read_jsonl
from hexapla.common.errors import UserError
from hexapla.plan import Job
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.bank.objectives import BankObjectives, even_parts
from hexapla.train.bank.wave import Wave
from hexapla.train.result import LOG_FILE, TrainResult
from hexapla.train.spec import AdapterSpec, LoraSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.bank.aligned import OBJECTIVES, aligned_spec, tasks
from tests.train.bank.packs import example
from tests.train.bank.runs import Recorded, distance, outcome, train
from tests.train.material import DE_EN, examples

NUMBER = 7
FACETS = {"semantic", "semantic_accuracy", "matching", "matching_accuracy"}


def own_settings(number: int) -> dict[str, AdapterSpec]:
    """For every adapter its own rank and batch."""
    return {f"adapter-{index}": AdapterSpec(rank=1 + index, batch=4 + index % 3) for index in range(number)}


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return read_jsonl(folder / name / LOG_FILE)


@pytest.fixture(scope="module")
def references(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapters trained one by one through peft."""
    folder = tmp_path_factory.mktemp("references")
    common = aligned_spec(adapters=own_settings(NUMBER))
    for task in tasks(NUMBER):
        alone = common.of(task.job.name).model_copy(update={"method": "peft"})
        train(qwen3_base, alone, [task], folder / "runs" / task.job.name)
    return folder / "runs"


def split_batches(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the batches that end from now on were held by one micro-batch."""
    whole: list[bool] = []
    preview = BankObjectives._preview
    end = BankObjectives.end

    def previewed(self: BankObjectives, given: Any) -> Any:
        whole.append(False)
        return preview(self, given)

    def ended(self: BankObjectives, slot: int) -> Any:
        whole.append(True)
        return end(self, slot)

    monkeypatch.setattr(BankObjectives, "_preview", previewed)
    monkeypatch.setattr(BankObjectives, "end", ended)
    return whole


@pytest.mark.parametrize("number", [1, 2, NUMBER])
def test_the_bank_equals_peft_adapter_by_adapter(
    number: int, references: Path, qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = split_batches(monkeypatch)
    spec = aligned_spec(adapters=own_settings(number))
    together = train(qwen3_base, spec, tasks(number), tmp_path)
    num_split = ends.count(False)
    assert 0.1 * ends.count(True) < num_split < 0.9 * ends.count(True)
    norms: list[float] = []
    for name, adapter in together.items():
        assert distance(adapter, read_adapter(references / name / name)) <= 1e-5
        pairs = zip(records(tmp_path, name), records(references / name, name), strict=True)
        for found, expected in pairs:
            assert set(found["objectives"]) in (FACETS, set())  # there are batches of general instructions only
            assert found["objectives"] == pytest.approx(expected["objectives"], rel=1e-4, abs=1e-6)
            assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
            assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-4)
            norms.append(found["gradient_norm"])
    num_clipped = sum(norm > spec.optimizer.max_grad_norm for norm in norms)
    assert 0 < num_clipped < len(norms)


@pytest.fixture(scope="module")
def in_company(llama_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three adapters trained together with dropout."""
    folder = tmp_path_factory.mktemp("company")
    train(llama_base, dropping(), tasks(3), folder)
    return folder


def dropping(**changes: Any) -> TrainSpec:
    return aligned_spec(lora=LoraSpec(rank=4, alpha=8, dropout=0.2), **changes)


@pytest.mark.parametrize("index", [0, 1])
def test_with_dropout_an_adapter_alone_is_the_one_in_company(
    index: int, llama_base: Path, in_company: Path, tmp_path: Path
) -> None:
    [(name, alone)] = train(llama_base, dropping(), [tasks(3)[index]], tmp_path).items()
    assert distance(alone, read_adapter(in_company / name)) <= 1e-5


@pytest.mark.parametrize("changes", [{"micro_batch_tokens": 4000}, {"micro_batch_tokens": 178}])
def test_the_budget_changes_rounding_only(
    changes: dict[str, int], llama_base: Path, in_company: Path, tmp_path: Path
) -> None:
    """From all batches whole to nearly all in parts, dropout included: both passes of a batch drop the same."""
    again = train(llama_base, dropping(**changes), tasks(3), tmp_path)
    for name, adapter in again.items():
        assert distance(adapter, read_adapter(in_company / name)) <= 5e-5


def test_checkpointing_layers_changes_rounding_only(llama_base: Path, in_company: Path, tmp_path: Path) -> None:
    again = train(llama_base, dropping(gradient_checkpointing=True), tasks(3), tmp_path)
    for name, adapter in again.items():
        assert distance(adapter, read_adapter(in_company / name)) <= 1e-5


@pytest.mark.parametrize(
    "objectives",
    [
        AlignmentSpec(matching=0, symmetric=True, layer=2),  # the last layer
        AlignmentSpec(semantic=0, matching_width=4, layer=1),
        AlignmentSpec(contrast=3, matching_width=4, mask_translations=False),
    ],
)
def test_other_objectives_equal_pefts_too(objectives: AlignmentSpec, gemma_base: Path, tmp_path: Path) -> None:
    spec = aligned_spec(objectives, batch=5, epochs=1)
    made = [tasks(2)[1]]
    [ours] = train(gemma_base, spec, made, tmp_path / "bank").values()
    [theirs] = train(gemma_base, spec.model_copy(update={"method": "peft"}), made, tmp_path / "peft").values()
    assert distance(ours, theirs) <= 1e-5
    for found, expected in zip(*(records(tmp_path / kind, "adapter-1") for kind in ("bank", "peft")), strict=True):
        assert set(found["objectives"]) < FACETS or objectives.contrast is not None
        assert found["objectives"] == pytest.approx(expected["objectives"], rel=1e-4, abs=1e-6)


def test_objectives_act_and_each_by_its_own_layer(gemma_base: Path, tmp_path: Path) -> None:
    """Lest the tests above pass for want of objectives."""
    made = tasks(1)
    specs = {
        "none": None,
        "idle": AlignmentSpec(semantic=0, matching=0, layer=1),
        "both": OBJECTIVES,
        "semantic": AlignmentSpec(matching=0),
        "deep": AlignmentSpec(matching=0, layer=1.0),
        "matching": AlignmentSpec(semantic=0, matching_width=8),
    }
    adapters = {}
    for name, objectives in specs.items():
        spec = aligned_spec(objectives, epochs=1, batch=8)
        [adapters[name]] = train(gemma_base, spec, made, tmp_path / name).values()
    assert outcome(tmp_path / "idle" / "adapter-0") == outcome(tmp_path / "none" / "adapter-0")
    names = [name for name in specs if name != "idle"]
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            assert distance(adapters[one], adapters[other]) > 1e-3, (one, other)


class _StopAt(Recorded):
    """Ends a run at one of its checkpoints."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def write(self, event: str, **fields: Any) -> None:
        super().write(event, **fields)
        self.left -= event == "train-checkpoint"
        if self.left == 0 and event == "train-checkpoint":
            raise KeyboardInterrupt


def test_stopped_within_batches_and_taken_up_it_ends_in_the_same_bytes(llama_base: Path, tmp_path: Path) -> None:
    """What went before a batch is made anew, to the bit, though other adapters begin their batches elsewhere now."""
    spec = dropping(batch=6, checkpoint_every_s=0)
    made = tasks(3)
    train(llama_base, spec.model_copy(update={"checkpoint_every_s": 1e9}), made, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    num_within = 0
    for number in (2, 4, 7):
        with pytest.raises(KeyboardInterrupt):
            train(llama_base, spec, made, stopped, log=_StopAt(number))
        *_, newest = sorted(stopped.glob("work/**/generation-*"))
        num_within += sum(b'"gradients"' in row.read_bytes() for row in newest.glob("row-*.safetensors"))
    assert num_within >= 2
    train(llama_base, spec, made, stopped)
    for task in made:
        assert outcome(stopped / task.job.name) == outcome(tmp_path / "whole" / task.job.name)


def test_the_head_is_trained_and_kept_but_not_in_the_adapter(llama_base: Path, tmp_path: Path) -> None:
    made = tasks(1)
    spec = aligned_spec(epochs=1, checkpoint_every_s=0)
    with pytest.raises(KeyboardInterrupt):
        train(llama_base, spec, made, tmp_path, log=_StopAt(5))
    [wave] = tmp_path.glob("work/**/wave-*")
    *_, newest = sorted(wave.glob("checkpoints/generation-*"))
    train(llama_base, spec.model_copy(update={"objectives": None}), made, tmp_path / "plain")
    from safetensors.torch import load_file

    row = load_file(newest / "row-0000.safetensors")
    width = 32
    num_head = MatchingHead.num_entries(width, OBJECTIVES.matching_width)
    head = row["values"][-num_head:]
    start = MatchingHead.initial(width, OBJECTIVES.matching_width, 0, "adapter-0")
    assert 0.001 < float((head - start).norm() / start.norm()) < 0.5
    assert bool(row["exp_avg_sq"][-num_head:].gt(0).all())
    train(llama_base, spec, made, tmp_path)
    adapter, plain = (read_adapter(folder / "adapter-0") for folder in (tmp_path, tmp_path / "plain"))
    assert adapter.num_parameters == plain.num_parameters == len(row["values"]) - num_head
    files = [{path.name for path in (folder / "adapter-0").iterdir()} for folder in (tmp_path, tmp_path / "plain")]
    assert files[0] == files[1]
    sizes = [
        (folder / "adapter-0" / "adapter_model.safetensors").stat().st_size for folder in (tmp_path, tmp_path / "plain")
    ]
    assert sizes[0] == sizes[1]


def spoil(monkeypatch: pytest.MonkeyPatch, name: str, is_due: Any) -> list[torch.Tensor]:
    """Make the semantic loss of an adapter's batches infinite whose number, from 1, is due; returns all its heads."""
    seen: list[torch.Tensor] = []
    record = Wave._end_objectives

    def ended(self: Wave, life: Any) -> dict[str, float]:
        values = record(self, life)
        if life.name == name:
            seen.append(self._bank.heads[life.clock.slot].clone())
            if is_due(len(seen)):
                values["semantic"] = float("inf")
        return values

    monkeypatch.setattr(Wave, "_end_objectives", ended)
    return seen


def test_an_objective_that_is_not_finite_is_a_divergence_and_the_head_begins_anew(
    llama_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = train(llama_base, aligned_spec(), tasks(2), tmp_path / "healthy")
    heads = spoil(monkeypatch, "adapter-0", lambda number: number == 3)
    log = Recorded()
    made = train(llama_base, aligned_spec(), tasks(2), tmp_path / "spoilt", log=log)
    assert [(event["adapter"], event["again"], event["back_to"]) for event in log.of("train-diverge")] == [
        ("adapter-0", True, 0)
    ]
    assert torch.equal(heads[3], heads[0])
    assert not torch.equal(heads[2], heads[0])
    assert distance(made["adapter-1"], healthy["adapter-1"]) <= 1e-5
    assert TrainResult.load(tmp_path / "spoilt" / "adapter-0").status == "finished"


def test_what_has_nothing_to_tell_apart_says_so_once(llama_base: Path, tmp_path: Path) -> None:
    """The last batch of every epoch is one example; the other adapter's batches are larger."""
    made = [TrainTask(Job("last-alone", (DE_EN,)), examples(9)), tasks(1)[0]]
    spec = aligned_spec(batch=4, epochs=2)
    log = Recorded()
    train(llama_base, spec, made, tmp_path, log=log)
    told = [(event["adapter"], event["part"], event["step"]) for event in log.of("train-degenerate")]
    assert told == [("last-alone", "semantic", 3)]
    lone = [record["objectives"] for record in records(tmp_path, "last-alone") if record["step"] in (3, 6)]
    assert [each["semantic"] for each in lone] == [0.0, 0.0]


def test_a_layer_beyond_the_depth_is_refused_before_anything_is_done(llama_base: Path, tmp_path: Path) -> None:
    for method in ("lora", "peft"):
        spec = aligned_spec(AlignmentSpec(layer=7)).model_copy(update={"method": method})
        with pytest.raises(UserError, match="There is no layer 7: the base has 2 blocks") as caught:
            train(llama_base, spec, tasks(1), tmp_path)
        assert caught.value.where == "train.objectives.layer"
    assert not list(tmp_path.glob("work/*"))


def test_parts_are_even_and_within_the_budget() -> None:
    given = [example(length, seed=length) for length in (50, 40, 30, 20, 10, 60, 90)]
    for budget in (90, 110, 160, 299, 300):
        parts = even_parts(given, budget)
        assert [each for part in parts for each in part] == given
        sizes = [sum(each.num_input_tokens for each in part) for part in parts]
        assert max(sizes) <= budget
    assert [len(part) for part in even_parts(given, 160)] == [5, 2]
    assert even_parts([], 10) == []
