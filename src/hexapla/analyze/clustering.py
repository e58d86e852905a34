"""Clustering by average linkage (UPGMA; Sokal and Michener, 1958), and the order of the leaves that it gives."""

from __future__ import annotations

from collections.abc import Sequence

Merge = tuple[int, int, float]  # left node, right node, height


def average_linkage(distances: Sequence[Sequence[float]]) -> tuple[Merge, ...]:
    """The merges of n leaves, in the order of height; the k-th one makes node n + k.

    The distance of two clusters is the mean distance of their members. Of equal distances the pair with the smallest
    nodes is merged first, the smaller node on the left.

    Args:
        distances: symmetric, [n][n]; the diagonal is not read.
    """
    num_leaves = len(distances)
    sizes = dict.fromkeys(range(num_leaves), 1)
    between = {(i, j): float(distances[i][j]) for j in range(num_leaves) for i in range(j)}
    merges: list[Merge] = []
    while len(sizes) > 1:
        left, right = min(between, key=lambda pair: (between[pair], pair))
        height = between.pop((left, right))
        new = num_leaves + len(merges)
        merges.append((left, right, height))
        size_left, size_right = sizes.pop(left), sizes.pop(right)
        for other in sizes:
            to_left = between.pop((min(left, other), max(left, other)))
            to_right = between.pop((min(right, other), max(right, other)))
            mean = (size_left * to_left + size_right * to_right) / (size_left + size_right)
            between[other, new] = max(mean, height)  # it is no less; rounding must not say otherwise
        sizes[new] = size_left + size_right
    return tuple(merges)


def leaf_order(merges: Sequence[Merge], num_leaves: int) -> list[int]:
    """The leaves in an order in which no two branches of the tree cross; those that are never joined come last."""
    members = {leaf: [leaf] for leaf in range(num_leaves)}
    for number, (left, right, _) in enumerate(merges):
        members[num_leaves + number] = members.pop(left) + members.pop(right)
    return [leaf for node in sorted(members, reverse=True) for leaf in members[node]]
