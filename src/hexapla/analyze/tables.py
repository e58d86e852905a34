"""Tables as CSV, Markdown and plain text: for papers, for other programs, for the terminal."""

from __future__ import annotations

import re

from hexapla.analyze.present import Column, Table, Value

MISSING = "—"
_MARKDOWN = re.compile(r"([\\`*_\[\]|<>])")


def shown(value: Value, column: Column) -> str:
    """A value as people read it: `41.2`, `+0.3`, `1,024`; missing is a dash."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if column.digits is not None:
        text = f"{value:,.{column.digits}f}"
    else:
        text = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    unsigned = text.removeprefix("-")
    if not re.search(r"[1-9]", unsigned):
        return unsigned
    if text.startswith("-"):
        return "−" + unsigned
    return "+" + text if column.signed else text


def exact(value: Value) -> str:
    """A value as programs read it: all of its digits that mean something, missing is empty."""
    if value is None:
        return ""
    return repr(round(value, 6)) if isinstance(value, float) else str(value)


def to_csv(table: Table) -> str:
    """The table with a row of titles, RFC 4180 but for its line ends (LF), values unrounded."""
    rows = [[column.title for column in table.columns], *([exact(value) for value in row] for row in table.rows)]
    return "".join(",".join(map(_csv_field, row)) + "\n" for row in rows)


def to_markdown(table: Table) -> str:
    """The table in the notation of GitHub, figures rounded and to the right."""
    titles = [markdown_text(column.title) for column in table.columns]
    rules = ["---" if is_text(table, position) else "---:" for position in range(len(table.columns))]
    rows = [
        [markdown_text(shown(value, column)) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in (titles, rules, *rows))


def to_text(table: Table) -> str:
    """The table for the terminal, with its title above and its note below."""
    from tabulate import tabulate

    rows = [[shown(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]
    body = tabulate(
        rows,
        [column.title for column in table.columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left" if is_text(table, position) else "right" for position in range(len(table.columns))]
        if rows
        else None,
    )
    return "\n".join(part for part in (table.title, body, table.note) if part)


def is_text(table: Table, position: int) -> bool:
    """Whether a column holds text, to be aligned at its start."""
    return table.columns[position].digits is None and any(isinstance(row[position], str) for row in table.rows)


def best_rows(table: Table, position: int) -> frozenset[int]:
    """The rows with the best value of a column as it is shown; none where fewer than two values differ."""
    column = table.columns[position]
    if column.better is None or column.digits is None:
        return frozenset()
    found = {
        number: round(value, column.digits)
        for number, row in enumerate(table.rows)
        if isinstance(value := row[position], (int, float))
    }
    if len(set(found.values())) < 2:
        return frozenset()
    best = max(found.values()) if column.better == "high" else min(found.values())
    return frozenset(number for number, value in found.items() if value == best)


def file_stem(name: str) -> str:
    """The name of a table or chart as the stem of a file: what file systems and addresses cannot bear becomes `-`."""
    return re.sub(r"[^\w+.-]+", "-", name).lstrip(".-")


def markdown_text(text: str) -> str:
    """Text as it is, in a line of Markdown."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text
