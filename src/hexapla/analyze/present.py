"""What an analysis hands on: tables and charts as data, to be shown as HTML, SVG, Markdown, CSV or text.

An analysis says what there is and in which order; how it looks is decided where it is shown. A value of None is one
that could not be measured; it is shown as missing, never as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Value = str | float | int | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        digits: after the decimal point; None for text.
        signed: whether a plus sign is shown, as for differences.
        better: which end is the better one, for those who highlight.
    """

    title: str
    digits: int | None = None
    signed: bool = False
    better: Literal["high", "low"] | None = None


CONTRAST_COLUMNS = (
    Column("difference", 2, signed=True),
    Column("from", 2, signed=True),
    Column("to", 2, signed=True),
    Column("p", 4),
    Column("p (Holm)", 4),
    Column("verdict"),
)
"""A tested difference: itself, its interval, its p-values, and what follows."""


@dataclass(frozen=True)
class Table:
    """Rows of values.

    Attributes:
        name: stem of its file, such as `conflict-by-group`.
        note: what the reader must know: how it was made, what the figures mean, what was left out.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: a row of {len(row)} values for {len(self.columns)} columns")


@dataclass(frozen=True)
class Point:
    """A point of a chart.

    Attributes:
        low: lower end of its interval; None where there is no interval.
        label: what it stands for, shown when pointed at.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one kind, in the order of x where they are joined."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class LineChart:
    """Series over a number, such as Δ over the number of trained languages; x may be few values, each is marked.

    Attributes:
        x_names: what stands at x = 0, 1, 2, …, where x is a choice and not a number; empty: x is a number.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""
    x_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PanelChart:
    """Line charts one below the other over the same x; series of the same name are the same thing in all of them.

    Attributes:
        panels: at least one; the `y_label` of each stands above it.
    """

    name: str
    title: str
    panels: tuple[LineChart, ...]
    note: str = ""


@dataclass(frozen=True)
class ScatterChart:
    """Points in two measures, one series a kind (such as a side)."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True)
class DotChart:
    """One line a category (a direction, a language), one dot a series, with intervals: forest plot around 0.

    Attributes:
        categories: from top to bottom.
        values: series → of each category (value, low, high); None where it was not measured.
    """

    name: str
    title: str
    x_label: str
    categories: tuple[str, ...]
    values: dict[str, tuple[tuple[float, float | None, float | None] | None, ...]]
    note: str = ""


@dataclass(frozen=True)
class MatrixChart:
    """A heat map: [rows][columns] of values in [low, high]."""

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class TreeChart:
    """A clustering: leaves 0 … n−1, then one node a merge.

    Attributes:
        merges: (left node, right node, height), in the order of height; the k-th one makes node n + k.
    """

    name: str
    title: str
    leaves: tuple[str, ...]
    merges: tuple[tuple[int, int, float], ...]
    height_label: str
    note: str = ""


Chart = LineChart | PanelChart | ScatterChart | DotChart | MatrixChart | TreeChart
Item = Table | LineChart | PanelChart | ScatterChart | DotChart | MatrixChart | TreeChart


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        anchor: its name in the page's address.
        intro: how to read it, in a sentence or two.
        notes: what could not be done, and why.
    """

    anchor: str
    title: str
    intro: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = field(default=())
