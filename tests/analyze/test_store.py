"""Sections come back from the disk as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.analyze.present import (
    Cloud,
    Column,
    DotChart,
    Guide,
    LineChart,
    MatricesChart,
    MatrixChart,
    PanelChart,
    Point,
    ProjectionChart,
    ScatterChart,
    Section,
    Series,
    Table,
    TreeChart,
)
from hexapla.analyze.store import SECTIONS_FILE, read_sections, write_sections
from hexapla.common.errors import CorruptArtifactError

SERIES = (Series("to-hub", (Point(4, -1.5, -2, None, "de-en"), Point(8, 0.25))), Series("none", ()))
SECTIONS = [
    Section(
        "first",
        "First",
        "An intro.",
        (
            Table(
                "t",
                "Table",
                (Column("name"), Column("Δ", 2, signed=True, better="high")),
                (("a", -1.25), ("b", None), ("c", 3)),
                "A note.",
            ),
            LineChart("l", "Lines", "x", "y", SERIES, "n"),
            PanelChart("p", "Panels", (LineChart("l", "", "x", "y", SERIES, "", ("a", "b")),), "n", 2),
            LineChart("g", "Guides", "x", "y", (), guides=(Guide("aligned", x=4), Guide("chance", y=0.5))),
            ScatterChart("s", "Scatter", "x", "y", SERIES),
            DotChart(
                "d", "Dots", "x", ("de-en", "en-de"), {"dat": ((1.0, 0.5, 2.0), None), "all": (None, (1, None, 2))}
            ),
            MatrixChart("m", "Matrix", ("a", "b"), ("c",), ((0.5,), (None,)), -1, 1),
            MatricesChart("ms", "Many", "from", "to", (MatrixChart("", "a", ("a",), ("b",), ((None,),), 0.5, 1),), "n"),
            ProjectionChart("xy", "2-D", (Cloud("base", "", ((0.5, -1.0, "de", 3),)),), 1, {"de": "Germanic"}, "n"),
            TreeChart("tree", "Tree", ("a", "b", "c"), ((0, 1, 0.25), (2, 3, 0.5)), "distance"),
        ),
        ("Something is missing.",),
    ),
    Section("second", "Second", "", ()),
]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_sections(tmp_path, SECTIONS)
    assert read_sections(tmp_path) == SECTIONS


@pytest.mark.parametrize(
    "text",
    [
        "[{}]",
        '[{"anchor": "a", "title": "t", "intro": "", "items": [{"kind": "Pie"}], "notes": []}]',
        '[{"anchor": "a", "title": "t", "intro": "", "items": [{"kind": "Table", "name": "x"}], "notes": []}]',
        '[{"anchor": "a", "title": "t", "intro": "", "items": 7, "notes": []}]',
    ],
)
def test_damage_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / SECTIONS_FILE).write_text(text)
    with pytest.raises(CorruptArtifactError, match=SECTIONS_FILE):
        read_sections(tmp_path)
