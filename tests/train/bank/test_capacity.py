"""What training needs beside the base: the parts that settings add."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hexapla.base import Base, load_config
from hexapla.train.bank import capacity
from hexapla.train.bank.capacity import Machine, find_rooms, processes_on_cpu
from hexapla.train.bank.memory import DryStep, Room
from hexapla.train.bank.model import BankedModel
from hexapla.train.bank.share import load_banked
from hexapla.train.cost import TrainingCost
from hexapla.train.spec import BankSpec, DevelopmentSpec, TrainSpec
from tests.train.bank.aligned import OBJECTIVES
from tests.train.material import train_spec

CPU = torch.device("cpu")
RoomOf = Callable[[TrainSpec], tuple[Room, TrainingCost]]


class _Costless(DryStep):
    """A step whose measured need is below the estimate, so that rooms do not depend on the allocator."""

    def measure(self, model: BankedModel) -> int | None:
        """Nothing."""
        return 0


@pytest.fixture
def room(qwen3_base: Path) -> RoomOf:
    base = Base(str(qwen3_base))
    model = load_banked(base, train_spec(), "float32", CPU)

    def of(spec: TrainSpec) -> tuple[Room, TrainingCost]:
        cost = TrainingCost(load_config(base), spec, weight_bytes=4)
        step = _Costless(num_tokens=64, longest=16, num_adapters=4, rank=4, has_dropout=False, num_pairs=100)
        [found] = find_rooms(model, cost, step, Machine(CPU, "float32", 1))
        return found, cost

    return of


def test_chrf_while_training_needs_a_second_base(room: RoomOf) -> None:
    plain, cost = room(train_spec())
    measured, _ = room(train_spec(development=DevelopmentSpec()))
    decoding, _ = room(train_spec(development=DevelopmentSpec(metric="chrf")))
    assert measured.fixed_bytes == plain.fixed_bytes
    assert decoding.fixed_bytes - plain.fixed_bytes == cost.base_bytes > 0
    assert decoding.row_bytes == plain.row_bytes


def test_moments_on_the_host_still_lie_in_the_memory_of_a_cpu(room: RoomOf) -> None:
    device, _ = room(train_spec())
    host, _ = room(train_spec(bank=BankSpec(optimizer_states="host")))
    assert host.row_bytes == device.row_bytes
    assert host.fixed_bytes > device.fixed_bytes


def test_objectives_need_a_head_and_gradients_an_adapter_and_room_for_their_pairs(room: RoomOf) -> None:
    plain, _ = room(train_spec())
    aligned, cost = room(train_spec(objectives=OBJECTIVES))
    width = 32
    num_head = 2 * OBJECTIVES.matching_width * (2 * width + 1)
    assert cost.num_head_entries == num_head
    assert aligned.row_bytes - plain.row_bytes == 16 * num_head + 100 * 4 * width * 4
    copies = 3 * 16 * num_head
    assert aligned.fixed_bytes - plain.fixed_bytes == copies + cost.alignment_bytes(100)
    assert cost.alignment_bytes(100) > 7 * 4 * 2**18  # so much of the head's inner values at once


def test_a_cpus_threads_are_shared_out_to_processes(qwen3_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = TrainingCost(load_config(Base(str(qwen3_base))), train_spec(), weight_bytes=4)
    enough = int(2 * 8 * 2e12 / cost.flops(1))  # tokens, for eight processes
    even = {f"adapter-{number}": enough // 8 for number in range(16)}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(capacity, "free_bytes", lambda _device: 2**36)
    assert processes_on_cpu(cost, even, 1024) == 8
    # no more than there are adapters, and than the work is worth
    assert processes_on_cpu(cost, {name: even[name] for name in list(even)[:3]}, 1024) == 3
    assert processes_on_cpu(cost, {name: tokens // 15 for name, tokens in even.items()}, 1024) == 2
    assert processes_on_cpu(cost, {name: tokens // 100 for name, tokens in even.items()}, 1024) == 1
    # one adapter with half of all work: others would wait for it
    assert processes_on_cpu(cost, {"all": sum(even.values()), **even}, 1024) == 2
    assert processes_on_cpu(cost, {"all": 3 * sum(even.values()), **even}, 1024) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert processes_on_cpu(cost, even, 1024) == 1


def test_memory_for_a_base_in_every_process(qwen3_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = TrainingCost(load_config(Base(str(qwen3_base))), train_spec(), weight_bytes=4)
    work = {f"adapter-{number}": int(2.1e12 / cost.flops(1)) for number in range(4)}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for free_gib, number in ((1.5, 1), (2.5, 2), (64, 4), (0.1, 1)):
        monkeypatch.setattr(capacity, "free_bytes", lambda _device, free_gib=free_gib: int(free_gib * 2**30))
        assert processes_on_cpu(cost, work, 64) == number
    monkeypatch.setattr(capacity, "free_bytes", lambda _device: None)
    assert processes_on_cpu(cost, work, 64) == 1
