"""The chunked loss against torch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hexapla.train.bank import head
from hexapla.train.bank.head import weighted_nll

NUM_TARGETS, WIDTH, VOCABULARY = 37, 16, 50


def _inputs(dtype: torch.dtype = torch.float32, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(NUM_TARGETS, WIDTH, generator=generator).mul_(spread).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator).to(dtype)
    targets = torch.randint(VOCABULARY, (NUM_TARGETS,), generator=generator)
    return hidden, weight, targets, torch.rand(NUM_TARGETS, generator=generator)


def _reference(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """nll and Σ weights·nll's gradient by autograd in fp64."""
    exact = hidden.detach().double().requires_grad_()
    logits = exact @ weight.double().T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    nll = F.cross_entropy(logits, targets, reduction="none")
    (nll * weights).sum().backward()
    assert exact.grad is not None
    return nll.detach().float(), exact.grad.float()


@pytest.mark.parametrize("rows", [1, 7, 37, 1000])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_loss_and_gradient_in_any_chunks(monkeypatch: pytest.MonkeyPatch, rows: int, softcap: float | None) -> None:
    monkeypatch.setattr(head, "_MIN_CHUNK_ROWS", rows)
    monkeypatch.setattr(head, "_CHUNK_BYTES", 0)
    hidden, weight, targets, weights = _inputs()
    loss, nll = weighted_nll(hidden, weight, targets, weights, softcap)
    (3 * loss).backward()
    expected_nll, expected_gradient = _reference(hidden, weight, targets, weights, softcap)
    torch.testing.assert_close(nll, expected_nll, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(loss, (expected_nll * weights).sum())
    torch.testing.assert_close(hidden.grad, 3 * expected_gradient, rtol=1e-5, atol=1e-6)
    assert not nll.requires_grad


def test_logits_far_apart_stay_finite() -> None:
    inputs = _inputs(spread=300.0)
    loss, nll = weighted_nll(*inputs, None)
    loss.backward()
    expected_nll, expected_gradient = _reference(*inputs, None)
    torch.testing.assert_close(nll, expected_nll, rtol=1e-5, atol=1e-3)  # logits are in the thousands
    torch.testing.assert_close(inputs[0].grad, expected_gradient, rtol=1e-3, atol=1e-3)


def test_low_precision_is_as_good_as_that_of_its_logits() -> None:
    hidden, weight, targets, weights = _inputs(torch.bfloat16)
    loss, nll = weighted_nll(hidden, weight, targets, weights, None)
    loss.backward()
    plain = hidden.detach().clone().requires_grad_()
    expected = F.cross_entropy((plain @ weight.T).float(), targets, reduction="none")
    (expected * weights).sum().backward()
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, expected.detach())
    torch.testing.assert_close(hidden.grad, plain.grad, rtol=2e-2, atol=2e-2)


def test_a_token_that_is_not_finite_spoils_no_other() -> None:
    hidden, weight, targets, weights = _inputs()
    loss, _ = weighted_nll(hidden, weight, targets, weights, None)
    loss.backward()
    broken = hidden.detach().clone().index_fill_(0, torch.tensor([5]), float("nan")).requires_grad_()
    loss, _ = weighted_nll(broken, weight, targets, weights, None)
    loss.backward()
    assert hidden.grad is not None
    assert broken.grad is not None
    others = torch.arange(NUM_TARGETS) != 5
    assert torch.equal(broken.grad[others], hidden.grad[others])


def test_no_logits_are_kept() -> None:
    shapes: list[torch.Size] = []

    def note(tensor: Tensor) -> Tensor:
        shapes.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        weighted_nll(*_inputs(), 3.0)
    assert shapes == [(NUM_TARGETS, WIDTH)]


def test_without_gradients_only_the_loss_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets, weights = _inputs()
    expected = weighted_nll(hidden, weight, targets, weights, 3.0)
    monkeypatch.setattr(torch, "mm", None)  # the product that makes the gradient
    found = weighted_nll(hidden.detach(), weight, targets, weights, 3.0)
    assert all(map(torch.equal, found, expected))
