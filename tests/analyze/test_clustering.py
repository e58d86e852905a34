"""Average linkage against scipy's, by hand, and what every tree must hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.analyze.clustering import average_linkage, leaf_order

# scipy 1.17.1, cluster.hierarchy.linkage(squareform(...), "average")
SCIPY_DISTANCES = [
    [0.0, 0.27, 0.041, 0.017, 0.813, 0.913, 0.607, 0.729, 0.544],
    [0.27, 0.0, 0.003, 0.857, 0.034, 0.73, 0.176, 0.863, 0.541],
    [0.041, 0.003, 0.0, 0.124, 0.671, 0.647, 0.615, 0.384, 0.997],
    [0.017, 0.857, 0.124, 0.0, 0.389, 0.135, 0.721, 0.525, 0.31],
    [0.813, 0.034, 0.671, 0.389, 0.0, 0.322, 0.594, 0.338, 0.392],
    [0.913, 0.73, 0.647, 0.135, 0.322, 0.0, 0.239, 0.876, 0.059],
    [0.607, 0.176, 0.615, 0.721, 0.594, 0.239, 0.0, 0.199, 0.091],
    [0.729, 0.863, 0.384, 0.525, 0.338, 0.876, 0.199, 0.0, 0.927],
    [0.544, 0.541, 0.997, 0.31, 0.392, 0.059, 0.091, 0.927, 0.0],
]
SCIPY_MERGES = [
    (1, 2, 0.003),
    (0, 3, 0.017),
    (5, 8, 0.059),
    (6, 11, 0.165),
    (9, 10, 0.323),
    (4, 7, 0.338),
    (13, 14, 0.551),
    (12, 15, 0.569222222),
]


def test_as_scipy() -> None:
    found = average_linkage(SCIPY_DISTANCES)
    assert [merge[:2] for merge in found] == [merge[:2] for merge in SCIPY_MERGES]
    assert [merge[2] for merge in found] == pytest.approx([merge[2] for merge in SCIPY_MERGES], abs=1e-8)


def test_by_hand() -> None:
    # a and b at 2; c to both at 6 and 10, so at 8; d to a, b, c at 9, 12, 12, so at 11
    distances = [[0, 2, 6, 9], [2, 0, 10, 12], [6, 10, 0, 12], [9, 12, 12, 0]]
    assert average_linkage(distances) == ((0, 1, 2.0), (2, 4, 8.0), (3, 5, 11.0))
    assert leaf_order(average_linkage(distances), len(distances)) == [3, 2, 0, 1]


def test_equal_distances_merge_in_order() -> None:
    assert average_linkage([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) == ((0, 1, 1.0), (2, 3, 1.0))


def test_rounding_puts_no_merge_below_an_earlier_one() -> None:
    heights = [height for _, _, height in average_linkage([[0.173] * 5] * 5)]  # (2 · 0.173 + 0.173) / 3 < 0.173
    assert heights == [0.173] * 4


def test_one_leaf_is_a_tree() -> None:
    assert average_linkage([[0.0]]) == ()
    assert leaf_order((), 1) == [0]


@st.composite
def distance_matrices(draw: st.DrawFn) -> list[list[float]]:
    n = draw(st.integers(1, 9))
    above = {(i, j): draw(st.floats(0, 2, width=32)) for j in range(n) for i in range(j)}
    return [[0.0 if i == j else above[min(i, j), max(i, j)] for j in range(n)] for i in range(n)]


@given(distance_matrices())
def test_every_tree(distances: list[list[float]]) -> None:
    merges = average_linkage(distances)
    n = len(distances)
    assert len(merges) == n - 1
    assert sorted(node for left, right, _ in merges for node in (left, right)) == list(range(2 * n - 2))
    heights = [height for _, _, height in merges]
    assert heights == sorted(heights)
    assert sorted(leaf_order(merges, n)) == list(range(n))
    members: list[set[int]] = [{leaf} for leaf in range(n)]
    order = leaf_order(merges, n)
    for left, right, height in merges:
        between = [distances[i][j] for i in members[left] for j in members[right]]
        assert height == pytest.approx(sum(between) / len(between), abs=1e-6)  # the mean over all pairs of leaves
        members.append(members[left] | members[right])
        places = sorted(order.index(leaf) for leaf in members[-1])
        assert places == list(range(places[0], places[0] + len(places)))  # no two branches cross
