"""What an analysis hands on: tables and charts as data, to be shown as HTML, SVG, Markdown, CSV or text.

An analysis says what there is and in which order; how it looks is decided where it is shown. A value of None is one
that could not be measured; it is shown as missing, never as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

_MOST_LINES = 1000

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

    @property
    def is_long(self) -> bool:
        """Whether there are too many lines to read, so that a page leaves them to the CSV file."""
        return len(self.rows) > _MOST_LINES

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
class Guide:
    """A broken line across a plot: upright at `x`, or level at `y`, such as what chance gives."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class LineChart:
    """Series over a number, such as Δ over the number of trained languages; x may be few values, each is marked.

    Attributes:
        x_names: what stands at x = 0, 1, 2, …, where x is a choice and not a number; empty: x is a number.
        guides: to read the series by.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""
    x_names: tuple[str, ...] = ()
    guides: tuple[Guide, ...] = ()


@dataclass(frozen=True)
class PanelChart:
    """Line charts over the same x, line by line; series of the same name are the same thing in all of them.

    Attributes:
        panels: at least one; the `y_label` of each stands above it.
        num_columns: panels side by side.
    """

    name: str
    title: str
    panels: tuple[LineChart, ...]
    note: str = ""
    num_columns: int = 1


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
class MatricesChart:
    """Heat maps of the same rows and columns, side by side where there is room; each has colours of its own span.

    Attributes:
        row_label, column_label: what the rows and the columns are.
    """

    name: str
    title: str
    row_label: str
    column_label: str
    matrices: tuple[MatrixChart, ...]
    note: str = ""


@dataclass(frozen=True)
class Cloud:
    """Points of a picture of two dimensions whose axes mean nothing by themselves.

    Attributes:
        points: (x, y, member, row) each; points of one member have one colour, points of one row are linked.
        subtitle: what stands below the title, such as how much the axes show.
    """

    title: str
    subtitle: str
    points: tuple[tuple[float, float, str, int], ...]


@dataclass(frozen=True)
class ProjectionChart:
    """Clouds side by side, such as sentences by language (their members) and linked by translation (their rows).

    Attributes:
        clouds: line by line.
        num_columns: clouds side by side.
        kinds: member → what gives its colour: itself, or a family of members; in the order of the legend.
    """

    name: str
    title: str
    clouds: tuple[Cloud, ...]
    num_columns: int
    kinds: dict[str, str]
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


Chart = LineChart | PanelChart | ScatterChart | DotChart | MatrixChart | MatricesChart | ProjectionChart | TreeChart
Item = Table | Chart


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
