"""Where the moments lie: in the host's memory the result is the same to the bit, in 8 bits close to it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from hexapla.common.errors import UserError
from hexapla.train.bank.checkpoint import BankCheckpoints
from hexapla.train.bank.snapshot import RowSource
from hexapla.train.bank.states import HostAdamW, StatesPlace, check_states, make_optimizers
from hexapla.train.optimizer import FlatAdamW
from hexapla.train.spec import BankSpec, OptimizerSpec
from tests.train.bank.test_bf16 import losses_and_adapter
from tests.train.material import train_spec

P = 1000  # entries of a row: four blocks of 8-bit codes, the last one not full
SPECS = (OptimizerSpec(weight_decay=0.1), OptimizerSpec(betas=(0.8, 0.99), max_grad_norm=0.5))
PLACES: tuple[StatesPlace, ...] = get_args(StatesPlace)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> StatesPlace:
    """Every place, 8 bits where bitsandbytes is installed."""
    if request.param == "8bit" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("needs the extra quantization")
    chosen: StatesPlace = request.param
    return chosen


def _bank(place: StatesPlace, device: str = "cpu") -> tuple[Tensor, list[FlatAdamW]]:
    """Random values of two rows, with their optimisers."""
    values = torch.randn(2, P, generator=torch.Generator().manual_seed(0)).to(device)
    return values, make_optimizers(values, torch.zeros_like(values), SPECS, place)


def _steps(optimizers: list[FlatAdamW], steps: range) -> None:
    """The rows take turns; their gradients differ in size from entry to entry."""
    for step in steps:
        for row, optimizer in enumerate(optimizers):
            generator = torch.Generator().manual_seed(2 * step + row)
            gradients = torch.randn(P, generator=generator) * torch.logspace(-3, 0, P) + 0.1
            optimizer.gradients.copy_(gradients)
            optimizer.step(0.01, optimizer.gradient_norm())
            optimizer.zero_gradients()


def test_every_place_of_the_settings_is_known() -> None:
    assert get_args(BankSpec.model_fields["optimizer_states"].annotation) == PLACES


@pytest.mark.parametrize("device", DEVICES)
def test_moments_in_the_hosts_memory_give_the_same_bits(device: str) -> None:
    (expected, on_device), (values, on_host) = _bank("device", device), _bank("host", device)
    for optimizers in (on_device, on_host):
        _steps(optimizers, range(10))
    assert torch.equal(values, expected)
    for one, other in zip(on_device, on_host, strict=True):
        theirs, ours = one.state(), other.state()
        assert theirs.keys() == ours.keys()
        assert ours["exp_avg"].device.type == ours["exp_avg_sq"].device.type == "cpu"
        assert all(torch.equal(theirs[name].cpu(), ours[name].cpu()) for name in theirs)


def test_optimizers_on_the_host_share_one_buffer() -> None:
    _, optimizers = _bank("host")
    buffers = {optimizer._buffer.data_ptr() for optimizer in optimizers if isinstance(optimizer, HostAdamW)}
    assert len(buffers) == 1


def test_moments_in_8_bits_are_close_and_a_quarter_of_the_size() -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quantization")
    (expected, exact), (values, rounded) = _bank("device"), _bank("8bit")
    start = values.clone()
    for optimizers in (exact, rounded):
        _steps(optimizers, range(30))
    assert not torch.equal(values, expected)
    assert float((values - expected).norm() / (expected - start).norm()) < 0.02
    moments = [tensor for name, tensor in rounded[0].state().items() if name[:-1] in ("state", "absmax")]
    assert sum(tensor.nbytes for tensor in moments) < 2 * 4 * P / 4 * 1.05


def test_moments_in_8_bits_are_those_of_bitsandbytes_own_optimizer() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="needs the extra quantization")
    values, optimizers = _bank("8bit")
    parameter = torch.nn.Parameter(values[0].clone())
    spec = SPECS[0]
    theirs = bitsandbytes.optim.AdamW8bit(
        [parameter], lr=0.01, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, min_8bit_size=1
    )
    for step in range(5):
        gradients = torch.randn(P, generator=torch.Generator().manual_seed(step)) / P
        parameter.grad = gradients.clone()
        optimizers[0].gradients.copy_(gradients)
        theirs.step()
        optimizers[0].step(0.01, optimizers[0].gradient_norm())
    assert torch.equal(values[0], parameter.detach())


@pytest.mark.parametrize("num_steps", [0, 3])
@pytest.mark.parametrize("device", DEVICES)
def test_a_checkpoint_continues_to_the_same_bits(
    device: str, num_steps: int, place: StatesPlace, tmp_path: Path
) -> None:
    values, optimizers = _bank(place, device)
    _steps(optimizers, range(num_steps))
    checkpoints = BankCheckpoints(tmp_path, "run")
    checkpoints.begin({}, [RowSource(str(row), num_steps, each.state) for row, each in enumerate(optimizers)])
    checkpoints.finish()
    loaded = BankCheckpoints(tmp_path, "run").load()
    assert loaded is not None
    continued, later = _bank(place, device)
    _steps(later, range(50, 52))  # another past, of which nothing may be left
    for row, optimizer in enumerate(later):
        optimizer.load_state(loaded.rows[str(row)].tensors())
    for each in (optimizers, later):
        _steps(each, range(num_steps, num_steps + 3))
    assert torch.equal(continued, values)


@pytest.mark.parametrize("device", DEVICES)
def test_a_reset_optimizer_is_a_new_one(device: str, place: StatesPlace) -> None:
    (values, used), (expected, fresh) = _bank(place, device), _bank(place, device)
    _steps(used, range(3))
    values.copy_(expected)
    for optimizer in used:
        optimizer.gradients.fill_(1.0)
        optimizer.reset()
        assert not optimizer.gradients.any()
    for optimizers in (used, fresh):
        _steps(optimizers, range(3, 5))
    assert torch.equal(values, expected)


def test_rows_are_stepped_alone(place: StatesPlace) -> None:
    values, optimizers = _bank(place)
    start = values.clone()
    _steps(optimizers[1:], range(2))
    assert torch.equal(values[0], start[0])
    assert not torch.equal(values[1], start[1])


def test_training_takes_the_place_of_the_settings(place: StatesPlace, qwen3_base: Path, tmp_path: Path) -> None:
    runs = []
    for number, chosen in enumerate(("device", place)):
        spec = train_spec(epochs=2, bank=BankSpec(optimizer_states=chosen))
        losses, _ = losses_and_adapter(qwen3_base, spec, tmp_path / str(number))
        runs.append(losses)
    assert runs[1] == pytest.approx(runs[0], rel=1e-2)
    assert (runs[1] == runs[0]) == (place != "8bit")


def test_a_missing_extra_is_named_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    check_states("host")
    with pytest.raises(UserError, match=r'optimizer_states: 8bit.*pip install "hexapla\[quantization\]"'):
        check_states("8bit")
