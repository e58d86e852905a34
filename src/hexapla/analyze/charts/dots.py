"""One line a category, one dot a series, with intervals (Cleveland's dot plot; around 0 a forest plot)."""

from __future__ import annotations

from hexapla.analyze.charts.svg import NUM_COLOURS, Drawing, Scale, legend, mark, span_text, text_width, tick_text
from hexapla.analyze.present import DotChart

_WIDTH = 760.0
_STEP = 6.0  # between the dots of a category
_GAP = 12.0


def draw_dots(chart: DotChart) -> Drawing:
    """The categories from top to bottom, the dots of each one below the other."""
    parts, top = legend(list(chart.values), _WIDTH)
    top += 8.0
    row_height = _GAP + _STEP * max(len(chart.values), 1)
    bottom = top + row_height * len(chart.categories)
    left = 24.0 + max(map(text_width, chart.categories), default=0.0)
    found = [entry for entries in chart.values.values() for entry in entries if entry is not None]
    ends = [end for entry in found for end in entry if end is not None]
    x = Scale.over(ends, left, _WIDTH - 16.0)
    drawing = Drawing(chart.name, chart.title, _describe(chart), _WIDTH, bottom + 44, list(parts))
    for tick in x.ticks(8):
        drawing.add("line", x1=x(tick), x2=x(tick), y1=top, y2=bottom, class_="axis" if tick == 0 else "grid")
        drawing.text(x(tick), bottom + 16, tick_text(tick), "label tick", text_anchor="middle")
    drawing.text((x.start + x.end) / 2, bottom + 36, chart.x_label, "label axis-label", text_anchor="middle")
    for row, category in enumerate(chart.categories):
        start = top + row * row_height
        if row:
            drawing.add("line", x1=0.0, x2=_WIDTH, y1=start, y2=start, class_="rule")
        drawing.text(left - 12, start + row_height / 2 + 4, category, text_anchor="end")
        for series, (name, entries) in enumerate(chart.values.items()):
            entry = entries[row]
            if entry is not None:
                y = start + _GAP / 2 + _STEP * (series + 0.5)
                _draw_dot(drawing, (x, y), series, entry, f"{category}, {name}: {span_text(*entry)}")
    return drawing


def _draw_dot(
    drawing: Drawing,
    place: tuple[Scale, float],
    series: int,
    entry: tuple[float, float | None, float | None],
    hint: str,
) -> None:
    x, y = place
    value, low, high = entry
    if low is not None and high is not None:
        drawing.add("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"span s{series % NUM_COLOURS}")
    drawing.parts.append(mark(x(value), y, series, hint))


def _describe(chart: DotChart) -> str:
    lines = [f"{chart.x_label}, {len(chart.categories)} lines."]
    for name, entries in chart.values.items():
        values = [entry[0] for entry in entries if entry is not None]
        if values:
            lines.append(f"{name}: from {min(values):.2f} to {max(values):.2f}, mean {sum(values) / len(values):.2f}.")
    return " ".join(lines)
