"""The flat rows: views alias them, padding is zero, adapters come out as they went in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hexapla.adapter import LoraSettings
from hexapla.base import Base, linear_shapes, load_model
from hexapla.common.errors import UserError
from hexapla.train.align.losses import MatchingHead
from hexapla.train.bank.factors import FactorBank, HeadShape, LayerGroup, row_entries, stored_rank
from hexapla.train.bank.model import find_groups
from hexapla.train.reference.layers import attach
from hexapla.train.spec import LoraSpec
from tests.train.bank.packs import CPU

GROUPS = (LayerGroup(("q", "k", "v"), 6, (6, 4, 4)), LayerGroup(("o",), 6, (6,)), LayerGroup(("down",), 10, (6,)))
META = torch.device("meta")


def _counted() -> FactorBank:
    """Two adapters of ranks 3 and 2, every entry with a value of its own."""
    bank = FactorBank(GROUPS, ranks=[3, 2], scales=[2.0, 0.5], device=CPU)
    bank.values.copy_(torch.arange(bank.values.numel()).view_as(bank.values))
    return bank


def test_a_row_holds_the_factors_and_nothing_else() -> None:
    bank = _counted()
    assert bank.rank == 3
    assert bank.num_row_entries == row_entries(GROUPS, 3) == 3 * (3 * 6 + 14 + 6 + 6 + 10 + 6)
    for slot, views in enumerate(bank.rows):
        flat = torch.cat([part.reshape(-1) for each in views for part in (each.a, *each.bts)])
        assert torch.equal(flat, bank.values[slot])


def test_views_alias_the_rows() -> None:
    bank = _counted()
    bank.rows[1][0].bts[2].fill_(-1)
    bank.gradient_rows[1][2].a.fill_(7)
    assert int((bank.values[1] == -1).sum()) == 3 * 4
    assert int((bank.gradients[1] == 7).sum()) == 3 * 10
    assert (bank.values[0] >= 0).all()
    assert not bank.gradients[0].any()


def test_stacked_copies_come_scaled_and_in_order() -> None:
    bank = _counted()
    for group in range(len(GROUPS)):
        a, bts = bank.stacked(group, torch.tensor([1, 0, 1]), torch.float32)
        for place, (slot, scale) in enumerate([(1, 0.5), (0, 2.0), (1, 0.5)]):
            row = bank.rows[slot][group]
            assert torch.equal(a[place], row.a)
            for copy, bt in zip(bts, row.bts, strict=True):
                assert torch.equal(copy[place], scale * bt)
    before = bank.values.clone()
    bank.stacked(0, torch.tensor([0]), torch.float32)[1][0].zero_()
    assert torch.equal(bank.values, before)


def test_gradients_of_a_slot_that_occurs_twice_add_up() -> None:
    bank = _counted()
    a, bts = bank.stacked(0, torch.tensor([1, 0, 1]), torch.bfloat16)
    bank.add_gradients(0, torch.tensor([1, 0, 1]), torch.ones_like(a), [torch.ones_like(bt) for bt in bts])
    for slot, a_gradient, b_gradient in ((0, 1.0, 2.0), (1, 2.0, 1.0)):  # once at scale 2; twice at scale 0.5
        row = bank.gradient_rows[slot][0]
        assert (row.a == a_gradient).all()
        assert all((bt == b_gradient).all() for bt in row.bts)
        assert not bank.gradient_rows[slot][1].a.any()


def test_a_new_adapter_is_the_reference_trainers(qwen3_base: Path) -> None:
    base = load_model(Base(str(qwen3_base)), dtype=torch.float32, device=CPU)
    groups = find_groups(base, linear_shapes(base, "all-linear"))
    bank = FactorBank(groups, ranks=[5, 2], scales=[1.0, 1.0], device=CPU)
    layers = attach(base, LoraSpec(rank=2, alpha=2.0), gradient_checkpointing=False)
    layers.initialise(11, "de-en")
    bank.values.fill_(9.0)
    bank.initialise(1, 11, "de-en")

    settings = LoraSettings(2, 2.0, ("q_proj",), "base")
    expected, adapter = layers.to_adapter(settings).factors, bank.to_adapter(1, settings).factors
    assert set(adapter) == set(expected)
    for path, (a, b) in adapter.items():
        assert torch.equal(a, expected[path][0])
        assert torch.equal(b, expected[path][1])
    assert int(bank.values[1].count_nonzero()) == sum(a.numel() for a, _ in adapter.values())  # padding is zero
    assert (bank.values[0] == 9.0).all()


def test_an_adapter_is_a_copy_at_its_own_rank() -> None:
    bank = _counted()
    factors = bank.to_adapter(1, LoraSettings(2, 1.0, ("q",), "base")).factors
    a, b = factors["k"]
    assert torch.equal(a, bank.rows[1][0].a[3:5])
    assert torch.equal(b, bank.rows[1][0].bts[1][:2].T)
    assert b.shape == (4, 2)
    assert b.is_contiguous()
    a.zero_()
    b.zero_()
    assert bank.values[1].all()


def test_on_a_gpu_ranks_are_rounded_up_to_what_its_products_take() -> None:
    assert [stored_rank([rank, 1], META) for rank in (1, 8, 9, 16)] == [8, 8, 16, 16]
    assert stored_rank([3, 2], CPU) == 3
    groups = (LayerGroup(("q",), 16, (24,)),)
    assert FactorBank(groups, ranks=[3], scales=[1.0], device=META).values.shape == (1, 8 * 40)
    with pytest.raises(UserError, match="odd is 16 wide inside and 12 outside"):
        FactorBank((LayerGroup(("odd",), 16, (12,)),), ranks=[8], scales=[1.0], device=META)


def test_a_matching_head_lies_behind_the_factors_and_stays_there() -> None:
    shape = HeadShape(width=6, inner=5)
    bank = FactorBank(GROUPS, ranks=[3, 2], scales=[2.0, 0.5], device=CPU, head=shape)
    plain = _counted()
    assert bank.num_row_entries == plain.num_row_entries + shape.num_entries
    assert shape.num_entries == MatchingHead.num_entries(6, 5) == 2 * 5 * 12 + 2 * 5
    for slot, name in enumerate("ab"):
        bank.initialise(slot, 0, name)
        plain.initialise(slot, 0, name)
        assert torch.equal(bank.heads[slot], MatchingHead.initial(6, 5, 0, name))
    assert torch.equal(bank.values[:, : plain.num_row_entries], plain.values)
    bank.gradient_heads[1] += 3
    assert torch.equal(bank.gradients.sum(1), torch.tensor([0.0, 3.0 * shape.num_entries]))
    settings = LoraSettings(2, 1.0, ("q",), "base")
    assert bank.to_adapter(1, settings).num_parameters == plain.to_adapter(1, settings).num_parameters
    assert plain.heads.shape == (2, 0)
