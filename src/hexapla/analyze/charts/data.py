"""The data behind a chart as a table: for those who do not see it, and for other programs."""

from __future__ import annotations

from hexapla.analyze.present import (
    Chart,
    Column,
    DotChart,
    LineChart,
    MatricesChart,
    MatrixChart,
    PanelChart,
    Point,
    ProjectionChart,
    ScatterChart,
    Table,
    TreeChart,
    Value,
)


def data_table(chart: Chart) -> Table:
    """The table of a chart; it has the chart's name."""
    if isinstance(chart, LineChart | ScatterChart):
        return _of_points(chart)
    if isinstance(chart, PanelChart):
        return _of_panels(chart)
    if isinstance(chart, DotChart):
        return _of_dots(chart)
    if isinstance(chart, MatrixChart):
        return _of_matrix(chart)
    if isinstance(chart, MatricesChart):
        return _of_matrices(chart)
    if isinstance(chart, ProjectionChart):
        return _of_projection(chart)
    return _of_tree(chart)


def _of_points(chart: LineChart | ScatterChart) -> Table:
    columns = [Column("series"), Column("label"), Column(chart.x_label), Column(chart.y_label, 2)]
    points = [(series.name, point) for series in chart.series for point in series.points]
    rows: list[tuple[Value, ...]] = [(name, point.label, _x(chart, point), point.y) for name, point in points]
    if any(point.low is not None for _, point in points):
        columns += [Column("low", 2), Column("high", 2)]
        rows = [(*row, point.low, point.high) for row, (_, point) in zip(rows, points, strict=True)]
    if not any(point.label for _, point in points):
        del columns[1]
        rows = [(row[0], *row[2:]) for row in rows]
    return _table(chart, columns, rows)


def _of_panels(chart: PanelChart) -> Table:
    columns = [Column("panel"), Column("series"), Column(chart.panels[0].x_label), Column("value", 2)]
    found = [(panel, series, point) for panel in chart.panels for series in panel.series for point in series.points]
    rows: list[tuple[Value, ...]] = [
        (panel.y_label, series.name, _x(panel, point), point.y) for panel, series, point in found
    ]
    if any(point.low is not None for *_, point in found):
        columns += [Column("low", 2), Column("high", 2)]
        rows = [(*row, point.low, point.high) for row, (*_, point) in zip(rows, found, strict=True)]
    return _table(chart, columns, rows)


def _x(chart: LineChart | ScatterChart, point: Point) -> Value:
    if isinstance(chart, LineChart) and chart.x_names:
        return chart.x_names[int(point.x)]
    return point.x


def _of_dots(chart: DotChart) -> Table:
    found = [entry for entries in chart.values.values() for entry in entries if entry is not None]
    has_intervals = any(low is not None for _, low, _ in found)
    columns = [Column("")]
    for name in chart.values:
        columns.append(Column(name, 2))
        if has_intervals:
            columns += [Column(f"{name} low", 2), Column(f"{name} high", 2)]
    rows = []
    for position, category in enumerate(chart.categories):
        row: list[Value] = [category]
        for entries in chart.values.values():
            value, low, high = entries[position] or (None, None, None)
            row += [value, low, high] if has_intervals else [value]
        rows.append(tuple(row))
    return _table(chart, columns, rows)


def _of_matrix(chart: MatrixChart) -> Table:
    columns = [Column(""), *(Column(name, 3) for name in chart.columns)]
    return _table(chart, columns, [(name, *values) for name, values in zip(chart.rows, chart.values, strict=True)])


def _of_matrices(chart: MatricesChart) -> Table:
    """One line a cell, one column a matrix; a pair that none of them has is left out."""
    columns = [Column(chart.row_label), Column(chart.column_label)]
    columns += [Column(matrix.title, 3) for matrix in chart.matrices]
    cells: dict[tuple[str, str], list[Value]] = {}
    for number, matrix in enumerate(chart.matrices):
        for row, values in zip(matrix.rows, matrix.values, strict=True):
            for column, value in zip(matrix.columns, values, strict=True):
                if value is not None:
                    cells.setdefault((row, column), [None] * len(chart.matrices))[number] = value
    return _table(chart, columns, [(*pair, *values) for pair, values in cells.items()])


def _of_projection(chart: ProjectionChart) -> Table:
    columns = [Column("picture"), Column("of"), Column("row", 0), Column("x", 4), Column("y", 4)]
    rows: list[tuple[Value, ...]] = [
        (cloud.title, member, row, x, y) for cloud in chart.clouds for x, y, member, row in cloud.points
    ]
    return _table(chart, columns, rows)


def _of_tree(chart: TreeChart) -> Table:
    num_leaves = len(chart.leaves)

    def name(node: int) -> str:
        return chart.leaves[node] if node < num_leaves else f"cluster {node - num_leaves + 1}"

    columns = [Column("cluster"), Column("of"), Column("and"), Column(chart.height_label, 3)]
    rows: list[tuple[Value, ...]] = [
        (f"cluster {number + 1}", name(first), name(second), height)
        for number, (first, second, height) in enumerate(chart.merges)
    ]
    return _table(chart, columns, rows)


def _table(chart: Chart, columns: list[Column], rows: list[tuple[Value, ...]]) -> Table:
    return Table(chart.name, chart.title, tuple(columns), tuple(rows))
