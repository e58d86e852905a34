"""A clustering as a tree: the root at the left, the leaves at the right."""

from __future__ import annotations

from hexapla.analyze.charts.svg import Drawing, Scale, text_width, tick_text
from hexapla.analyze.clustering import leaf_order
from hexapla.analyze.present import TreeChart

_WIDTH, _ROW_HEIGHT = 720.0, 20.0


def draw_tree(chart: TreeChart) -> Drawing:
    """Two branches meet where their clusters were joined; the further left, the less alike."""
    num_leaves = len(chart.leaves)
    right = _WIDTH - 24 - max(map(text_width, chart.leaves), default=0.0)
    bottom = 8 + _ROW_HEIGHT * max(num_leaves, 1)
    x = _scale([height for _, _, height in chart.merges], right)
    drawing = Drawing(chart.name, chart.title, _describe(chart), _WIDTH, bottom + 44)
    for tick in x.ticks(6):
        drawing.add("line", x1=x(tick), x2=x(tick), y1=4.0, y2=bottom, class_="grid")
        drawing.text(x(tick), bottom + 16, tick_text(tick), "label tick", text_anchor="middle")
    drawing.text((12 + right) / 2, bottom + 36, chart.height_label, "label axis-label", text_anchor="middle")
    places = {}
    for row, leaf in enumerate(leaf_order(chart.merges, len(chart.leaves))):
        places[leaf] = (right, 8 + _ROW_HEIGHT * (row + 0.5))
        drawing.text(right + 8, places[leaf][1] + 4, chart.leaves[leaf])
    for number, (first, second, height) in enumerate(chart.merges):
        (x1, y1), (x2, y2), place = places[first], places[second], x(height)
        path = f"M{x1:.2f} {y1:.2f}H{place:.2f}V{y2:.2f}H{x2:.2f}"
        hint = f"{chart.height_label}: {height:.3g}"
        drawing.add("path", None, hint, d=path, class_="branch")
        places[num_leaves + number] = (place, (y1 + y2) / 2)
    return drawing


def _scale(heights: list[float], right: float) -> Scale:
    """From 0 where the first join is far from the others; else from a little before it, so that they stand apart."""
    lowest, highest = min(heights, default=0.0), max(heights, default=0.0)
    reach = highest - lowest
    start = max(0.0, lowest - reach / 4) if reach > 0 else 0.0
    return Scale(start, highest + 0.05 * (highest - start) or 1.0, right, 12.0)


def _describe(chart: TreeChart) -> str:
    names = ", ".join(chart.leaves[leaf] for leaf in leaf_order(chart.merges, len(chart.leaves)))
    return f"{len(chart.leaves)} leaves, neighbours beside each other: {names}."
