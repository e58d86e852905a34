"""Heat maps: rows and columns with the same kind of value in every cell; one, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence

from hexapla.analyze.charts.svg import Drawing, element, text_width
from hexapla.analyze.present import MatricesChart, MatrixChart

_MAX_WIDTH = 760.0
_GRID_WIDTH = 1100.0  # of several side by side: what a page of full width has room for
_BETWEEN, _LEAST_BESIDE = 22.0, 10.0  # pixels between them; the least side of a cell for them to stand side by side
_MAX_WRITTEN = 16  # columns up to which the cells have room for their values
_MAX_HINTS = 4096  # cells up to which each says what it is: an element of the page each
_STRENGTH = 0.85  # of the fullest colour, so that what is written on it can be read
_SCALE_STEPS, _SCALE_STEP = 20, 8.0


def draw_matrix(chart: MatrixChart) -> Drawing:
    """Values around 0 in two colours, others in one, by strength."""
    left, size = _left(chart), _cell_width(chart, _MAX_WIDTH)
    width = max(left + size * _num_columns(chart), left + 330.0) + 8
    drawing = Drawing(chart.name, chart.title, _describe(chart), width, 0.0)
    drawing.height = _draw(drawing, chart, (0.0, 0.0), size)
    return drawing


def draw_matrices(chart: MatricesChart) -> Drawing:
    """As many side by side as there is room for, each with its title and its scale."""
    num_columns, room = _arrange(chart.matrices)
    axes = f"rows: {chart.row_label}; columns: {chart.column_label}"
    width = max(num_columns * (room + _BETWEEN), text_width(axes))
    drawing = Drawing(chart.name, chart.title, _describe_all(chart), width, 0.0)
    drawing.text(0.0, 12.0, axes, "label axis-label")
    top = bottom = 24.0
    for number, matrix in enumerate(chart.matrices):
        column = number % num_columns
        if column == 0:
            top = bottom
        place = (column * (room + _BETWEEN), top + 22)
        drawing.text(place[0] + _left(matrix), top + 14, matrix.title, "label part")
        bottom = max(bottom, _draw(drawing, matrix, place, _cell_width(matrix, room)) + 12)
    drawing.height = bottom
    return drawing


def _arrange(matrices: Sequence[MatrixChart]) -> tuple[int, float]:
    """How many stand side by side, and the width that each has."""
    for num_columns in range(len(matrices), 1, -1):
        room = (_GRID_WIDTH - _BETWEEN * (num_columns - 1)) / num_columns
        if all(_cell_width(matrix, room) >= _LEAST_BESIDE and _needed(matrix) <= room for matrix in matrices):
            return num_columns, max(_used(matrix, room) for matrix in matrices)
    return 1, max((_used(matrix, _MAX_WIDTH) for matrix in matrices), default=0.0)


def _used(matrix: MatrixChart, room: float) -> float:
    """The width that a matrix fills where it has so much."""
    return max(_left(matrix) + _cell_width(matrix, room) * _num_columns(matrix), _needed(matrix))


def _needed(matrix: MatrixChart) -> float:
    """The width of what stands above and below a matrix."""
    return _left(matrix) + max(text_width(matrix.title), _SCALE_STEPS * _SCALE_STEP)


def _left(chart: MatrixChart) -> float:
    return 14.0 + max(map(text_width, chart.rows), default=0.0)


def _num_columns(chart: MatrixChart) -> int:
    return max(len(chart.columns), 1)


def _cell_width(chart: MatrixChart, room: float) -> float:
    widest = 44.0 if _num_columns(chart) <= _MAX_WRITTEN else 26.0
    return max(6.0, min(widest, (room - _left(chart)) / _num_columns(chart)))


def _draw(drawing: Drawing, chart: MatrixChart, corner: tuple[float, float], size: float) -> float:
    """Draw a matrix with its labels and its scale; returns where it ends below."""
    left = corner[0] + _left(chart)
    top = corner[1] + 14.0 + max(map(text_width, chart.columns), default=0.0)
    height = min(size, 26.0)
    bottom = top + height * len(chart.rows)
    small = {"font_size": f"{height - 1:.1f}"} if height < 12 else {}
    middle = 4.0 if height >= 12 else height / 3
    for column, name in enumerate(chart.columns):
        x = left + size * (column + 0.5) + middle
        drawing.text(x, top - 6, name, transform=f"rotate(-90 {x:.1f} {top - 6:.1f})", **small)
    for row, name in enumerate(chart.rows):
        drawing.text(left - 6, top + height * (row + 0.5) + middle, name, text_anchor="end", **small)
        for column, value in enumerate(chart.values[row]):
            _draw_cell(drawing, chart, (row, column), value, (left + size * column, top + height * row, size, height))
    _draw_scale(drawing, chart, left, bottom + 14)
    return bottom + 46


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
        digits = 2 if max(abs(chart.low), abs(chart.high)) < 10 else 1
        text = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no −0.00
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
    for step in range(_SCALE_STEPS):
        value = chart.low + (chart.high - chart.low) * (step + 0.5) / _SCALE_STEPS
        kind, strength = colour(value, chart.low, chart.high)
        look = {"class_": f"cell {kind}", "fill_opacity": f"{strength:.3f}"}
        drawing.parts.append(
            element("rect", None, None, x=x + _SCALE_STEP * step, y=y, width=_SCALE_STEP, height=9.0, **look)
        )
    drawing.text(x, y + 23, _rounded(chart.low), "label tick")
    drawing.text(x + _SCALE_STEP * _SCALE_STEPS, y + 23, _rounded(chart.high), "label tick", text_anchor="end")


def _rounded(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _describe(chart: MatrixChart) -> str:
    values = [value for row in chart.values for value in row if value is not None]
    size = f"{len(chart.rows)} rows, {len(chart.columns)} columns"
    if not values:
        return f"{size}, nothing measured."
    return f"{size}, values from {min(values):.3g} to {max(values):.3g}."


def _describe_all(chart: MatricesChart) -> str:
    return " ".join(f"{matrix.title}: {_describe(matrix)}" for matrix in chart.matrices) or "Nothing measured."
