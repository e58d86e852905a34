"""Schedules in closed form, and the flat AdamW against torch's own on separate tensors."""

from __future__ import annotations

import math

import pytest
import torch

from hexapla.train.optimizer import FlatAdamW, flatten, learning_rate, warmup_steps
from hexapla.train.spec import OptimizerSpec


def _rates(num_steps: int, **fields: object) -> list[float]:
    spec = OptimizerSpec(lr=2.0, **fields)
    return [learning_rate(spec, step, num_steps) for step in range(1, num_steps + 1)]


def test_inverse_square_root_as_fairseq() -> None:
    # fairseq: decay = lr·√w; after warm-up lr(s) = decay·s^-0.5. Here w = 4.
    rates = _rates(16, schedule="inverse-sqrt", warmup=0.25)
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[8] == pytest.approx(2.0 * math.sqrt(4) * 9**-0.5)
    assert rates[15] == pytest.approx(1.0)


def test_inverse_square_root_without_warm_up_starts_at_the_full_rate() -> None:
    rates = _rates(9, schedule="inverse-sqrt", warmup=0.0)
    assert rates[0] == 2.0
    assert rates[3] == pytest.approx(1.0)


def test_cosine_falls_from_the_full_rate_and_never_reaches_zero() -> None:
    rates = _rates(8, schedule="cosine", warmup=0.5)
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:] == pytest.approx([1 + math.cos(math.pi * k / 5) for k in (1, 2, 3, 4)])
    assert min(rates) > 0


def test_constant_after_warm_up() -> None:
    assert _rates(4, schedule="constant", warmup=0.5) == [1.0, 2.0, 2.0, 2.0]


def test_warm_up_is_rounded_up() -> None:
    assert warmup_steps(OptimizerSpec(warmup=0.01), 32) == 1
    assert warmup_steps(OptimizerSpec(warmup=0.01), 101) == 2
    assert warmup_steps(OptimizerSpec(warmup=0.0), 101) == 0


def _two_tensors() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 5), (7,))]


def _set_gradients(parameters: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        gradient = torch.randn(parameter.shape, generator=generator)
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.copy_(gradient)


def test_flat_adamw_equals_torch_on_separate_tensors_with_clipping() -> None:
    spec = OptimizerSpec(lr=0.1, weight_decay=0.3, max_grad_norm=0.5)
    ours, theirs = _two_tensors(), _two_tensors()
    flat = FlatAdamW(*flatten(ours), spec)
    adam = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.3, betas=spec.betas, eps=spec.eps, foreach=False)
    for step in range(5):
        _set_gradients(ours, step)
        _set_gradients(theirs, step)
        norm = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        assert flat.gradient_norm() == pytest.approx(float(norm), rel=1e-6)
        adam.step()
        flat.step(0.1, flat.gradient_norm())
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_backward_writes_into_the_flat_gradient() -> None:
    parameters = _two_tensors()
    flat = FlatAdamW(*flatten(parameters), OptimizerSpec())
    (2 * parameters[0].sum() + 3 * parameters[1].sum()).backward()
    assert flat.gradients.tolist() == [2.0] * 15 + [3.0] * 7
    flat.zero_gradients()
    assert float(parameters[1].grad.abs().sum()) == 0.0


def test_state_continues_to_the_same_bits() -> None:
    first, second = _two_tensors(), _two_tensors()
    a, b = (FlatAdamW(*flatten(parameters), OptimizerSpec()) for parameters in (first, second))
    for step in range(3):
        _set_gradients(first, step)
        a.step(0.01, a.gradient_norm())
    b.load_state({name: tensor.clone() for name, tensor in a.state().items()})
    for optimizer, parameters in ((a, first), (b, second)):
        _set_gradients(parameters, 9)
        optimizer.step(0.02, optimizer.gradient_norm())
    assert torch.equal(a.values, b.values)


def test_a_state_from_before_the_first_step_starts_anew() -> None:
    first, second = _two_tensors(), _two_tensors()
    a, b = (FlatAdamW(*flatten(parameters), OptimizerSpec()) for parameters in (first, second))
    _set_gradients(second, 5)
    b.step(0.5, b.gradient_norm())
    b.load_state({name: tensor.clone() for name, tensor in a.state().items()})
    assert torch.equal(a.values, b.values)
    assert not b.gradients.any()
    for optimizer, parameters in ((a, first), (b, second)):
        _set_gradients(parameters, 9)
        optimizer.step(0.02, optimizer.gradient_norm())
    assert torch.equal(a.values, b.values)


def test_rows_of_one_matrix_are_stepped_alone() -> None:
    """What the bank does: each adapter's row has an optimiser of its own, and the others stay as they are."""
    values, gradients = torch.ones(3, 4), torch.ones(3, 4)
    rows = [FlatAdamW(values[slot], gradients[slot], OptimizerSpec(weight_decay=0.0)) for slot in range(3)]
    assert not gradients.any()
    gradients.fill_(1.0)
    rows[1].step(0.25, rows[1].gradient_norm())
    assert values[1].tolist() == pytest.approx([0.75] * 4, rel=1e-5)
    assert torch.equal(values[[0, 2]], torch.ones(2, 4))


def test_half_precision_parameters_are_refused() -> None:
    halves = [torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))]
    with pytest.raises(ValueError, match="fp32"):
        FlatAdamW(*flatten(halves), OptimizerSpec())
