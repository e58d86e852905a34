"""What all charts are drawn with: elements, scales, axes, marks, a legend.

A mark never differs from another by its colour alone, so that charts can be read in print and by the colour-blind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

CHARACTER_WIDTH = 6.6  # of the 12 px type that the labels are set in; an average, for making room
NUM_COLOURS = 8
_MOST_SHRUNK = 0.75  # on narrow screens: its labels then are of 9 px; what still has no room is scrolled
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0

# Marks that are no circle: the first corner from the middle, then from corner to corner, to the right and down.
_OUTLINES = {
    1: ((-4.0, -4.0), (8.0, 0.0), (0.0, 8.0), (-8.0, 0.0)),
    2: ((0.0, -5.0), (5.0, 8.5), (-10.0, 0.0)),
    3: ((0.0, -5.4), (5.4, 5.4), (-5.4, 5.4), (-5.4, -5.4)),
    4: ((0.0, 5.0), (5.0, -8.5), (-10.0, 0.0)),
}


@dataclass
class Drawing:
    """An SVG picture under construction; sizes are in pixels.

    Attributes:
        name: unique in the page.
        title: what the picture is, for those who do not see it.
        description: what is in it, for them too.
    """

    name: str
    title: str
    description: str
    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, content: str | None = None, hint: str | None = None, **attributes: object) -> None:
        """Add an element; `hint` is shown when it is pointed at. `class_` is `class`, `stroke_width` `stroke-width`."""
        self.parts.append(element(tag, content, hint, **attributes))

    def text(self, x: float, y: float, content: str, kind: str = "label", **attributes: str) -> None:
        """Add text whose base line begins at x, y (`text_anchor` moves it)."""
        self.parts.append(element("text", content, None, x=x, y=y, class_=kind, **attributes))

    def element(self) -> str:
        """The `<svg>` element."""
        return self._svg("", "")

    def file(self, style: str) -> str:
        """The picture as a file with a style of its own."""
        body = f"<style>{escape(style)}</style>" + element("rect", width="100%", height="100%", class_="paper")
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + self._svg(' xmlns="http://www.w3.org/2000/svg"', body)

    def _svg(self, attributes: str, body: str) -> str:
        width, height = _number(self.width), _number(self.height)
        least = _number(_MOST_SHRUNK * self.width)
        name = re.sub(r"\s", "-", self.name)  # spaces would part it in two
        title, description = f"{name}-title", f"{name}-desc"
        head = element("title", self.title, id=title) + element("desc", self.description, id=description)
        return (
            f'<svg{attributes} class="chart" role="img" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" style="min-width:{least}px"'
            f" aria-labelledby={quoteattr(title)} aria-describedby={quoteattr(description)}>"
            f"{head}{body}{''.join(self.parts)}</svg>\n"
        )


def element(tag: str, content: str | None = None, hint: str | None = None, **attributes: object) -> str:
    """An element as text, everything escaped."""
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(_attribute(value))}" for name, value in attributes.items()
    )
    inside = "" if hint is None else f"<title>{escape(_clean(hint))}</title>"
    inside += "" if content is None else escape(_clean(content))
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


@dataclass(frozen=True)
class Scale:
    """A number's place: [low, high] → [start, end]."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> Scale:
        """A scale with some room around `values`; any values, even none or equal ones."""
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """The place of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 6) -> list[float]:
        """Round numbers inside, about so many."""
        step = (self.high - self.low) / max(about, 1)
        power = 10.0 ** math.floor(math.log10(step))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        # Twelve digits: 0.1 + 0.2 is to be 0.3; numbers that are closer than that are one.
        return sorted({float(f"{number * step:.12g}") for number in range(first, last + 1)})


def tick_text(value: float) -> str:
    """A round number as it stands at an axis."""
    return f"{value:g}".replace("-", "−")


def text_width(text: str) -> float:
    """About how wide a label is."""
    return CHARACTER_WIDTH * len(text)


def mark(x: float, y: float, series: int, hint: str | None = None, *, scale: float = 1.0) -> str:
    """The mark of a series: its colour and its shape."""
    kind = f"mark s{series % NUM_COLOURS}"
    if series % 5 == 0:
        return element("circle", None, hint, cx=x, cy=y, r=4 * scale, class_=kind)
    start, *steps = (tuple(scale * length for length in step) for step in _OUTLINES[series % 5])
    path = f"M{_number(x + start[0])} {_number(y + start[1])}"
    path += "l" + " ".join(f"{_number(right)} {_number(down)}" for right, down in steps) + "z"
    return element("path", None, hint, d=path, class_=kind)


def legend(names: Sequence[str], width: float, guides: Sequence[tuple[str, bool]] = ()) -> tuple[list[str], float]:
    """The elements of a legend from the top left corner, and its height; nothing for a single series without guides.

    Args:
        guides: the name of each broken line, and whether it is upright.
    """
    shown = [*(names if len(names) > 1 else ()), *(name for name, _ in guides)]
    if not shown:
        return [], 0.0
    parts, x, y = [], 8.0, 12.0
    for number, name in enumerate(shown):
        needed = text_width(name) + 34
        if x > 8 and x + needed > width:
            x, y = 8.0, y + 20
        of_guides = number - (len(shown) - len(guides))
        parts.append(mark(x, y, number) if of_guides < 0 else _guide(x, y, is_upright=guides[of_guides][1]))
        parts.append(element("text", name, x=x + 10, y=y + 4, class_="label"))
        x += needed
    return parts, y + 14


def _guide(x: float, y: float, *, is_upright: bool) -> str:
    right, down = (0.0, 7.0) if is_upright else (7.0, 0.0)
    return element("line", x1=x - right, x2=x + right, y1=y - down, y2=y + down, class_="guide")


def span_text(value: float, low: float | None, high: float | None, digits: int = 2) -> str:
    """A value with its interval, as a hint shows it."""
    text = f"{value:.{digits}f}"
    if low is not None and high is not None:
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text.replace("-", "−")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def _attribute(value: object) -> str:
    return _number(value) if isinstance(value, float) else _clean(str(value))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
