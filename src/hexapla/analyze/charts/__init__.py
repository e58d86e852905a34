"""Charts as SVG, one file a kind: for the page (colours by its theme) and for papers (colours of their own)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hexapla.analyze.charts.dots import draw_dots
from hexapla.analyze.charts.lines import draw_lines, draw_panels, draw_scatter
from hexapla.analyze.charts.matrix import draw_matrices, draw_matrix
from hexapla.analyze.charts.projection import draw_projection
from hexapla.analyze.charts.svg import Drawing
from hexapla.analyze.charts.tree import draw_tree
from hexapla.analyze.present import (
    Chart,
    DotChart,
    LineChart,
    MatricesChart,
    MatrixChart,
    PanelChart,
    ProjectionChart,
    ScatterChart,
    TreeChart,
)

# The page's light colours (page/report.css), written out: programs that read SVG for papers know no variables.
_PAPER = {
    "ink": "#1d2129",
    "soft": "#626a76",
    "line": "#d8d5cf",
    "card": "#ffffff",
    "up": "#2279be",
    "down": "#d66c20",
    "s0": "#1f5fa8",
    "s1": "#c8561b",
    "s2": "#1c8a6a",
    "s3": "#8a4f9e",
    "s4": "#a07a00",
    "s5": "#5b6472",
    "s6": "#b8336a",
    "s7": "#3d8fb5",
}

_DRAWN_BY: dict[type, Callable[[Any], Drawing]] = {
    LineChart: draw_lines,
    PanelChart: draw_panels,
    ScatterChart: draw_scatter,
    DotChart: draw_dots,
    MatrixChart: draw_matrix,
    MatricesChart: draw_matrices,
    ProjectionChart: draw_projection,
    TreeChart: draw_tree,
}


def draw(chart: Chart) -> str:
    """An `<svg>` element for the page; its colours are the page's variables."""
    return _drawing(chart).element()


def standalone(chart: Chart) -> str:
    """An SVG file of its own, in dark ink on white."""
    return _drawing(chart).file(_paper_style())


def _drawing(chart: Chart) -> Drawing:
    return _DRAWN_BY[type(chart)](chart)


@cache
def _paper_style() -> str:
    style = (Path(__file__).parents[1] / "page" / "charts.css").read_text(encoding="utf-8")
    return re.sub(r"var\(--(\w+)\)", lambda match: _PAPER[match[1]], style)
