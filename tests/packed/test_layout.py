"""Where sequences lie: by hand, and what must hold for any lengths."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.packed.layout import sequence_layout


def test_padding_repeats_a_token_of_its_own_sequence() -> None:
    layout = sequence_layout(np.array([2, 8, 7]), "cpu")
    assert layout.cumulative.tolist() == [0, 2, 10, 17]
    assert layout.cumulative.dtype == torch.int32
    assert layout.longest == 8
    assert [tuple(bucket) for bucket in layout.buckets] == [(2, 8), (1, 2)]
    assert layout.gather.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 0, 1]
    assert layout.scatter.tolist() == [16, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


def test_an_encoders_buckets_hold_no_padding() -> None:
    layout = sequence_layout(np.array([7, 8, 7, 2]), "cpu", causal=False)
    assert [tuple(bucket) for bucket in layout.buckets] == [(1, 8), (2, 7), (1, 2)]
    assert sorted(layout.gather.tolist()) == list(range(24))


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30), causal=st.booleans())
def test_invariants(lengths: list[int], causal: bool) -> None:
    layout, num_tokens = sequence_layout(np.array(lengths), "cpu", causal=causal), sum(lengths)
    sizes = [bucket.num_sequences * bucket.length for bucket in layout.buckets]
    assert len(layout.gather) == sum(sizes)
    assert sum(sizes) <= (1.15 if causal else 1) * num_tokens
    assert sum(bucket.num_sequences for bucket in layout.buckets) == len(lengths)
    assert layout.scatter.unique().numel() == num_tokens  # every token has one place of its own
    assert layout.gather[layout.scatter].tolist() == list(range(num_tokens))

    sequences = torch.repeat_interleave(torch.diff(layout.cumulative))
    for bucket, places in zip(layout.buckets, layout.gather.split(sizes), strict=True):
        rows = places.view(*bucket)
        assert (sequences[rows] == sequences[rows[:, :1]]).all()  # padding is of the row's own sequence
        assert torch.isin(rows[:, 0], layout.cumulative[:-1]).all()  # and stands behind it
        assert (torch.diff(rows) <= 1).all()
        assert (torch.diff(rows) >= 0).all()
