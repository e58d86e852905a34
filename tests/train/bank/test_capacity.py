"""What training needs beside the base: the parts that settings add."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hexapla.base import Base, load_config
from hexapla.train.bank.capacity import Machine, find_rooms
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
