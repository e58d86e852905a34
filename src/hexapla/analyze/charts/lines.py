"""Points in two measures: joined over a number or over named choices, in one plot or in several panels, or free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hexapla.analyze.charts.svg import NUM_COLOURS, Drawing, Scale, legend, mark, span_text, text_width, tick_text
from hexapla.analyze.present import LineChart, PanelChart, Point, ScatterChart, Series

_WIDTH, _PLOT_HEIGHT, _BELOW = 720.0, 300.0, 46.0
_PANEL_HEIGHT, _ABOVE_PANEL, _BELOW_PANEL, _PANEL_TICKS = 150.0, 22.0, 8.0, 4
_MAX_MARKED = 9  # so many different x are each written at the axis
_ROOM_AT_ENDS = 0.4  # beside the first and the last of named choices, in units of their distance
_APART = 5.0  # between the series at a named choice, so that their intervals do not hide each other


def draw_lines(chart: LineChart) -> Drawing:
    """Each series as a line with a mark and, where known, an interval at every point."""
    return _draw(chart, joined=True)


def draw_scatter(chart: ScatterChart) -> Drawing:
    """Each series as marks."""
    return _draw(chart, joined=False)


def draw_panels(chart: PanelChart) -> Drawing:
    """The charts one below the other, with one legend and one x axis; 0 is the floor of what is never negative."""
    names = list(dict.fromkeys(series.name for panel in chart.panels for series in panel.series))
    parts, top = legend(names, _WIDTH)
    drawing = Drawing(chart.name, chart.title, " ".join(map(_describe, chart.panels)), _WIDTH, 0.0, list(parts))
    spans = []
    for panel in chart.panels:
        start = top + _ABOVE_PANEL
        y = Scale.over(_ends(panel), start + _PANEL_HEIGHT, start)
        spans.append(replace(y, low=0.0) if y.low < 0 <= min(_ends(panel), default=-1.0) else y)
        top = start + _PANEL_HEIGHT + _BELOW_PANEL
    ticks = [y.ticks(_PANEL_TICKS) for y in spans]
    left = 12.0 + max((text_width(tick_text(tick)) for found in ticks for tick in found), default=0.0)
    every = LineChart(
        "", "", "", "", tuple(series for panel in chart.panels for series in panel.series), "", chart.panels[0].x_names
    )
    x = _x_scale(every, left)
    for panel, y, y_ticks in zip(chart.panels, spans, ticks, strict=True):
        last = panel is chart.panels[-1]
        drawing.text(left, y.end - 8, panel.y_label, "label axis-label")
        _frame(drawing, x, y, _x_ticks(every, x) if last else [], y_ticks)
        for series in panel.series:
            _draw_series(drawing, panel, series, (names.index(series.name), len(names)), (x, y))
    drawing.text((x.start + x.end) / 2, top + 30, chart.panels[0].x_label, "label axis-label", text_anchor="middle")
    drawing.height = top + _BELOW - _BELOW_PANEL
    return drawing


def _draw(chart: LineChart | ScatterChart, *, joined: bool) -> Drawing:
    parts, top = legend([series.name for series in chart.series], _WIDTH)
    top += 10.0
    bottom = top + _PLOT_HEIGHT
    y = Scale.over(_ends(chart), bottom, top)
    y_ticks = y.ticks()
    left = 30.0 + max((text_width(tick_text(tick)) for tick in y_ticks), default=0.0)
    x = _x_scale(chart, left)
    drawing = Drawing(chart.name, chart.title, _describe(chart), _WIDTH, bottom + _BELOW, list(parts))
    _frame(drawing, x, y, _x_ticks(chart, x), y_ticks)
    drawing.text((x.start + x.end) / 2, bottom + 38, chart.x_label, "label axis-label", text_anchor="middle")
    middle = (top + bottom) / 2
    turn = f"rotate(-90 12 {middle:.1f})"
    drawing.text(12.0, middle, chart.y_label, "label axis-label", text_anchor="middle", transform=turn)
    for number, series in enumerate(chart.series):
        _draw_series(drawing, chart, series, (number, len(chart.series)), (x, y), joined=joined)
    return drawing


def _ends(chart: LineChart | ScatterChart) -> list[float]:
    """Every height that a chart shows."""
    points = [point for series in chart.series for point in series.points]
    return [end for point in points for end in (point.y, point.low, point.high) if end is not None]


def _names(chart: LineChart | ScatterChart) -> tuple[str, ...]:
    return chart.x_names if isinstance(chart, LineChart) else ()


def _x_scale(chart: LineChart | ScatterChart, left: float) -> Scale:
    names = _names(chart)
    if names:
        return Scale(-_ROOM_AT_ENDS, len(names) - 1 + _ROOM_AT_ENDS, left, _WIDTH - 16.0)
    return Scale.over([point.x for series in chart.series for point in series.points], left, _WIDTH - 16.0)


def _x_ticks(chart: LineChart | ScatterChart, x: Scale) -> list[tuple[float, str]]:
    """Where the x axis is marked, and what is written there."""
    if names := _names(chart):
        room = int((x(1) - x(0) - 6) / text_width("0")) if len(names) > 1 else len(names[0])
        return [(number, _shortened(name, room)) for number, name in enumerate(names)]
    different = sorted({point.x for series in chart.series for point in series.points})
    each = isinstance(chart, LineChart) and len(different) <= _MAX_MARKED
    return [(tick, tick_text(tick)) for tick in (different if each else x.ticks(8))]


def _shortened(name: str, num_characters: int) -> str:
    return name if len(name) <= num_characters else f"{name[: max(num_characters - 1, 1)]}…"


def _frame(
    drawing: Drawing, x: Scale, y: Scale, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[float]
) -> None:
    for tick in y_ticks:
        kind = "axis" if tick == 0 else "grid"
        drawing.add("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_=kind)
        drawing.text(x.start - 7, y(tick) + 4, tick_text(tick), "label tick", text_anchor="end")
    drawing.add("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis")
    for tick, name in x_ticks:
        drawing.add("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="axis")
        drawing.text(x(tick), y.start + 18, name, "label tick", text_anchor="middle")


def _draw_series(
    drawing: Drawing,
    chart: LineChart | ScatterChart,
    series: Series,
    place: tuple[int, int],
    scales: tuple[Scale, Scale],
    *,
    joined: bool = True,
) -> None:
    """Draw the series of this number among so many."""
    (number, num_series), (x, y) = place, scales
    if _names(chart):
        aside = _APART * (number - (num_series - 1) / 2)
        x = replace(x, start=x.start + aside, end=x.end + aside)
    colour = f"s{number % NUM_COLOURS}"
    if joined and len(series.points) > 1:
        path = " ".join(f"{x(point.x):.2f},{y(point.y):.2f}" for point in series.points)
        drawing.add("polyline", points=path, class_=f"joined {colour}")
    for point in series.points:
        if point.low is not None and point.high is not None:
            middle = x(point.x)
            drawing.add("line", x1=middle, x2=middle, y1=y(point.low), y2=y(point.high), class_=f"span {colour}")
    drawing.parts += [mark(x(point.x), y(point.y), number, _hint(chart, series, point)) for point in series.points]


def _hint(chart: LineChart | ScatterChart, series: Series, point: Point) -> str:
    label = point.label or series.name
    place = _names(chart)[int(point.x)] if _names(chart) else tick_text(point.x)
    return f"{label}: {place}, {span_text(point.y, point.low, point.high)}"


def _describe(chart: LineChart | ScatterChart) -> str:
    lines = [f"{chart.y_label} over {chart.x_label}."]
    for series in chart.series:
        if series.points:
            heights = [point.y for point in series.points]
            lines.append(f"{series.name}: {len(heights)} points from {min(heights):.2f} to {max(heights):.2f}.")
    return " ".join(lines)
