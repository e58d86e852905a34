"""A heat map: rows and columns with the same kind of value in every cell."""

from __future__ import annotations

from hexapla.analyze.charts.svg import Drawing, element, text_width
from hexapla.analyze.present import MatrixChart

_MAX_WIDTH = 760.0
_MAX_WRITTEN = 16  # columns up to which the cells have room for their values
_MAX_HINTS = 4096  # cells up to which each says what it is: an element of the page each
_STRENGTH = 0.85  # of the fullest colour, so that what is written on it can be read


def draw_matrix(chart: MatrixChart) -> Drawing:
    """Values around 0 in two colours, others in one, by strength."""
    left = 14.0 + max(map(text_width, chart.rows), default=0.0)
    top = 14.0 + max(map(text_width, chart.columns), default=0.0)
    num_rows, num_columns = len(chart.rows), max(len(chart.columns), 1)
    widest = 44.0 if num_columns <= _MAX_WRITTEN else 26.0
    size = max(6.0, min(widest, (_MAX_WIDTH - left) / num_columns))
    height = min(size, 26.0)
    bottom = top + height * num_rows
    width = max(left + size * num_columns, left + 330.0) + 8
    drawing = Drawing(chart.name, chart.title, _describe(chart), width, bottom + 46)
    for column, name in enumerate(chart.columns):
        x = left + size * (column + 0.5) + 4
        drawing.text(x, top - 6, name, transform=f"rotate(-90 {x:.1f} {top - 6:.1f})")
    for row, name in enumerate(chart.rows):
        drawing.text(left - 6, top + height * (row + 0.5) + 4, name, text_anchor="end")
        for column, value in enumerate(chart.values[row]):
            _draw_cell(drawing, chart, (row, column), value, (left + size * column, top + height * row, size, height))
    _draw_scale(drawing, chart, left, bottom + 14)
    return drawing


def _draw_cell(
    drawing: Drawing,
    chart: MatrixChart,
    position: tuple[int, int],
    value: float | None,
    box: tuple[float, float, float, float],
) -> None:
    x, y, width, height = box
    gap = 1.0 if width > 8 else 0.0
    hint = None
    if len(chart.rows) * len(chart.columns) <= _MAX_HINTS:
        shown = "not measured" if value is None else f"{value:.3g}".replace("-", "−")
        hint = f"{chart.rows[position[0]]}, {chart.columns[position[1]]}: {shown}"
    kind, strength = ("missing", 1.0) if value is None else colour(value, chart.low, chart.high)
    drawing.add(
        "rect",
        None,
        hint,
        x=x,
        y=y,
        width=width - gap,
        height=height - gap,
        class_=f"cell {kind}",
        fill_opacity=f"{strength:.3f}",
    )
    if value is not None and width >= 30 and len(chart.columns) <= _MAX_WRITTEN:
        text = f"{value:.2f}" if max(abs(chart.low), abs(chart.high)) < 10 else f"{value:.1f}"
        place = (x + (width - gap) / 2, y + height / 2 + 3.5)
        drawing.text(*place, text.replace("-", "−"), "label value", text_anchor="middle")


def colour(value: float, low: float, high: float) -> tuple[str, float]:
    """The kind of colour and its strength, 0 to 1; around 0 where `low` is below it, else from `low` up."""
    if low < 0:
        limit = max(abs(low), abs(high))
        return ("up" if value >= 0 else "down"), _STRENGTH * min(1.0, abs(value) / limit)
    reach = high - low
    return "up", _STRENGTH * min(1.0, max(0.0, (value - low) / reach)) if reach > 0 else 0.0


def _draw_scale(drawing: Drawing, chart: MatrixChart, x: float, y: float) -> None:
    num_steps = 20
    for step in range(num_steps):
        value = chart.low + (chart.high - chart.low) * (step + 0.5) / num_steps
        kind, strength = colour(value, chart.low, chart.high)
        look = {"class_": f"cell {kind}", "fill_opacity": f"{strength:.3f}"}
        drawing.parts.append(element("rect", None, None, x=x + 8 * step, y=y, width=8.0, height=9.0, **look))
    drawing.text(x, y + 23, _rounded(chart.low), "label tick")
    drawing.text(x + 8 * num_steps, y + 23, _rounded(chart.high), "label tick", text_anchor="end")


def _rounded(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _describe(chart: MatrixChart) -> str:
    values = [value for row in chart.values for value in row if value is not None]
    size = f"{len(chart.rows)} rows, {len(chart.columns)} columns"
    if not values:
        return f"{size}, nothing measured."
    return f"{size}, values from {min(values):.3g} to {max(values):.3g}."
