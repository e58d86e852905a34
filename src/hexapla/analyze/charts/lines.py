"""Points in two measures: joined over a number, or free."""

from __future__ import annotations

from collections.abc import Sequence

from hexapla.analyze.charts.svg import NUM_COLOURS, Drawing, Scale, legend, mark, span_text, text_width, tick_text
from hexapla.analyze.present import LineChart, Point, ScatterChart, Series

_WIDTH, _PLOT_HEIGHT, _BELOW = 720.0, 300.0, 46.0
_MAX_MARKED = 9  # so many different x are each written at the axis


def draw_lines(chart: LineChart) -> Drawing:
    """Each series as a line with a mark and, where known, an interval at every point."""
    return _draw(chart, joined=True)


def draw_scatter(chart: ScatterChart) -> Drawing:
    """Each series as marks."""
    return _draw(chart, joined=False)


def _draw(chart: LineChart | ScatterChart, *, joined: bool) -> Drawing:
    points = [point for series in chart.series for point in series.points]
    parts, top = legend([series.name for series in chart.series], _WIDTH)
    top += 10.0
    bottom = top + _PLOT_HEIGHT
    ends = [end for point in points for end in (point.y, point.low, point.high) if end is not None]
    y = Scale.over(ends, bottom, top)
    y_ticks = y.ticks()
    left = 30.0 + max((text_width(tick_text(tick)) for tick in y_ticks), default=0.0)
    x = Scale.over([point.x for point in points], left, _WIDTH - 16.0)
    drawing = Drawing(chart.name, chart.title, _describe(chart), _WIDTH, bottom + _BELOW, list(parts))
    different = sorted({point.x for point in points})
    x_ticks = different if joined and len(different) <= _MAX_MARKED else x.ticks(8)
    _frame(drawing, x, y, x_ticks, y_ticks)
    drawing.text((x.start + x.end) / 2, bottom + 38, chart.x_label, "label axis-label", text_anchor="middle")
    middle = (top + bottom) / 2
    turn = f"rotate(-90 12 {middle:.1f})"
    drawing.text(12.0, middle, chart.y_label, "label axis-label", text_anchor="middle", transform=turn)
    for number, series in enumerate(chart.series):
        _draw_series(drawing, series, number, (x, y), joined=joined)
    return drawing


def _frame(drawing: Drawing, x: Scale, y: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
    for tick in y_ticks:
        kind = "axis" if tick == 0 else "grid"
        drawing.add("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_=kind)
        drawing.text(x.start - 7, y(tick) + 4, tick_text(tick), "label tick", text_anchor="end")
    drawing.add("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis")
    for tick in x_ticks:
        drawing.add("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="axis")
        drawing.text(x(tick), y.start + 18, tick_text(tick), "label tick", text_anchor="middle")


def _draw_series(drawing: Drawing, series: Series, number: int, scales: tuple[Scale, Scale], *, joined: bool) -> None:
    x, y = scales
    colour = f"s{number % NUM_COLOURS}"
    if joined and len(series.points) > 1:
        path = " ".join(f"{x(point.x):.2f},{y(point.y):.2f}" for point in series.points)
        drawing.add("polyline", points=path, class_=f"joined {colour}")
    for point in series.points:
        if point.low is not None and point.high is not None:
            place = x(point.x)
            drawing.add("line", x1=place, x2=place, y1=y(point.low), y2=y(point.high), class_=f"span {colour}")
    drawing.parts += [mark(x(point.x), y(point.y), number, _hint(series, point)) for point in series.points]


def _hint(series: Series, point: Point) -> str:
    label = point.label or series.name
    return f"{label}: {tick_text(point.x)}, {span_text(point.y, point.low, point.high)}"


def _describe(chart: LineChart | ScatterChart) -> str:
    lines = [f"{chart.y_label} over {chart.x_label}."]
    for series in chart.series:
        if series.points:
            heights = [point.y for point in series.points]
            lines.append(f"{series.name}: {len(heights)} points from {min(heights):.2f} to {max(heights):.2f}.")
    return " ".join(lines)
