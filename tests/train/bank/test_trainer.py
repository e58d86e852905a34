"""The bank as a whole: planned in waves, taken up again where it was, and never begun in vain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.common.artifacts import read_json, write_json
from hexapla.common.errors import UserError
from hexapla.plan import Job
from hexapla.train.bank import capacity
from hexapla.train.bank import trainer as bank_trainer
from hexapla.train.bank.capacity import find_machine
from hexapla.train.bank.waves import PLAN_FILE
from hexapla.train.result import TrainResult
from hexapla.train.spec import AdapterSpec, BankSpec, LoraSpec, TrainSpec
from hexapla.train.task import TrainTask
from tests.train.bank.runs import Recorded, distance, outcome, tasks, train
from tests.train.material import DE_EN, examples, train_spec

_NUMBER = 5
_NAMES = [f"adapter-{index}" for index in range(_NUMBER)]
_BY_WORK = [3, 0, 1, 2, 4]  # adapter-3 has as many steps as three epochs of 31 examples


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def spec(at_once: int | None = None, **changes: Any) -> TrainSpec:
    own = {"adapter-3": AdapterSpec(epochs=2)}
    return train_spec(**{"bank": BankSpec(adapters_at_once=at_once), "adapters": own, **changes})


def killed_after(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on a run dies after so many adapters are written; returns what lets runs live again."""
    original = bank_trainer.train_share
    count = 0

    def dying(share: Any, model: Any, deliver: Any, log: Any) -> None:
        def counted(name: str, fill: Any) -> None:
            nonlocal count
            deliver(name, fill)
            count += 1
            if count == number:
                raise Killed

        original(share, model, counted, log)

    monkeypatch.setattr(bank_trainer, "train_share", dying)
    return lambda: monkeypatch.setattr(bank_trainer, "train_share", original)


def planned(folder: Path) -> list[list[str]]:
    """Names of the adapters of every wave."""
    record = read_json(folder / "work" / PLAN_FILE)
    return [sorted(wave) for share in record["shares"] for wave in share]


def outcomes(folder: Path, names: Sequence[str] = _NAMES) -> dict[str, Any]:
    return {name: outcome(folder / name) for name in names}


@pytest.fixture(scope="module")
def in_waves(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of waves of two at most."""
    folder = tmp_path_factory.mktemp("in-waves")
    train(qwen3_base, spec(2), tasks(_NUMBER), folder)
    return folder


def test_waves_hold_adapters_of_similar_work_and_train_each_as_in_one_wave(
    in_waves: Path, qwen3_base: Path, tmp_path: Path
) -> None:
    log = Recorded()
    together = train(qwen3_base, spec(), tasks(_NUMBER), tmp_path, log=log)
    assert planned(tmp_path) == [sorted(_NAMES)]
    assert [event["adapters_at_once"] for event in log.of("train-plan")] == [_NUMBER]
    ordered = [_NAMES[index] for index in _BY_WORK]
    assert planned(in_waves) == [ordered[:1], sorted(ordered[1:3]), sorted(ordered[3:])]
    for name in _NAMES:
        waves_of_it = [wave for wave in planned(in_waves) if name in wave]
        assert TrainResult.load(in_waves / name).company == len(waves_of_it[0])
    again = train(qwen3_base, spec(2), tasks(_NUMBER), in_waves)  # everything is finished: read only
    assert max(distance(together[name], again[name]) for name in _NAMES) <= 1e-5


def test_nothing_is_left_of_a_finished_wave(in_waves: Path) -> None:
    assert [path.name for path in (in_waves / "work").rglob("*") if path.is_file()] == [PLAN_FILE]


@pytest.mark.parametrize("number", [2, 3])
def test_a_run_taken_up_again_follows_its_plan_whatever_memory_there_is(
    number: int, in_waves: Path, qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = killed_after(number, monkeypatch)
    with pytest.raises(Killed):
        train(qwen3_base, spec(2, checkpoint_every_s=0.0), tasks(_NUMBER), tmp_path)
    live()
    monkeypatch.setattr(capacity, "free_bytes", lambda device: 0)  # asked, there would be no room
    monkeypatch.setattr(bank_trainer, "find_rooms", None)
    prepared: list[str] = []
    prepare = bank_trainer.Preparation.prepare
    monkeypatch.setattr(
        bank_trainer.Preparation, "prepare", lambda self, task: prepared.append(task.job.name) or prepare(self, task)
    )
    made = list(reversed(tasks(_NUMBER)))
    train(qwen3_base, spec(None, bank=BankSpec(processes=1)), made, tmp_path)
    assert outcomes(tmp_path) == outcomes(in_waves)
    assert "adapter-3" not in prepared  # its wave was complete
    assert len(prepared) == {2: 4, 3: 2}[number]


def test_as_many_adapters_as_memory_holds(qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[Any] = []
    original = bank_trainer.find_rooms

    def for_two(*arguments: Any) -> Any:
        (room,) = original(*arguments)
        rooms.append(room)
        return [replace(room, free_bytes=room.needed_bytes(2) + room.row_bytes // 2)]

    monkeypatch.setattr(bank_trainer, "find_rooms", for_two)
    train(qwen3_base, spec(), tasks(_NUMBER), tmp_path)
    assert [len(wave) for wave in planned(tmp_path)] == [1, 2, 2]
    layers = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]
    parameters = 2 * 16 * sum(d_in + d_out for d_in, d_out in layers)
    assert rooms[0].row_bytes == 16 * parameters


def test_the_dry_step_changes_nothing(
    in_waves: Path, qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_trainer.DryStep, "measure", lambda self, model: None)
    train(qwen3_base, spec(2), tasks(_NUMBER), tmp_path)
    assert outcomes(tmp_path) == outcomes(in_waves)


# Bad input


def refusal(base: Path, settings: TrainSpec, made: Sequence[TrainTask], folder: Path) -> UserError:
    """Why a run is refused; nothing is delivered by it."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError) as raised:
        train(base, settings, made, folder)
    assert sorted(path.name for path in folder.iterdir() if path.name != "work") == [
        name for name in before if name != "work"
    ]
    return raised.value


@pytest.mark.parametrize(
    ("at_once", "free", "where", "text"),
    [
        (4, lambda room: room.needed_bytes(3), "train.bank.adapters_at_once", "Set it to 3 or less"),
        (None, lambda room: room.needed_bytes(1) - 1, "train.micro_batch_tokens", "gradient_checkpointing to true"),
    ],
)
def test_more_memory_than_there_is_is_refused_before_training(
    at_once: int | None,
    free: Any,
    where: str,
    text: str,
    qwen3_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = bank_trainer.find_rooms
    monkeypatch.setattr(
        bank_trainer, "find_rooms", lambda *given: [replace(room, free_bytes=free(room)) for room in original(*given)]
    )
    error = refusal(qwen3_base, spec(at_once), tasks(_NUMBER), tmp_path)
    assert error.where == where
    assert text in (error.hint or "")
    assert "MiB can be used" in error.what
    assert not (tmp_path / "work").exists()


def test_a_base_larger_than_memory_is_refused_before_it_is_loaded(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "free_bytes", lambda device: 50_000)
    monkeypatch.setattr(bank_trainer, "load_banked", None)
    error = refusal(qwen3_base, spec(), tasks(1) + tasks(4)[3:], tmp_path)
    assert error.where == "base"
    assert "0.05 MiB can be used" in error.what


@pytest.mark.parametrize(
    ("settings", "made", "text"),
    [
        (spec(2), tasks(_NUMBER - 1), "the adapter 'adapter-4' is missing"),
        (spec(2), [*tasks(_NUMBER), TrainTask(Job("new", (DE_EN,)), examples(3))], "the adapter 'new' is new"),
        (spec(2, epochs=2), tasks(_NUMBER), "settings, examples or base of the adapter 'adapter-"),
        (spec(2, micro_batch_tokens=2048), tasks(_NUMBER), "train.micro_batch_tokens is 2048, was 1024"),
        (spec(1), tasks(_NUMBER), "train.bank.adapters_at_once is 1, was at least 2"),
    ],
)
def test_a_checkpoint_of_another_plan_is_refused_and_kept(
    settings: TrainSpec, made: list[TrainTask], text: str, in_waves: Path, qwen3_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter-3").symlink_to(in_waves / "adapter-3")
    plan = read_json(in_waves / "work" / PLAN_FILE)
    write_json(tmp_path / "work" / PLAN_FILE, plan)
    error = refusal(qwen3_base, settings, made, tmp_path)
    assert "of another plan" in error.what
    assert text in error.what
    assert error.where == str(tmp_path / "work")
    assert read_json(tmp_path / "work" / PLAN_FILE) == plan


def test_settings_of_an_adapter_that_is_not_trained_are_refused(qwen3_base: Path, tmp_path: Path) -> None:
    settings = spec(adapters={"adaptor-3": AdapterSpec(epochs=3)})
    error = refusal(qwen3_base, settings, tasks(_NUMBER), tmp_path)
    assert error.where == "train.adapters.adaptor-3"
    assert "'adapter-3'" in (error.hint or "")


def test_an_adapter_without_examples_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    empty = TrainTask(Job("empty", (DE_EN,)), [])
    error = refusal(qwen3_base, spec(adapters={}), [*tasks(1), empty], tmp_path)
    assert "'empty' has no examples" in error.what


def test_a_sequence_longer_than_the_budget_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    error = refusal(qwen3_base, spec(adapters={}, micro_batch_tokens=20), tasks(2), tmp_path)
    assert error.where == "train.micro_batch_tokens"
    assert "a micro-batch only 20" in error.what


def test_targets_that_the_base_lacks_are_refused(qwen3_base: Path, tmp_path: Path) -> None:
    error = refusal(qwen3_base, spec(adapters={}, lora=LoraSpec(targets=["c_attn"])), tasks(1), tmp_path)
    assert error.where == "train.lora.targets"
    assert "q_proj" in (error.hint or "")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    cuda = torch.device("cuda")
    assert find_machine(spec(), cuda).num_processes == 2
    assert find_machine(spec(), torch.device("cuda:1")).num_processes == 1
    with pytest.raises(UserError, match="3 processes would need as many GPUs; 2 can be used"):
        find_machine(spec(bank=BankSpec(processes=3)), cuda)
