"""The section on differences says what the comparison found."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.analyze.differences import differences_section
from hexapla.analyze.present import Table
from hexapla.evaluate.compare import compare
from hexapla.evaluate.compare_material import material_of_tables
from hexapla.languages import Direction
from hexapla.plan import Side
from tests.evaluate.world import Evaluation, Reverser, Said


def perfect(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
    return [(position, Said("Where is the station?")) for position in range(len(requests))]


def test_means_and_tallies_are_those_of_the_comparison(tmp_path: Path) -> None:
    tables = [
        Evaluation(tmp_path / "a").run(Reverser(), pool_name="shared"),
        Evaluation(tmp_path / "b").run(perfect, pool_name="dat"),
    ]
    section = differences_section(tables)
    means, tallies = section.items
    assert isinstance(means, Table)
    assert isinstance(tallies, Table)
    found = {(row[0], row[1]): dict(zip([c.title for c in means.columns], row, strict=True)) for row in means.rows}
    comparison = compare(material_of_tables(tables), num_segments_shown=0)
    chrf = next(metric for metric in comparison.metrics if metric.metric == "chrf++")
    to_hub = next(mean for mean in chrf.means if mean.side is Side.TO_HUB)
    row = found["chrF++", "to-hub"]
    difference = to_hub.contrasts[0].difference
    assert difference is not None
    assert row["shared"] == pytest.approx(tables[0].mean("chrf++", Side.TO_HUB))
    assert row["pool's figure"] == to_hub.figures[1].value
    assert (row["difference"], row["p"]) == (difference.value, difference.p_value)
    assert row["from"] < row["difference"] < row["to"]
    assert section.title == "Differences to shared"
    lines = {row[0]: row[1:] for row in tallies.rows}
    assert sum(lines["chrF++"][position] for position in (1, 3, 5)) == 4  # better, worse, equal: the four directions
    assert "looping" not in lines
    assert any("looping" in note for note in section.notes)
