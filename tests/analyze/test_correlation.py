"""Correlations and their permutation tests against scipy's, by hand, and the section on Δ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.analyze.correlation import (
    NUM_PERMUTATIONS,
    Correlation,
    Feature,
    explanations,
    pearson,
    resource_feature,
    spearman,
)
from hexapla.analyze.present import ScatterChart, Table
from hexapla.languages import Direction
from hexapla.plan import Layout
from tests.analyze.adapters import LAYOUT

# Six pairs with equal values, and twelve without; statistics by scipy 1.17.1 (stats.pearsonr, stats.spearmanr).
X, Y = [3.1, 2.0, 2.0, 5.5, 4.2, 0.3], [-0.2, 0.4, 0.1, -1.3, -0.9, 0.4]
LONG_X = [0.07, 0.12, 0.05, 0.30, 0.22, 0.18, 0.09, 0.27, 0.15, 0.11, 0.02, 0.25]
LONG_Y = [1.2, 0.3, 0.9, -0.8, 0.1, -0.2, 0.8, -0.1, -0.6, 0.7, 0.4, -0.5]


def test_few_points_as_scipy_over_all_orders() -> None:
    # p: share of the 720 orders with |statistic| no less than the observed one, each statistic by scipy
    assert pearson(X, Y) == Correlation(pytest.approx(-0.9491359075404353), pytest.approx(4 / 720))
    assert spearman(X, Y) == Correlation(pytest.approx(-0.9558823529411764), pytest.approx(8 / 720))


def test_more_points_as_scipy() -> None:
    # p: scipy's stats.permutation_test with 99,999 random pairings
    for found, value, p in (
        (pearson(LONG_X, LONG_Y), -0.7885383867864448, 0.00354),
        (spearman(LONG_X, LONG_Y), -0.8181818181818183, 0.00212),
    ):
        assert found.value == pytest.approx(value)
        assert found.p == pytest.approx(p, abs=0.0015)


def test_three_points_by_hand() -> None:
    # in order; of the 6 orders only this one and its reverse are as extreme
    assert pearson([1, 2, 3], [10, 20, 30]) == Correlation(pytest.approx(1.0), pytest.approx(2 / 6))


def test_the_smallest_p_is_one_order() -> None:
    line = [float(k) for k in range(30)]
    assert pearson(line, line).p == 1 / (NUM_PERMUTATIONS + 1)


def test_p_follows_from_the_seed() -> None:
    assert pearson(LONG_X, LONG_Y, seed=3) == pearson(LONG_X, LONG_Y, seed=3)
    assert len({pearson(LONG_X, LONG_Y, seed=seed).p for seed in range(5)}) > 1


@pytest.mark.parametrize(("x", "y"), [([], []), ([1, 2], [3, 5]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3], [7, 7, 7])])
def test_where_it_is_not_defined(x: list[float], y: list[float]) -> None:
    assert pearson(x, y) == spearman(x, y) == Correlation(None, None)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=6))
def test_ranks_do_not_depend_on_the_scale(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = spearman(x, y)
    assert spearman([a**3 + a for a in x], [5 - b for b in y]) == Correlation(
        None if found.value is None else pytest.approx(-found.value),
        None if found.p is None else pytest.approx(found.p),
    )


def to_hub(values: dict[str, float | None]) -> dict[Direction, float | None]:
    return {Direction(code, "en"): value for code, value in values.items()}


DELTAS = to_hub({"de": -1.0, "nl": -0.5, "es": 0.5, "pt": 1.0, "uk": None}) | {
    Direction("en", "de"): 2.0,
    Direction("en", "nl"): 1.0,
}
COSINE = Feature(
    "cosine", "mean cosine", to_hub({"de": 0.4, "nl": 0.3, "es": 0.2, "pt": 0.1, "uk": 0.9}), "Of the adapter."
)
SIZE = Feature("size", "size", dict.fromkeys(DELTAS, 4.0), "All equal.")


def test_the_section() -> None:
    section = explanations(DELTAS, [COSINE, SIZE], LAYOUT, metric="chrf")
    table, *charts = section.items
    assert isinstance(table, Table)
    rows = {row[:2]: row[2:] for row in table.rows}
    p = 2 / 24
    first = rows["to-hub", "mean cosine"]
    assert first[:2] == (4, pytest.approx(-1))  # uk has no Δ
    assert first[2:4] == (pytest.approx(p), pytest.approx(p))  # the only test in its family
    assert first[4] == pytest.approx(pearson([0.4, 0.3, 0.2, 0.1], [-1, -0.5, 0.5, 1]).value)
    assert ("from-hub", "mean cosine") not in rows  # no such direction has one
    assert ("both sides", "mean cosine") not in rows
    assert rows["to-hub", "size"] == (4, *[None] * 6)  # constant: missing, not 0
    assert (rows["from-hub", "size"][0], rows["both sides", "size"][0]) == (2, 6)
    assert [chart.name for chart in charts] == ["explanations-chrf-cosine", "explanations-chrf-size"]
    scatter = charts[0]
    assert isinstance(scatter, ScatterChart)
    assert [series.name for series in scatter.series] == ["to-hub"]
    assert [(p.label, p.x, p.y) for p in scatter.series[0].points][:2] == [("de-en", 0.4, -1.0), ("nl-en", 0.3, -0.5)]


def test_holm_counts_every_test_of_a_column() -> None:
    twin = Feature("twin", "twin", COSINE.values, "The same.")
    weak = Feature("weak", "weak", to_hub({"de": 0.4, "nl": 0.1, "es": 0.2, "pt": 0.3}), "Another.")
    table = explanations(DELTAS, [COSINE, twin, weak, SIZE], LAYOUT, metric="bleu").items[0]
    assert isinstance(table, Table)
    rows = {row[1]: row for row in table.rows if row[0] == "to-hub"}
    assert rows["mean cosine"][4:6] == (pytest.approx(2 / 24), pytest.approx(3 * 2 / 24))
    assert rows["twin"][5] == pytest.approx(3 * 2 / 24)
    assert rows["weak"][4] == rows["weak"][5]  # the largest p of three is not raised


def test_both_sides_together_tell_what_differs_between_them() -> None:
    deltas = {
        Direction("de", "en"): -2.0,
        Direction("nl", "en"): -1.0,
        **{d: DELTAS[d] for d in DELTAS if d.source == "en"},
    }
    repetition = Feature(
        "r", "repetition", {d: 18.0 if d.target == "en" else 1.0 for d in deltas}, "Of multi-way rows."
    )
    table = explanations(deltas, [repetition], LAYOUT, metric="chrf").items[0]
    assert isinstance(table, Table)
    rows = {row[0]: row for row in table.rows}
    assert rows["to-hub"][3] is rows["from-hub"][3] is None
    assert rows["both sides"][3] == pytest.approx(-0.8944271909999159)  # scipy 1.17.1, stats.spearmanr
    assert rows["both sides"][4] == pytest.approx(8 / 24)  # the two sides may each be turned round, and swapped


def test_sections_of_several_pools_have_names_of_their_own() -> None:
    sections = [explanations(DELTAS, [COSINE], LAYOUT, metric="chrf", pool=pool) for pool in (None, "group")]
    names = [section.anchor for section in sections] + [item.name for section in sections for item in section.items]
    assert names.count("explanations-chrf-group") == 2  # its anchor and its table
    assert "explanations-chrf-group-cosine" in names
    assert sections[1].items[0].title == "Correlation with Δ chrF of group"


def test_a_feature_without_values_is_told() -> None:
    section = explanations(DELTAS, [Feature("f", "nothing known", {}, "None.")], LAYOUT, metric="chrf")
    assert section.items == ()
    assert "nothing known" in section.notes[0]


def test_directions_between_hubs_are_left_out() -> None:
    layout = Layout(("en", "zh", "de", "nl", "es"), ("en", "zh"), {"west": ("de", "nl", "es")})
    deltas = {direction: float(k) for k, direction in enumerate(layout.directions)}
    feature = Feature("f", "f", dict(deltas), "Itself.")
    table, chart = explanations(deltas, [feature], layout, metric="chrf").items
    assert isinstance(table, Table)
    assert isinstance(chart, ScatterChart)
    assert [row[:3] for row in table.rows] == [("to-hub", "f", 6), ("from-hub", "f", 6), ("both sides", "f", 12)]
    assert {"en-zh", "zh-en"}.isdisjoint(point.label for series in chart.series for point in series.points)


def test_resource_level_is_of_the_language_that_is_no_hub() -> None:
    layout = Layout(("en", "zh", "de", "ace"), ("en", "zh"), {"all_others": ("de", "ace")})
    values = resource_feature(layout.directions, layout).values
    assert values[Direction("de", "zh")] == values[Direction("en", "de")] == 3
    assert values[Direction("ace", "en")] == 1
    assert Direction("en", "zh") not in values
