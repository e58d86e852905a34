"""The table of pools for the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.evaluate.comparison import PoolCost, best_positions, comparison_table, direction_table, parameter_count
from hexapla.evaluate.scores import incomparable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Side
from tests.evaluate.world import Evaluation, Reverser, Said


def perfect(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
    return [(position, Said("Where is the station?")) for position in range(len(requests))]


def test_best_is_starred_and_missing_is_a_dash(tmp_path: Path) -> None:
    base = Evaluation(tmp_path / "base").run(Reverser(), pool_name="base")
    dat = Evaluation(tmp_path / "dat").run(perfect, pool_name="dat")
    text = comparison_table([base, dat], {"dat": PoolCost(3, 62_600_000, 12.4)})
    lines = text.splitlines()
    assert "to-hub BLEU" in lines[0]
    assert "from-hub chrF++" in lines[0]
    base_cells, dat_cells = lines[2].split(), lines[3].split()
    assert dat_cells[0] == "dat"
    assert dat_cells[1] == f"*{dat.mean('bleu', Side.TO_HUB):.1f}"
    assert dat_cells[-4:] == ["3", "62.6", "M", "12"]
    assert base_cells[-3:] == ["—", "—", "—"]
    assert not incomparable([base, dat])


def test_different_settings_are_called_incomparable(tmp_path: Path) -> None:
    greedy = Evaluation(tmp_path / "a").run(Reverser(), pool_name="greedy")
    beam = Evaluation(tmp_path / "b").run(
        Reverser(), pool_name="beam", identity={"pool": "abc", "translate": {"beams": 5}}, spec=EvaluateSpec(limit=1)
    )
    text = comparison_table([greedy, beam], {})
    assert "Not comparable: greedy and beam were decoded with different settings." in text
    assert "different rows of book" in text


@pytest.mark.parametrize(
    ("values", "higher", "best"),
    [
        ([1.0, 2.0, None], True, {1}),
        ([1.0, 2.0], False, {0}),
        ([1.01, 1.04], True, set()),
        ([None, 3.0], True, set()),
        ([2.0, 2.02, 1.0], True, {0, 1}),
    ],
)
def test_best_as_shown(values: list[float | None], higher: bool, best: set[int]) -> None:
    assert best_positions(values, higher_is_better=higher) == best


def test_parameter_counts_read_well() -> None:
    assert [parameter_count(n) for n in (0, 999, 36_864, 62_586_880, 3_567_452_160)] == [
        "0",
        "999",
        "36.9 K",
        "62.6 M",
        "3.57 B",
    ]


def test_table_of_directions_shows_missing_means_and_signatures(evaluation: Evaluation) -> None:
    def translate(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
        return [(position, Said("x", "loop" if position == 0 else "stop")) for position in range(len(requests))]

    lines = direction_table(evaluation.run(translate)).splitlines()
    by_direction = {line.split()[1]: line.split() for line in lines[2:] if not line.startswith(("BLEU", "chrF"))}
    assert by_direction["en-fr"] == ["book", "en-fr", "0", "—", "—"]
    assert by_direction["en-de"][-1] == "1"
    assert by_direction["to-hub"][0] == "mean"
    assert lines[-4].startswith("BLEU|nrefs:1|")
    assert lines[-4].endswith(" into de, en, nl")
