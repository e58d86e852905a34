"""The hashed masks: shares, independence, and that company changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hexapla.common.seeds import derive_seed
from hexapla.train.bank.dropout import drop
from hexapla.train.bank.packing import PackedBatch
from tests.train.bank.packs import packed, piece

NUM_SEQUENCES, LENGTH, WIDTH = 16, 48, 129
SHARE = 0.3


def _seeds(adapter: str, num: int = NUM_SEQUENCES) -> list[int]:
    return [derive_seed(5, adapter, "dropout", 0, str(number)) for number in range(num)]


def _batch() -> PackedBatch:
    return packed(piece(0, *[LENGTH] * NUM_SEQUENCES), seeds=_seeds("de-en"))


def _dropped(batch: PackedBatch, layer: int = 0, share: float = SHARE, width: int = WIDTH) -> Tensor:
    """1 where dropped, [N, I]."""
    return (drop(torch.ones(batch.num_tokens, width), batch, layer, [share] * 9) == 0).float()


def _assert_uncorrelated(left: Tensor, right: Tensor) -> None:
    """The correlation of n independent pairs is about normal with deviation 1/√n: five of them are never exceeded."""
    pairs = torch.stack([left.reshape(-1), right.reshape(-1)])
    correlation = float(torch.corrcoef(pairs)[0, 1])
    assert abs(correlation) < 5 / math.sqrt(left.numel())


@pytest.mark.parametrize("share", [0.001, 0.05, 0.1, 0.5, 0.9])
def test_the_share_asked_for_is_dropped_everywhere(share: float) -> None:
    dropped = _dropped(_batch(), share=share)
    for axis in (None, 0, 1):
        means = dropped.mean() if axis is None else dropped.mean(axis)
        deviation = math.sqrt(share * (1 - share) / (dropped.numel() / means.numel()))
        assert ((means - share).abs() < 5.5 * deviation + 2**-16).all()
    assert (dropped[:, 0::2].mean() - dropped[:, 1::2].mean()).abs() < 5 * math.sqrt(4 / dropped.numel() / 4)


def test_what_is_kept_is_scaled_so_that_the_expectation_stays() -> None:
    batch = _batch()
    x = torch.randn(batch.num_tokens, WIDTH, generator=torch.Generator().manual_seed(0)) + 4
    out = drop(x, batch, 2, [SHARE])
    kept = out != 0
    torch.testing.assert_close(out[kept], x[kept] / (1 - SHARE))
    assert abs(float(out.mean() - x.mean())) < 5 * 4 * math.sqrt(SHARE / (1 - SHARE) / x.numel())


def test_layers_sequences_places_and_columns_are_independent() -> None:
    batch = _batch()
    dropped = _dropped(batch)
    for layer in (1, 2, 3, 100):
        _assert_uncorrelated(dropped, _dropped(batch, layer))
    sequences = dropped.view(NUM_SEQUENCES, LENGTH, WIDTH)
    for step in (1, 2, 7, 8):
        _assert_uncorrelated(sequences[step:], sequences[:-step])
        _assert_uncorrelated(sequences[:, step:], sequences[:, :-step])
        _assert_uncorrelated(dropped[:, step:], dropped[:, :-step])
    half = (WIDTH + 1) // 2
    _assert_uncorrelated(dropped[:, half:], dropped[:, : WIDTH - half])


def test_no_pair_of_columns_or_of_tokens_goes_together() -> None:
    dropped = _dropped(_batch(), share=0.5)
    for rows in (dropped, dropped.T):
        correlations = torch.corrcoef(rows).fill_diagonal_(0).abs()
        # of so many normal numbers the greatest stays below this with a probability of 1 - 1e-6
        num_pairs = len(rows) ** 2 / 2
        assert float(correlations.max()) < math.sqrt(2 * math.log(num_pairs * 1e6) / rows.shape[1])


def test_low_precision_is_rounded_once() -> None:
    batch = _batch()
    x = torch.randn(batch.num_tokens, WIDTH, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = drop(x.float(), batch, 0, [SHARE]).bfloat16()
    out = drop(x, batch, 0, [SHARE])
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected)


def test_a_mask_is_the_same_in_any_company_and_micro_batch() -> None:
    own, other = _seeds("de-en", 4), _seeds("nl-en", 2)
    alone = _dropped(packed(piece(0, 7, 3, 9, 1), seeds=own))
    together = _dropped(packed(piece(1, 5), piece(0, 7, 3, 9, 1), piece(2, 6), seeds=[other[0], *own, other[1]]))
    assert torch.equal(together[5:25], alone)
    turned = _dropped(packed(piece(3, 9, 1, 7, 3), seeds=[own[2], own[3], own[0], own[1]]))
    assert torch.equal(turned, torch.cat([alone[10:], alone[:10]]))
    for start, end, batch in ((0, 10, (7, 3)), (10, 20, (9, 1))):
        first = 0 if start == 0 else 2
        part = _dropped(packed(piece(0, *batch), seeds=own[first : first + 2]))
        assert torch.equal(part, alone[start:end])


def test_every_adapter_has_its_own_share() -> None:
    batch = packed(piece(1, 40, 60), piece(0, 100), piece(2, 100), seeds=_seeds("de-en", 4))
    x = torch.randn(300, 200, generator=torch.Generator().manual_seed(2))
    out = drop(x, batch, 0, [0.0, 0.5, 0.1])
    assert torch.equal(out[100:200], x[100:200])
    shares = [float((out[start : start + 100] == 0).float().mean()) for start in (0, 200)]
    assert shares == pytest.approx([0.5, 0.1], abs=0.02)


def test_the_same_mask_forward_and_backward() -> None:
    batch = _batch()
    x = torch.full((batch.num_tokens, WIDTH), 2.0)
    first = drop(x, batch, 4, [SHARE])
    torch.rand(10)  # no stream of random numbers is drawn from
    assert torch.equal(drop(x, batch, 4, [SHARE]), first)
    assert (x == 2).all()
    drop(x, batch, 4, [SHARE], out=x)
    assert torch.equal(x, first)


def test_without_seeds_nothing_is_done() -> None:
    x = torch.ones(3, 4)
    assert drop(x, packed(piece(0, 3)), 0, [0.5]) is x


def test_the_mask_is_the_documented_hash() -> None:
    """The same bits from Python's own integers: a recipe's masks must not change with versions or devices."""

    def mix(value: int) -> int:
        value ^= value >> 16
        value = value * 0x7FEB352D % 2**32
        value ^= value >> 15
        value = value * 0x846CA68B % 2**32
        return value ^ value >> 16

    seed, layer, share, place = 0x1234_5678_9ABC_DEF0, 3, 0.25, 2
    folded = seed + place
    row = mix(((folded ^ folded >> 32) ^ layer * 0x9E3779B1) % 2**32)
    expected = []
    for column in range(64):
        word = mix(row ^ mix(column // 2 * 0x9E3779B1 % 2**32))
        half = word >> 16 * (column % 2) & 0xFFFF
        signed = half - 2**16 if half >= 2**15 else half
        expected.append(float((signed >> 1) + 2**14 < share * 2**15))
    assert _dropped(packed(piece(0, 3), seeds=[seed]), layer, share, 64)[place].tolist() == expected
