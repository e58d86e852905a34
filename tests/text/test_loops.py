"""Loops: found wherever they stand, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.text import loops as module
from hexapla.text.loops import loops


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the cat sat on the mat " * 3, True),
        ("the cat sat on the mat " * 2, False),
        ("и так далее " * 4, True),
        ("很好很好很好很好很好很好很好很好很好很好很好很好", True),
        ("no, no, no, no!", False),
        ("ha ha ha ha", False),
        ("." * 500, False),
        ("x" * 24, True),
        ("word ------------------------- " * 3, True),
        ("a sentence with no loop that says of the cat what it says of the dog, of the cat and of the dog", False),
        ("", False),
    ],
)
def test_what_a_loop_is(text: str, found: bool) -> None:
    assert loops(text) == found


@settings(deadline=None, max_examples=200)
@given(
    unit=st.text(st.sampled_from("ab -.é中"), min_size=1, max_size=40),
    repeats=st.integers(2, 6),
    cut=st.integers(0, 3),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_looking_at_likely_units_finds_what_looking_at_all_units_does(
    unit: str, repeats: int, cut: int, before: str, after: str
) -> None:
    body = unit * repeats
    text = before + body[: len(body) - cut] + after
    normal = " ".join(text.casefold().split())
    longest = min(module.MAX_UNIT, (len(normal) + 2) // module.FEWER_REPEATS)
    assert loops(text) == any(module._is_repeated(normal, size) for size in range(1, longest + 1))
