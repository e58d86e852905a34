"""Points in two measures: joined over a number or over named choices, in one plot or in several panels, or free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from hexapla.analyze.charts.svg import NUM_COLOURS, Drawing, Scale, legend, mark, span_text, text_width, tick_text
from hexapla.analyze.present import Guide, LineChart, PanelChart, Point, ScatterChart, Series

_WIDTH, _PLOT_HEIGHT, _BELOW = 720.0, 300.0, 46.0
_PANEL_HEIGHT, _ABOVE_PANEL, _BELOW_PANEL, _PANEL_TICKS = 150.0, 22.0, 8.0, 4
_MAX_MARKED = 9  # so many different x are each written at the axis
_ROOM_AT_ENDS = 0.4  # beside the first and the last of named choices, in units of their distance
_GRID_WIDTH = 1100.0  # of panels side by side: what a page of full width has room for
_ROOM_OF_MARK, _SMALLEST_MARK = 14.0, 0.5  # joined marks that are closer are drawn smaller
_APART = 5.0  # between the series at a named choice, so that their intervals do not hide each other


def draw_lines(chart: LineChart) -> Drawing:
    """Each series as a line with a mark and, where known, an interval at every point."""
    return _draw(chart, joined=True)


def draw_scatter(chart: ScatterChart) -> Drawing:
    """Each series as marks."""
    return _draw(chart, joined=False)


def draw_panels(chart: PanelChart) -> Drawing:
    """The charts line by line, with one legend and one x axis; 0 is the floor of what is never negative."""
    names = list(dict.fromkeys(series.name for panel in chart.panels for series in panel.series))
    width = _WIDTH if chart.num_columns == 1 else _GRID_WIDTH
    parts, top = legend(names, width, _named_guides(chart.panels))
    drawing = Drawing(chart.name, chart.title, " ".join(map(_describe, chart.panels)), width, 0.0, list(parts))
    every = replace(chart.panels[0], series=tuple(series for panel in chart.panels for series in panel.series))
    spans = [_panel_span(panel) for panel in chart.panels]
    room = 12.0 + max(text_width(tick_text(tick)) for y in spans for tick in y.ticks(_PANEL_TICKS))
    column_width = width / chart.num_columns
    for number, (panel, y) in enumerate(zip(chart.panels, spans, strict=True)):
        line, column = divmod(number, chart.num_columns)
        left = column * column_width
        start = top + line * (_ABOVE_PANEL + _PANEL_HEIGHT + _BELOW_PANEL) + _ABOVE_PANEL
        x = _x_scale(every, left + room, left + column_width - 16.0)
        y = replace(y, start=start + _PANEL_HEIGHT, end=start)
        is_lowest = number + chart.num_columns >= len(chart.panels)
        drawing.text(x.start, start - 8, panel.y_label, "label axis-label")
        _frame(drawing, x, y, _x_ticks(every, x) if is_lowest else [], y.ticks(_PANEL_TICKS))
        _draw_guides(drawing, panel, x, y)
        for series in panel.series:
            _draw_series(drawing, panel, series, (names.index(series.name), len(names)), (x, y))
        if is_lowest:
            middle = (x.start + x.end) / 2
            drawing.text(middle, y.start + 38, panel.x_label, "label axis-label", text_anchor="middle")
    num_lines = -(-len(chart.panels) // chart.num_columns)
    drawing.height = top + num_lines * (_ABOVE_PANEL + _PANEL_HEIGHT + _BELOW_PANEL) + _BELOW - _BELOW_PANEL
    return drawing


def _panel_span(panel: LineChart) -> Scale:
    """What the y axis of a panel holds; its place is not known yet."""
    y = Scale.over(_ends(panel), _PANEL_HEIGHT, 0.0)
    return replace(y, low=0.0) if y.low < 0 <= min(_ends(panel), default=-1.0) else y


def _draw(chart: LineChart | ScatterChart, *, joined: bool) -> Drawing:
    parts, top = legend([series.name for series in chart.series], _WIDTH, _named_guides([chart]))
    top += 10.0
    bottom = top + _PLOT_HEIGHT
    y = Scale.over(_ends(chart), bottom, top)
    y_ticks = y.ticks()
    left = 30.0 + max((text_width(tick_text(tick)) for tick in y_ticks), default=0.0)
    x = _x_scale(chart, left, _WIDTH - 16.0)
    drawing = Drawing(chart.name, chart.title, _describe(chart), _WIDTH, bottom + _BELOW, list(parts))
    _frame(drawing, x, y, _x_ticks(chart, x), y_ticks)
    _draw_guides(drawing, chart, x, y)
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
    ends = [end for point in points for end in (point.y, point.low, point.high)]
    return [end for end in (*ends, *(guide.y for guide in _guides(chart))) if end is not None]


def _guides(chart: LineChart | ScatterChart) -> tuple[Guide, ...]:
    return chart.guides if isinstance(chart, LineChart) else ()


def _named_guides(charts: Sequence[LineChart | ScatterChart]) -> list[tuple[str, bool]]:
    """The guides of charts with one legend: their names, and whether they are upright."""
    return list(dict.fromkeys((guide.name, guide.x is not None) for chart in charts for guide in _guides(chart)))


def _names(chart: LineChart | ScatterChart) -> tuple[str, ...]:
    return chart.x_names if isinstance(chart, LineChart) else ()


def _x_scale(chart: LineChart | ScatterChart, left: float, right: float) -> Scale:
    names = _names(chart)
    if names:
        return Scale(-_ROOM_AT_ENDS, len(names) - 1 + _ROOM_AT_ENDS, left, right)
    return Scale.over([point.x for series in chart.series for point in series.points], left, right)


def _x_ticks(chart: LineChart | ScatterChart, x: Scale) -> list[tuple[float, str]]:
    """Where the x axis is marked, and what is written there."""
    if names := _names(chart):
        room = int((x(1) - x(0) - 6) / text_width("0")) if len(names) > 1 else len(names[0])
        return [(number, _shortened(name, room)) for number, name in enumerate(names)]
    different = sorted({point.x for series in chart.series for point in series.points})
    if isinstance(chart, LineChart) and len(different) <= _MAX_MARKED:
        return [(value, tick_text(value)) for value in different]
    counted = all(float(value).is_integer() for value in different)  # then there is nothing at 2.5
    return [(tick, tick_text(tick)) for tick in x.ticks(8) if tick.is_integer() or not counted]


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


def _draw_guides(drawing: Drawing, chart: LineChart | ScatterChart, x: Scale, y: Scale) -> None:
    for guide in _guides(chart):
        if guide.x is not None:
            drawing.add("line", x1=x(guide.x), x2=x(guide.x), y1=y.start, y2=y.end, class_="guide")
        if guide.y is not None:
            drawing.add("line", x1=x.start, x2=x.end, y1=y(guide.y), y2=y(guide.y), class_="guide")


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
    places = sorted({x(point.x) for point in series.points})
    nearest = min((after - before for before, after in pairwise(places)), default=_ROOM_OF_MARK)
    scale = max(_SMALLEST_MARK, min(1.0, nearest / _ROOM_OF_MARK)) if joined else 1.0
    drawing.parts += [
        mark(x(point.x), y(point.y), number, _hint(chart, series, point), scale=scale) for point in series.points
    ]


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
