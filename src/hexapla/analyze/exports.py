"""Tables and charts as files for people, papers and other programs: a page, Markdown, CSV, SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hexapla.analyze.charts import standalone
from hexapla.analyze.charts.data import data_table
from hexapla.analyze.markdown import to_page
from hexapla.analyze.present import Chart, Section, Table
from hexapla.analyze.rendering import render
from hexapla.analyze.tables import file_stem, to_csv
from hexapla.common.artifacts import write_text


def write_files(folder: Path, tables: Iterable[Table], charts: Iterable[Chart]) -> None:
    """`tables/NAME.csv` and `figures/NAME.svg` for each, and none that an earlier report left there."""
    files = {folder / "tables" / f"{file_stem(table.name)}.csv": to_csv(table) for table in tables}
    files |= {folder / "figures" / f"{file_stem(chart.name)}.svg": standalone(chart) for chart in charts}
    for stale in {*folder.glob("tables/*.csv"), *folder.glob("figures/*.svg")} - set(files):
        stale.unlink()
    for path, text in files.items():
        write_text(path, text)


def write_analysis(folder: Path, title: str, sections: Sequence[Section]) -> None:
    """`analysis.html` and `analysis.md` with all sections, and their tables and figures beside them."""
    items = [item for section in sections for item in section.items]
    tables = [item if isinstance(item, Table) else data_table(item) for item in items]
    write_files(folder, tables, [item for item in items if not isinstance(item, Table)])
    page = render("analysis.html", scripts=("blocks.js", "analysis.js"), tables=tables, title=title, sections=sections)
    write_text(folder / "analysis.html", page)
    write_text(folder / "analysis.md", to_page(title, (), (), sections))
