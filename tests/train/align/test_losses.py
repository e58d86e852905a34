"""The losses against the equations written out, against numbers worked out by hand, and against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hexapla.train.align import losses
from hexapla.train.align.losses import MatchingHead, language_matching, semantic_alignment
from tests.train.align import written_out


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _same(meanings: str) -> Tensor:
    return torch.tensor([[a == b for b in meanings] for a in meanings])


def _head(width: int, inner: int, seed: int = 0) -> Tensor:
    return _random(MatchingHead.num_entries(width, inner), seed=seed) * 0.5


def test_semantic_alignment_by_hand() -> None:
    # cosines: u_1 with v_1, v_2 is 3/5, 4/5; u_2 with them 4/5, -3/5; lengths do not matter. τ = 1/5 makes s of it
    # [[3, 4], [4, -3]]: −log softmax is log(1 + e^(4−3)) = log(1 + e), and log(1 + e^(4+3)) = log(1 + e^7).
    u = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    v = torch.tensor([[3.0, 4.0], [8.0, -6.0]], dtype=torch.float64)
    by_hand = (math.log(1 + math.e) + math.log(1 + math.e**7)) / (2 * 2)
    loss, accuracy = semantic_alignment(u, v, temperature=0.2)
    assert loss.item() == pytest.approx(by_hand, abs=1e-12)
    assert loss.item() == pytest.approx(2.0785432, abs=1e-7)
    assert accuracy == 0.0
    # The other way: v_1 with u_1, u_2 is 3, 4, and v_2 with u_2, u_1 is −3, 4: the same two terms, and ½ averages.
    symmetric, _ = semantic_alignment(u, v, temperature=0.2, symmetric=True)
    assert symmetric.item() == pytest.approx(2 * by_hand, abs=1e-12)


def test_symmetric_form_adds_the_other_direction() -> None:
    u, v = _random(4, 3, seed=1), _random(4, 3, seed=2)
    there, _ = semantic_alignment(u, v, temperature=0.3)
    back, _ = semantic_alignment(v, u, temperature=0.3)
    both, _ = semantic_alignment(u, v, temperature=0.3, symmetric=True)
    assert both.item() == pytest.approx((there + back).item(), abs=1e-12)
    assert abs((there - back).item()) > 1e-3


@settings(max_examples=30, deadline=None)
@given(
    meanings=st.text("abcd", min_size=1, max_size=7),
    temperature=st.floats(0.05, 2),
    masked=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_semantic_alignment_as_written_out(meanings: str, temperature: float, masked: bool, seed: int) -> None:
    u, v = _random(len(meanings), 5, seed=seed), _random(len(meanings), 5, seed=seed + 1)
    same = _same(meanings) if masked else None
    kinds = meanings if masked else None
    loss, _ = semantic_alignment(u, v, temperature=temperature, same_meaning=same)
    assert loss.item() == pytest.approx(written_out.contrast(u.tolist(), v.tolist(), temperature, kinds), abs=1e-10)
    symmetric, _ = semantic_alignment(u, v, temperature=temperature, same_meaning=same, symmetric=True)
    back = written_out.contrast(v.tolist(), u.tolist(), temperature, kinds)
    assert (symmetric - loss).item() == pytest.approx(back, abs=1e-10)


def test_translations_are_no_negatives() -> None:
    # Examples 1 and 2 are one sentence in two languages; 2's target is where 1's should be.
    u = torch.eye(3, dtype=torch.float64)
    v = u[[1, 0, 2]]
    unmasked, low = semantic_alignment(u, v, temperature=0.5)
    masked, high = semantic_alignment(u, v, temperature=0.5, same_meaning=_same("aab"))
    # Of 1 and 2 the only negative left has cosine 0, as has their own target; of 3 both have 0 and its own 1.
    assert masked.item() == pytest.approx((2 * math.log(2) + math.log(1 + 2 * math.exp(-2))) / 6, abs=1e-12)
    assert masked.item() < unmasked.item()
    assert low == pytest.approx(1 / 3)
    assert high == 1.0  # ties go to the first, which is their own


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_has_no_negatives_contributes_nothing(symmetric: bool) -> None:
    for u, same in ((_random(1, 4, seed=3), None), (_random(3, 4, seed=4), _same("aaa"))):
        u.requires_grad_()
        loss, _ = semantic_alignment(
            u, _random(*u.shape, seed=5), temperature=0.1, symmetric=symmetric, same_meaning=same
        )
        loss.backward()
        assert loss.item() == 0.0
        assert u.grad is not None
        assert not u.grad.any()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("meanings", [None, "abac"])
def test_gradients_of_semantic_alignment(symmetric: bool, meanings: str | None) -> None:
    same = None if meanings is None else _same(meanings)

    def loss(u: Tensor, v: Tensor) -> Tensor:
        return semantic_alignment(u, v, temperature=0.3, symmetric=symmetric, same_meaning=same)[0]

    inputs = (_random(4, 3, seed=6).requires_grad_(), _random(4, 3, seed=7).requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


def test_a_state_without_length_does_no_harm() -> None:
    u, v = _random(3, 4, seed=8).float(), _random(3, 4, seed=9).float()
    u[1] = 0
    v[2] = 1e-30
    u.requires_grad_()
    v.requires_grad_()
    loss, _ = semantic_alignment(u, v, temperature=0.1)
    loss.backward()
    assert torch.isfinite(loss)
    for each, empty in ((u, 1), (v, 2)):
        assert each.grad is not None
        assert float(each.grad.abs().max()) < 100
        assert not each.grad[empty].any()


def test_what_is_not_finite_shows() -> None:
    u = _random(3, 4, seed=10)
    u[1, 2] = torch.nan
    assert torch.isnan(semantic_alignment(u, _random(3, 4, seed=11), temperature=0.1)[0])
    languages = torch.tensor([0, 1, 0])
    assert torch.isnan(language_matching(u, languages, MatchingHead.view(_head(4, 2), 4, 2))[0])


def test_language_matching_by_hand() -> None:
    # D = 1, H = 1: W_gate = (1, 0), W_up = (0, 1), W_down = (0, 1), so the inner value of
    # (e_i, e_j) is SiLU(e_i) · e_j, and the score of `same`. e = (0, 2): inner values 0, 0 | 0, 4σ(2) = 3.5231884.
    flat = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    states = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    inner = 4 / (1 + math.exp(-2))
    assert inner == pytest.approx(3.5231884, abs=1e-7)
    head = MatchingHead.view(flat, 1, 1)
    same, right = language_matching(states, torch.tensor([5, 5]), head)
    assert same.item() == pytest.approx((3 * math.log(2) + math.log(1 + math.exp(-inner))) / 4, abs=1e-12)
    assert right == 0.25  # a tie counts for the first score, two languages
    two, right = language_matching(states, torch.tensor([5, 6]), head)
    assert two.item() == pytest.approx((3 * math.log(2) + math.log(1 + math.exp(-inner))) / 4, abs=1e-12)
    assert right == 0.75
    swapped, _ = language_matching(states.flip(0), torch.tensor([5, 6]), head)
    assert swapped.item() == pytest.approx(two.item(), abs=1e-12)


def test_the_parts_of_a_head() -> None:
    flat = torch.arange(2 * 2 * 6 + 4.0)
    head = MatchingHead.view(flat, 3, 2)
    assert len(flat) == MatchingHead.num_entries(3, 2)
    assert head.gate.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert head.up[1].tolist() == [18, 19, 20, 21, 22, 23]
    assert head.down.tolist() == [[24, 25], [26, 27]]


def test_a_new_head_depends_on_its_name_and_seed_only() -> None:
    first = MatchingHead.initial(8, 4, 3, "en-de")
    assert first.dtype == torch.float32
    assert torch.equal(first, MatchingHead.initial(8, 4, 3, "en-de"))
    assert not torch.equal(first, MatchingHead.initial(8, 4, 3, "en-fr"))
    assert not torch.equal(first, MatchingHead.initial(8, 4, 4, "en-de"))
    head = MatchingHead.view(first, 8, 4)
    for weight in (head.gate, head.up, head.down):
        bound = weight.shape[1] ** -0.5
        assert 0.6 * bound < float(weight.abs().max()) <= bound


@settings(max_examples=20, deadline=None)
@given(
    languages=st.text("abc", min_size=1, max_size=6),
    width=st.integers(1, 3),
    inner=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_language_matching_as_written_out(languages: str, width: int, inner: int, seed: int) -> None:
    states = _random(len(languages), width, seed=seed)
    head = MatchingHead.view(_head(width, inner, seed), width, inner)
    loss, _ = language_matching(states, torch.tensor([ord(each) for each in languages]), head)
    weights = (head.gate.tolist(), head.up.tolist(), head.down.tolist())
    assert loss.item() == pytest.approx(written_out.match(states.tolist(), languages, *weights), abs=1e-10)


def test_gradients_of_language_matching() -> None:
    languages = torch.tensor([0, 1, 0, 2])

    def loss(states: Tensor, flat: Tensor) -> Tensor:
        return 3 * language_matching(states, languages, MatchingHead.view(flat, 3, 2))[0]

    assert torch.autograd.gradcheck(loss, (_random(4, 3, seed=12).requires_grad_(), _head(3, 2).requires_grad_()))
    assert torch.autograd.gradcheck(loss, (_random(4, 3, seed=12), _head(3, 2).requires_grad_()))
    assert torch.autograd.gradcheck(loss, (_random(4, 3, seed=12).requires_grad_(), _head(3, 2)))


@settings(max_examples=20, deadline=None)
@given(num=st.integers(1, 9), entries=st.integers(1, 200), seed=st.integers(0, 10**6))
def test_parts_of_the_pairs_change_nothing(num: int, entries: int, seed: int) -> None:
    """Against all pairs at once in plain autograd, whatever the size of the parts."""
    states, flat = _random(num, 4, seed=seed).requires_grad_(), _head(4, 3, seed).requires_grad_()
    languages = torch.randint(0, 3, (num,), generator=torch.Generator().manual_seed(seed))
    head = MatchingHead.view(flat, 4, 3)
    logits = losses._pair_logits(*head.terms(states), head.down).flatten(0, 1)
    same = (languages[:, None] == languages).flatten()
    expected = torch.nn.functional.cross_entropy(logits, same.long())
    expected_gradients = torch.autograd.grad(expected, (states, flat))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(losses._PART_ENTRIES, "cpu", entries)
        loss, right = language_matching(states, languages, MatchingHead.view(flat, 4, 3))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert right == pytest.approx(float((logits.argmax(1) == same).double().mean()))
    for got, want in zip(torch.autograd.grad(loss, (states, flat)), expected_gradients, strict=True):
        assert torch.allclose(got, want, rtol=1e-10, atol=1e-13)


def test_pairs_are_never_held_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = losses._pair_logits

    def counting(*terms: Tensor) -> Tensor:
        sizes.append(len(terms[0]) * len(terms[1]) * terms[0].shape[1])
        return plain(*terms)

    monkeypatch.setitem(losses._PART_ENTRIES, "cpu", 1000)
    monkeypatch.setattr(losses, "_pair_logits", counting)
    states, flat = _random(40, 4, seed=0).requires_grad_(), _head(4, 5).requires_grad_()
    loss, _ = language_matching(states, torch.arange(40) % 3, MatchingHead.view(flat, 4, 5))
    loss.backward()
    assert max(sizes) <= 1000
    assert sum(sizes) == 40 * 40 * 5  # and every pair once, the gradient included


@pytest.mark.parametrize("in_graph", [True, False])
def test_gradients_are_taken_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, in_graph: bool) -> None:
    def none(*_: object) -> None:
        raise AssertionError("a gradient was taken")

    monkeypatch.setattr(torch.autograd, "grad", none)
    flat = _head(3, 2).requires_grad_(not in_graph)
    with torch.set_grad_enabled(in_graph):
        loss, _ = language_matching(_random(4, 3, seed=1), torch.arange(4), MatchingHead.view(flat, 3, 2))
    assert not loss.requires_grad
