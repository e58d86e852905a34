"""Tables as CSV, Markdown and text, and the files beside the report."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree, html

from hexapla.analyze.exports import write_analysis
from hexapla.analyze.present import Column, DotChart, Section, Table
from hexapla.analyze.report import RunInfo, write_report
from hexapla.analyze.tables import best_rows, exact, is_text, shown, to_csv, to_markdown, to_text
from hexapla.evaluate.comparison import PoolCost
from hexapla.evaluate.metrics import METRICS
from tests.evaluate.world import Evaluation, Reverser

TABLE = Table(
    "by-group",
    "Δ by group",
    (Column("group"), Column("Δ", 2, signed=True, better="high"), Column("directions", 0)),
    (("germanic", -1.234567891, 1204), ('a|b, "c"\n*d*', 0.5, 2), ("slavic", None, None)),
    "A note.",
)


def test_csv_has_all_digits_and_no_value_for_missing() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows == [
        ["group", "Δ", "directions"],
        ["germanic", "-1.234568", "1204"],
        ['a|b, "c"\n*d*', "0.5", "2"],
        ["slavic", "", ""],
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])), min_size=2, max_size=4))
def test_csv_is_read_back(texts: list[str]) -> None:
    table = Table("t", "", tuple(map(Column, texts)), (tuple(texts),))
    rows = list(csv.reader(io.StringIO(to_csv(table), newline="")))
    assert rows == [texts, texts]


def test_markdown_is_one_line_a_row() -> None:
    assert to_markdown(TABLE) == (
        "| group | Δ | directions |\n"
        "| --- | ---: | ---: |\n"
        "| germanic | −1.23 | 1,204 |\n"
        '| a\\|b, "c" \\*d\\* | +0.50 | 2 |\n'
        "| slavic | — | — |\n"
    )


def test_text_for_the_terminal() -> None:
    lines = to_text(TABLE).splitlines()
    assert lines[0] == "Δ by group"
    assert lines[-1] == "A note."
    assert "germanic  −1.23         1,204" in to_text(TABLE)
    assert to_text(Table("none", "Nothing", (Column("a"),), ())).startswith("Nothing")


@pytest.mark.parametrize(
    ("value", "column", "expected"),
    [
        (0.04, Column("", 1, signed=True), "0.0"),
        (-0.04, Column("", 1), "0.0"),
        (-3, Column("", 0), "−3"),
        (3, Column("", 1, signed=True), "+3.0"),
        (12345, Column(""), "12,345"),
        (1.5, Column(""), "1.5"),
        (None, Column("", 1), "—"),
    ],
)
def test_values_as_people_read_them(value: float | None, column: Column, expected: str) -> None:
    assert shown(value, column) == expected


def test_exact_values_round_nothing_that_matters() -> None:
    assert [exact(value) for value in (None, 3, 0.1 + 0.2, "x")] == ["", "3", "0.3", "x"]


def test_the_best_are_those_that_look_best() -> None:
    columns = (Column("a"), Column("high", 1, better="high"), Column("low", 1, better="low"), Column("any", 1))
    table = Table("t", "", columns, (("x", 1.01, 3.0, 9.0), ("y", 0.99, 2.0, 8.0), ("z", None, 2.04, 7.0)))
    assert [sorted(best_rows(table, position)) for position in range(4)] == [[], [], [1, 2], []]
    assert [is_text(table, position) for position in range(4)] == [True, False, False, False]


def test_beside_the_page_lie_the_same_as_files(tmp_path: Path) -> None:
    tables = [Evaluation(tmp_path / name).run(Reverser(), pool_name=name) for name in ("one", "two")]
    chart = DotChart("../Δ of news/2023", "Δ", "Δ", ("de-en",), {"chrF++": ((1.0, 0.5, 1.5),)}, "How it was made.")
    section = Section("conflict", "Conflict", "How to read it.", (TABLE, chart), ("French was left out.",))
    run = RunInfo("tiny", {}, {}, {}, {}, {"one": PoolCost(1, 2, 3.0)}, {}, warnings=("it *diverged*",))
    write_report(tmp_path, run=run, tables=tables, training={}, merges={}, sections=(section,))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.index("it \\*diverged\\*") < text.index("## Summary") < text.index("## Conflict")
    assert to_markdown(TABLE) in text
    assert "![Δ](figures/%CE%94-of-news-2023.svg)" in text
    assert "French was left out." in text
    assert (tmp_path / "tables" / "by-group.csv").read_text(encoding="utf-8") == to_csv(TABLE)
    assert "1.5" in (tmp_path / "tables" / "Δ-of-news-2023.csv").read_text(encoding="utf-8")
    assert etree.parse(tmp_path / "figures" / "Δ-of-news-2023.svg").getroot().tag.endswith("svg")
    figures = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "figures.csv").read_text(encoding="utf-8"))))
    assert len(figures) == sum(len(entry.figures) for table in tables for entry in table.entries)
    chosen = next(f for f in figures if (f["pool"], f["direction"], f["metric"]) == ("two", "de-en", "chrF++"))
    figure = tables[1].entries[[str(e.direction) for e in tables[1].entries].index("de-en")].figures["chrf++"]
    assert [float(chosen[name]) for name in ("value", "low", "high")] == pytest.approx([figure.value, *figure.interval])
    assert {f["metric"] for f in figures} == {METRICS[name].title for name in (*tables[0].metrics, *tables[0].failures)}
    linked = {part.split(")")[0] for part in text.split("](")[1:]}
    assert all((tmp_path / unquote(link)).is_file() for link in linked)


def test_two_things_of_one_name_are_our_mistake(tmp_path: Path) -> None:
    tables = [Evaluation(tmp_path / "one").run(Reverser())]
    run = RunInfo("t", {}, {}, {}, {}, {}, {})
    twice = Section("twice", "", "", (Table("summary", "", (Column("a"),), ()),))
    with pytest.raises(ValueError, match=r"one name: \['summary'"):
        write_report(tmp_path, run=run, tables=tables, training={}, merges={}, sections=(twice,))
    with pytest.raises(ValueError, match=r"one anchor: \['failures'"):
        write_report(
            tmp_path, run=run, tables=tables, training={}, merges={}, sections=(Section("failures", "", "", ()),)
        )


def test_an_analysis_is_a_page_of_its_own(tmp_path: Path) -> None:
    chart = DotChart("dots", "Δ <by> direction", "Δ", ("de-en",), {"chrF++": ((1.0, 0.5, 1.5),)}, "How it was made.")
    long = Table("pairs", "Pair by pair", (Column("pair", 0),), tuple((number,) for number in range(1001)))
    sections = [
        Section("first", "First", "How to read it.", (TABLE, chart, long), ("French was left out.",)),
        Section("second", "Second", "", (Table("none", "Nothing", (Column("a"),), ()),)),
    ]
    write_analysis(tmp_path, "one & two", sections)
    text = (tmp_path / "analysis.html").read_text(encoding="utf-8")
    page = html.document_fromstring(text)
    assert page.xpath("//h1/text()") == ["one & two"]
    assert page.xpath("//section/@id") == ["first", "second"]
    assert page.xpath("//nav/a/@href") == ["#first", "#second"]
    assert page.xpath("//figure//h3/text()") == ["Δ <by> direction"]
    assert len(page.xpath("//figure//*[local-name()='svg']")) == 1
    assert page.xpath("//ul[@class='notes']/li/text()") == ["French was left out."]
    assert page.xpath("//@src") == []  # nothing is loaded
    assert all(link.startswith("#") for link in page.xpath("//@href"))
    offered = page.xpath("//*[@data-csv]/@data-csv")
    assert offered == ["by-group", "dots", "pairs", "none"]
    island = page.xpath("//script[@id='csv']/text()")[0]
    assert json.loads(gzip.decompress(base64.b64decode(island)))["by-group"] == to_csv(TABLE)
    assert "1,001 lines" in text
    assert len(page.xpath("//tbody/tr")) == len(TABLE.rows) + 1  # and the one behind the chart
    assert len((tmp_path / "tables" / "pairs.csv").read_text(encoding="utf-8").splitlines()) == 1002
    assert (tmp_path / "analysis.md").exists()
    assert (tmp_path / "figures" / "dots.svg").exists()
