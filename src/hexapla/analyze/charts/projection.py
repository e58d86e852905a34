"""Clouds of points in two dimensions side by side: coloured by what they are, linked by what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from hexapla.analyze.charts.svg import Drawing, Scale, legend, mark, text_width
from hexapla.analyze.present import Cloud, ProjectionChart

_MAX_WIDTH, _BETWEEN = 1100.0, 18.0
_ABOVE, _BELOW, _MARGIN = 40.0, 10.0, 9.0
_MANY = 400  # points of a cloud from which on it is larger, its marks smaller and its links fainter
_SIDES, _MARKS, _LINKS = (420.0, 540.0), (0.85, 0.6), (0.45, 0.2)  # of few points, of many
_LABEL_HEIGHT, _LABEL_SHARE = 11.0, 0.9  # of the small type that members are named in; its width beside that of labels

Place = tuple[float, float]


def draw_projection(chart: ProjectionChart) -> Drawing:
    """Thin lines lead from the middle of a row to its points; members that the legend does not name have their name
    at the middle of their points, where there is room.
    """
    is_crowded = any(len(cloud.points) > _MANY for cloud in chart.clouds)
    side = min(_SIDES[is_crowded], (_MAX_WIDTH - _BETWEEN * (chart.num_columns - 1)) / chart.num_columns)
    width = side * chart.num_columns + _BETWEEN * (chart.num_columns - 1)
    series = list(dict.fromkeys(chart.kinds.values()))
    parts, top = legend(series, width)
    drawing = Drawing(chart.name, chart.title, _describe(chart), width, 0.0, list(parts))
    numbers = {member: series.index(kind) for member, kind in chart.kinds.items()}
    named = [] if series == list(chart.kinds) else list(chart.kinds)
    for position, cloud in enumerate(chart.clouds):
        line, column = divmod(position, chart.num_columns)
        corner = (column * (side + _BETWEEN), top + line * (side + _ABOVE + _BELOW))
        drawing.text(corner[0] + 1, corner[1] + 16, cloud.title, "label part")
        drawing.text(corner[0] + 1, corner[1] + 32, cloud.subtitle, "label tick")
        _draw_cloud(drawing, cloud, (corner[0], corner[1] + _ABOVE, side), numbers, named)
    num_lines = -(-len(chart.clouds) // chart.num_columns)
    drawing.height = top + num_lines * (side + _ABOVE + _BELOW)
    return drawing


def _draw_cloud(
    drawing: Drawing, cloud: Cloud, box: tuple[float, float, float], numbers: dict[str, int], named: Sequence[str]
) -> None:
    left, top, side = box
    drawing.add("rect", x=left + 0.5, y=top + 0.5, width=side - 1, height=side - 1, class_="frame")
    is_crowded = len(cloud.points) > _MANY
    x = Scale.over([point[0] for point in cloud.points], left + _MARGIN, left + side - _MARGIN)
    y = Scale.over([point[1] for point in cloud.points], top + side - _MARGIN, top + _MARGIN)
    places = [(x(right), y(up)) for right, up, _, _ in cloud.points]
    rows: dict[int, list[Place]] = defaultdict(list)
    members: dict[str, list[Place]] = defaultdict(list)
    for place, (_, _, member, row) in zip(places, cloud.points, strict=True):
        rows[row].append(place)
        members[member].append(place)
    for found in rows.values():
        if len(found) > 1:
            drawing.add("path", d=_star(found), class_="link", stroke_opacity=str(_LINKS[is_crowded]))
    for place, (_, _, member, row) in zip(places, cloud.points, strict=True):
        drawing.parts.append(mark(*place, numbers[member], f"{member}, row {row}", scale=_MARKS[is_crowded]))
    _name(drawing, {member: _middle(members[member]) for member in named if member in members}, box)


def _star(places: Sequence[Place]) -> str:
    x, y = _middle(places)
    return "".join(f"M{x:.1f} {y:.1f}L{right:.1f} {down:.1f}" for right, down in places)


def _middle(places: Sequence[Place]) -> Place:
    return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)


def _name(drawing: Drawing, middles: dict[str, Place], box: tuple[float, float, float]) -> None:
    """Write the members' names; one that would hide another is left out."""
    written: list[tuple[float, float, float, float]] = []
    left, top, side = box
    for member, (x, y) in middles.items():
        half = _LABEL_SHARE * text_width(member) / 2
        x = min(max(x, left + half), left + side - half)
        y = min(max(y, top + _LABEL_HEIGHT), top + side - _LABEL_HEIGHT)
        area = (x - half, y - _LABEL_HEIGHT / 2, x + half, y + _LABEL_HEIGHT / 2)
        if not _meets(area, written):
            written.append(area)
            drawing.text(x, y + 3.5, member, "label over", text_anchor="middle")


def _meets(area: tuple[float, float, float, float], others: Iterable[tuple[float, float, float, float]]) -> bool:
    left, top, right, bottom = area
    return any(left < o[2] and right > o[0] and top < o[3] and bottom > o[1] for o in others)


def _describe(chart: ProjectionChart) -> str:
    clouds = (f"{cloud.title}: {len(cloud.points)} points. {cloud.subtitle}." for cloud in chart.clouds)
    return " ".join(clouds) or "Nothing was projected."
