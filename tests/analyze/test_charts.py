"""Charts: every value is at its place, nothing is markup, each kind has its table, the file stands alone."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hexapla.analyze.charts import draw, standalone
from hexapla.analyze.charts.data import data_table
from hexapla.analyze.charts.matrix import colour
from hexapla.analyze.charts.svg import Scale, element, legend
from hexapla.analyze.clustering import leaf_order
from hexapla.analyze.present import (
    Chart,
    Cloud,
    DotChart,
    Guide,
    LineChart,
    MatricesChart,
    MatrixChart,
    PanelChart,
    Point,
    ProjectionChart,
    ScatterChart,
    Series,
    TreeChart,
)

LINES = LineChart(
    "delta",
    "Δ by languages",
    "languages",
    "Δ",
    (
        Series("to-hub", (Point(4, 0.5, 0.0, 1.0), Point(8, -0.5, -1.0, 0.0), Point(16, -2.0, -3.0, -1.0))),
        Series("from-hub", (Point(4, 1.0), Point(16, 2.0))),
    ),
)
DOTS = DotChart(
    "pools",
    "chrF++",
    "chrF++",
    ("German → English", "French → English"),
    {"base": ((10.0, 8.0, 12.0), None), "dat": ((30.0, 28.0, 33.0), (20.0, None, None))},
)
MATRIX = MatrixChart("cosine", "Cosine", ("a", "b"), ("a", "b", "c"), ((1.0, -0.5, None), (-0.5, 1.0, 0.0)), -1, 1)
TREE = TreeChart("tree", "Tree", ("de", "fr", "nl", "es"), ((0, 2, 0.1), (1, 3, 0.2), (4, 5, 0.7)), "distance")
SCATTER = ScatterChart("scatter", "Δ and cosine", "cosine", "Δ", (Series("to-hub", (Point(0.1, 1, label="de-en"),)),))
CHOICES = LineChart(
    "choices", "chrF++ by base", "base", "chrF++", (Series("dat", (Point(0, 40), Point(1, 20))),), x_names=("a", "b")
)
PANELS = PanelChart(
    "panels",
    "Two measures",
    (
        replace(LINES, series=(LINES.series[0],)),
        replace(LINES, y_label="rate", series=(Series("from-hub", (Point(4, 0.0), Point(16, 0.5))),)),
    ),
)
MATRICES = MatricesChart(
    "systems",
    "Cosine by system",
    "from",
    "to",
    (replace(MATRIX, title="base"), replace(MATRIX, title="aligned", values=((0.5, None, None), (0.0, 0.5, 0.5)))),
)
PICTURE = ProjectionChart(
    "picture",
    "Sentences",
    (
        Cloud("base", "PCA", ((0.0, 0.0, "de", 1), (1.0, 0.0, "fr", 1), (0.0, 2.0, "de", 2), (1.0, 2.0, "fr", 2))),
        Cloud("aligned", "", ((3.0, 1.0, "de", 7),)),
    ),
    2,
    {"de": "de", "fr": "fr"},
)
CHARTS: list[Chart] = [LINES, DOTS, MATRIX, TREE, SCATTER, CHOICES, PANELS, MATRICES, PICTURE]


def parsed(chart: Chart) -> Any:
    return etree.fromstring(standalone(chart).encode("utf-8"))


def hints(picture: Any, tag: str) -> list[str]:
    return picture.xpath(f"//*[local-name()='{tag}']/*[local-name()='title']/text()")


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_a_file_stands_alone_and_says_what_it_is(chart: Chart) -> None:
    text = standalone(chart)
    assert "var(" not in text
    assert "url(" not in text
    picture = parsed(chart)
    assert [picture.xpath(f"string(*[local-name()='{tag}'])") for tag in ("title",)] == [chart.title]
    assert picture.xpath("string(*[local-name()='desc'])")
    ids = picture.xpath("//@id")
    assert [picture.get("aria-labelledby"), picture.get("aria-describedby")] == ids
    inline = draw(chart)
    assert "<style" not in inline
    assert "#" not in re.sub(r"&#\d+;", "", inline)  # its colours are those of the page
    numbers = [float(n) for value in picture.xpath("//@x | //@y | //@cx | //@cy | //@x1 | //@y2") for n in [value]]
    assert all(math.isfinite(number) for number in numbers)


def test_points_stand_where_their_values_are() -> None:
    picture = parsed(LINES)
    circles = picture.xpath("//*[local-name()='circle'][*[local-name()='title']]")
    assert hints(picture, "circle") == [
        "to-hub: 4, 0.50 [0.00, 1.00]",
        "to-hub: 8, −0.50 [−1.00, 0.00]",
        "to-hub: 16, −2.00 [−3.00, −1.00]",
    ]
    x = [float(circle.get("cx")) for circle in circles]
    y = [float(circle.get("cy")) for circle in circles]
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(2.0, abs=0.01)  # 4, 8, 16
    assert (y[2] - y[1]) / (y[1] - y[0]) == pytest.approx(1.5, abs=0.01)  # 0.5, -0.5, -2
    spans = picture.xpath("//*[local-name()='line'][contains(@class, 'span')]")
    assert len(spans) == 3
    assert all(float(span.get("y1")) > mark > float(span.get("y2")) for span, mark in zip(spans, y, strict=True))
    labels = picture.xpath("//*[local-name()='text']/text()")
    assert {"4", "8", "16", "languages", "Δ", "to-hub", "from-hub"} <= set(labels)


def test_named_choices_stand_at_equal_distances_under_their_names() -> None:
    picture = parsed(CHOICES)
    assert hints(picture, "circle") == ["dat: a, 40.00", "dat: b, 20.00"]
    names = {text.text: float(text.get("x")) for text in picture.xpath("//*[local-name()='text']")}
    circles = [float(circle.get("cx")) for circle in picture.xpath("//*[local-name()='circle']")]
    assert circles == [names["a"], names["b"]]
    two = replace(CHOICES, series=(*CHOICES.series, Series("all", (Point(0, 40),))))
    first = float(parsed(two).xpath("//*[local-name()='circle'][*]")[0].get("cx"))
    second = float(re.match(r"M([\d.]+)", parsed(two).xpath("//*[local-name()='path'][*]")[0].get("d"))[1]) + 4
    assert first < circles[0] < second  # side by side around the name
    assert circles[0] - first == pytest.approx(second - circles[0])
    long = replace(CHOICES, x_names=tuple(f"{name}{'x' * 200}" for name in "ab"))
    shown = [text for text in parsed(long).xpath("//*[local-name()='text']/text()") if text.startswith(("ax", "bx"))]
    assert len(shown) == 2
    assert all(text.endswith("x…") for text in shown)


def test_panels_share_the_x_axis_and_have_a_y_axis_each() -> None:
    picture = parsed(PANELS)
    circles = picture.xpath("//*[local-name()='circle'][*]")
    squares = picture.xpath("//*[local-name()='path'][*]")
    assert hints(picture, "path") == ["from-hub: 4, 0.00", "from-hub: 16, 0.50"]
    assert {circle.get("class") for circle in circles} == {"mark s0"}
    assert {square.get("class") for square in squares} == {"mark s1"}
    places = [re.match(r"M([\d.]+) ([\d.]+)", square.get("d")) for square in squares]
    corners = [(float(place[1]) + 4, float(place[2]) + 4) for place in places if place is not None]
    assert [corners[0][0], corners[1][0]] == [float(circles[0].get("cx")), float(circles[2].get("cx"))]
    assert max(float(circle.get("cy")) for circle in circles) < corners[1][1] < corners[0][1]
    labels = picture.xpath("//*[local-name()='text']/text()")
    assert [label for label in labels if label in ("8", "languages", "Δ", "rate")] == ["Δ", "rate", "8", "languages"]
    # what is never negative stands on 0; what is may go below
    axes = {float(line.get("y1")) for line in picture.xpath("//*[local-name()='line'][@class='axis'][@x1!=@x2]")}
    assert corners[0][1] in axes


def test_dots_without_a_value_are_left_out() -> None:
    picture = parsed(DOTS)
    assert hints(picture, "circle") == ["German → English, base: 10.00 [8.00, 12.00]"]
    assert hints(picture, "path") == ["German → English, dat: 30.00 [28.00, 33.00]", "French → English, dat: 20.00"]
    assert len(picture.xpath("//*[contains(@class, 'span')]")) == 2


def test_cells_say_their_value_and_missing_ones_that_they_are() -> None:
    picture = parsed(MATRIX)
    assert hints(picture, "rect") == ["a, a: 1", "a, b: −0.5", "a, c: not measured", "b, a: −0.5", "b, b: 1", "b, c: 0"]
    kinds = picture.xpath("//*[local-name()='rect'][*[local-name()='title']]/@class")
    assert kinds == ["cell up", "cell down", "cell missing", "cell down", "cell up", "cell up"]


def test_colours_are_around_zero_or_from_the_lowest() -> None:
    assert colour(-0.5, -1, 1) == ("down", colour(0.5, -1, 1)[1])
    assert colour(0, -1, 1)[1] == 0
    assert colour(20, 20, 80) == ("up", 0)
    assert colour(80, 20, 80)[1] == pytest.approx(2 * colour(50, 20, 80)[1])
    assert colour(5, 5, 5) == ("up", 0)


def test_branches_of_a_tree_do_not_cross() -> None:
    order = [TREE.leaves[leaf] for leaf in leaf_order(TREE.merges, len(TREE.leaves))]
    assert {tuple(sorted(order[:2])), tuple(sorted(order[2:]))} == {("de", "nl"), ("es", "fr")}
    assert hints(parsed(TREE), "path") == ["distance: 0.1", "distance: 0.2", "distance: 0.7"]
    alone = TreeChart("alone", "", ("a", "b", "c"), ((0, 1, 0.0),), "distance")
    assert sorted(leaf_order(alone.merges, len(alone.leaves))) == [0, 1, 2]
    assert parsed(alone) is not None


@pytest.mark.parametrize(
    ("chart", "titles", "rows"),
    [
        (LINES, ["series", "languages", "Δ", "low", "high"], ("to-hub", 8, -0.5, -1.0, 0.0)),
        (SCATTER, ["series", "label", "cosine", "Δ"], ("to-hub", "de-en", 0.1, 1)),
        (
            DOTS,
            ["", "base", "base low", "base high", "dat", "dat low", "dat high"],
            ("French → English", None, None, None, 20.0, None, None),
        ),
        (MATRIX, ["", "a", "b", "c"], ("a", 1.0, -0.5, None)),
        (CHOICES, ["series", "base", "chrF++"], ("dat", "b", 20)),
        (PANELS, ["panel", "series", "languages", "value", "low", "high"], ("rate", "from-hub", 16, 0.5, None, None)),
        (MATRICES, ["from", "to", "base", "aligned"], ("a", "b", -0.5, None)),
        (PICTURE, ["picture", "of", "row", "x", "y"], ("base", "fr", 2, 1.0, 2.0)),
        (TREE, ["cluster", "of", "and", "distance"], ("cluster 3", "cluster 1", "cluster 2", 0.7)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_chart_has_a_table(chart: Chart, titles: list[str], rows: tuple[Any, ...]) -> None:
    table = data_table(chart)
    assert table.name == chart.name
    assert [column.title for column in table.columns] == titles
    assert rows in table.rows


def test_panels_side_by_side() -> None:
    chart = replace(PANELS, panels=(*PANELS.panels, replace(PANELS.panels[0], y_label="third")), num_columns=2)
    picture = parsed(chart)
    circles = [
        (float(circle.get("cx")), float(circle.get("cy"))) for circle in picture.xpath("//*[local-name()='circle'][*]")
    ]
    squares = [square.get("d") for square in picture.xpath("//*[local-name()='path'][*]")]
    corner = re.match(r"M([\d.]+) ([\d.]+)", squares[0])
    assert corner is not None
    half = float(picture.get("width")) / 2
    assert float(corner[1]) == pytest.approx(half + circles[0][0] - 4, abs=0.02)  # the same x in the right column
    assert circles[0][0] == circles[3][0]  # the third one stands below the first
    assert circles[3][1] - circles[0][1] > 150
    labels = picture.xpath("//*[local-name()='text']/text()")
    assert labels.count("languages") == labels.count("8") == 2  # below the lowest panel of each column


def test_guides_stand_at_their_values_and_in_the_legend() -> None:
    guides = (Guide("aligned", x=8), Guide("chance", y=0.25))
    picture = parsed(replace(LINES, guides=guides))
    lines = picture.xpath("//*[local-name()='line'][@class='guide']")
    in_legend, drawn = lines[:2], lines[2:]
    upright, level = ({name: float(line.get(name)) for name in ("x1", "x2", "y1", "y2")} for line in drawn)
    circles = picture.xpath("//*[local-name()='circle'][*]")
    assert upright["x1"] == upright["x2"] == float(circles[1].get("cx"))
    height = float(circles[0].get("cy")) + 0.25 * (float(circles[1].get("cy")) - float(circles[0].get("cy")))
    assert level["y1"] == level["y2"] == pytest.approx(height, abs=0.02)  # a quarter of the way from 0.5 to −0.5
    assert [line.get("x1") == line.get("x2") for line in in_legend] == [True, False]
    assert {"aligned", "chance"} <= set(picture.xpath("//*[local-name()='text']/text()"))
    far = parsed(replace(LINES, guides=(Guide("far", y=50.0),)))
    assert "40" in far.xpath("//*[local-name()='text']/text()")  # the axis reaches to it


def test_matrices_stand_side_by_side_where_cells_stay_legible() -> None:
    def starts(num_languages: int, num_matrices: int) -> list[tuple[float, float]]:
        names = tuple(f"l{number}" for number in range(num_languages))
        one = MatrixChart("", "of a system", names, names, ((0.5,) * num_languages,) * num_languages, 0, 1)
        picture = parsed(replace(MATRICES, matrices=(one,) * num_matrices))
        cells = picture.xpath("//*[local-name()='rect'][*]")
        assert min(float(cell.get("width")) for cell in cells) > 8
        assert max(float(cell.get("x")) for cell in cells) < float(picture.get("width"))
        return [(float(cell.get("x")), float(cell.get("y"))) for cell in cells[:: num_languages**2]]

    assert len({y for _, y in starts(4, 3)}) == 1
    many = starts(50, 3)
    assert many[0][1] == many[1][1] < many[2][1]
    assert many[0][0] == many[2][0] < many[1][0]
    picture = parsed(MATRICES)
    assert hints(picture, "rect")[6:] == [
        "a, a: 0.5", "a, b: not measured", "a, c: not measured", "b, a: 0", "b, b: 0.5", "b, c: 0.5",
    ]  # fmt: skip
    assert {"base", "aligned", "rows: from; columns: to"} <= set(picture.xpath("//*[local-name()='text']/text()"))


def test_translations_are_linked_at_their_middle() -> None:
    picture = parsed(PICTURE)
    links = [path.get("d") for path in picture.xpath("//*[local-name()='path'][@class='link']")]
    assert len(links) == 2  # a sentence without a translation has none
    places = [tuple(map(float, re.findall(r"[\d.]+", link))) for link in links]
    for middle_x, middle_y, *_ in places:
        assert middle_x == pytest.approx((places[0][2] + places[0][6]) / 2, abs=0.11)
        assert middle_y in (places[0][3], places[1][3])
    assert places[0][1] > places[1][1]  # the first row lies lower
    assert hints(picture, "circle") == ["de, row 1", "de, row 2", "de, row 7"]
    assert hints(picture, "path") == ["fr, row 1", "fr, row 2"]


def test_members_that_the_legend_does_not_name_are_named_where_there_is_room() -> None:
    def names(points: tuple[tuple[float, float, str, int], ...]) -> list[str]:
        kinds = {"de": "Germanic", "nl": "Germanic", "fr": "others"}
        picture = parsed(ProjectionChart("p", "", (Cloud("base", "", points),), 1, kinds))
        assert {"Germanic", "others"} <= set(picture.xpath("//*[local-name()='text']/text()"))
        return picture.xpath("//*[local-name()='text'][contains(@class, 'over')]/text()")

    assert names(((0, 0, "de", 1), (1, 1, "nl", 1), (2, 0, "fr", 1))) == ["de", "nl", "fr"]
    assert names(((0, 0, "de", 1), (0.01, 0, "nl", 1), (2, 0, "fr", 1))) == ["de", "fr"]
    assert parsed(PICTURE).xpath("//*[contains(@class, 'over')]") == []


def test_charts_of_nothing() -> None:
    for chart in (
        LineChart("none", "", "x", "y", ()),
        LineChart("one", "", "x", "y", (Series("a", (Point(1, 1),)),)),
        LineChart("nobody", "", "x", "y", (), x_names=("a",)),
        PanelChart("none", "", (LineChart("none", "", "x", "y", ()),)),
        DotChart("none", "", "x", (), {}),
        DotChart("missing", "", "x", ("a",), {"base": (None,)}),
        MatrixChart("none", "", (), (), (), 0, 1),
        MatrixChart("missing", "", ("a",), ("b",), ((None,),), 0, 1),
        MatricesChart("none", "", "from", "to", ()),
        ProjectionChart("none", "", (), 1, {}),
        ProjectionChart("empty", "", (Cloud("a", "", ()),), 1, {"de": "de"}),
        TreeChart("none", "", (), (), "height"),
    ):
        assert parsed(chart) is not None
        assert data_table(chart).name == chart.name


def test_series_differ_by_shape_too() -> None:
    parts, height = legend([f"series {number}" for number in range(7)], 300)
    shapes = [re.sub(r"[\d.]+|s\d", "", part) for part in parts[::2][:5]]
    assert len(set(shapes)) == 5
    assert height > legend(["a", "b"], 300)[1] > 0
    assert legend(["a"], 300) == ([], 0.0)


@given(text=st.text())
def test_whatever_a_label_is_it_is_text(text: str) -> None:
    found = etree.fromstring(element("text", text, text, kind=text).encode("utf-8", "surrogatepass"))
    assert [child.tag for child in found] == ["title"]
    assert (found[0].text or "") == (found[0].tail or "")


@given(
    values=st.lists(st.floats(-1e6, 1e6), max_size=20),
    start=st.floats(0, 100),
    length=st.floats(1, 1000),
)
def test_a_scale_holds_its_values_and_its_ticks(values: list[float], start: float, length: float) -> None:
    scale = Scale.over(values, start, start + length)
    assert all(start - 1e-6 <= scale(value) <= start + length + 1e-6 for value in values)
    ticks = scale.ticks()
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 14
    assert all(start - 1e-3 <= scale(tick) <= start + length + 1e-3 for tick in ticks)
