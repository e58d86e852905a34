"""The table of pools for the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hexapla.evaluate.comparability import incomparable
from hexapla.evaluate.comparison import PoolCost, best_positions, comparison_table, direction_table, parameter_count
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


def test_what_differs_without_being_asked_for_is_called_incomparable(tmp_path: Path) -> None:
    greedy = Evaluation(tmp_path / "a").run(Reverser(), pool_name="greedy")
    beam = Evaluation(tmp_path / "b").run(
        Reverser(), pool_name="beam", identity={"pool": "abc", "translate": {"beams": 5}}, spec=EvaluateSpec(limit=1)
    )
    text = comparison_table([greedy, beam], {})
    assert "Not comparable: beam was decoded with other settings than greedy (beams 5 instead of 1)." in text
    assert "Not comparable: beam was measured on other rows of book than greedy, in 4 directions" in text
    asked = comparison_table([greedy, beam], {}, {"beam": {"beams"}})
    assert "decoded with other settings" not in asked
    assert "Decoded differently on purpose: beam (beams 5 instead of 1)" in asked
    assert "Not comparable: beam was measured on other rows" in asked


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
    start = next(number for number, line in enumerate(lines) if line.startswith("---")) + 1
    by_direction = {line.split()[1]: line.split() for line in lines[start : start + 8]}
    assert by_direction["en-fr"] == ["book", "en-fr", "0", "—", "—"]
    assert by_direction["en-de"][-1] == "1"
    assert by_direction["to-hub"][0] == "mean"
    signatures = [line for line in lines if "|" in line]
    assert [line.partition("|")[0] for line in signatures] == ["BLEU", "chrF++"]  # no rate is above zero
    assert signatures[0].startswith("BLEU|nrefs:1|")
    assert signatures[0].endswith(" into de, en, nl")


def partly_wrong(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
    """Copies one sentence and answers another in Spanish."""
    said = {"The train is late today.": "No sé dónde está la estación de trenes."}
    return [
        (position, Said(said.get(text, text if direction.target == "de" else "Where is the station?")))
        for position, (text, direction) in enumerate(requests)
    ]


def test_failure_rates_stand_beside_quality(evaluation: Evaluation) -> None:
    table = evaluation.run(partly_wrong)
    lines = direction_table(table).splitlines()
    assert " copied" in lines[0]
    assert " off-" in lines[0]
    assert lines[1].split()[-1] == "target"
    into_german = next(line.split() for line in lines if line.startswith("book") and " en-de " in line)
    assert f"{table.by_direction('copied')[Direction('en', 'de')]:.1f}" == "66.7"
    assert into_german[-2:] == ["66.7", "100.0"]
    (zero,) = [line for line in lines if line.startswith("0.0 everywhere: ")]
    assert "looping" in zero
    assert "off-target" not in zero
    assert "— everywhere: lost items" in lines
    assert any(line.startswith("off-target: ") and "1 es" in line for line in lines)
    assert any(line.startswith("copied|rule:equals-source") for line in lines)
    assert not any(line.startswith("looping|") for line in lines)


def test_failure_rates_of_pools_by_side(evaluation: Evaluation, tmp_path: Path) -> None:
    wrong = evaluation.run(partly_wrong)
    right = Evaluation(tmp_path / "right").run(perfect, pool_name="right", spec=EvaluateSpec(metrics=("bleu", "empty")))
    lines = comparison_table([wrong, right], {}).splitlines()
    start = lines.index("Failures, % of translations (to-hub / from-hub):")
    header, wrong_cells, right_cells = lines[start + 1].split(), lines[start + 3].split(), lines[start + 4].split()
    assert header[:3] == ["pool", "copied", "off-target"]
    assert wrong_cells[1:4] == ["0.0", "/", f"{wrong.mean('copied', Side.FROM_HUB):.1f}"]
    assert right_cells[0] == "right"
    assert "empty" not in lines[-2]  # it was asked for, and has its columns above
    assert "to-hub empty" in lines[0]
    assert lines[2].split()[3] == lines[3].split()[3] == "0.0"  # measured in both, asked for in one


def test_no_failures_are_named_in_one_line(evaluation: Evaluation) -> None:
    table = replace(evaluation.run(perfect), failures=("looping", "wrong-script"))
    assert comparison_table([table], {}).splitlines()[-1] == "0.0 everywhere: looping, wrong script"
