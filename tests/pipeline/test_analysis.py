"""The analysis of a run: what is trained for it, where it stands, and that it is made again without the base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hexapla.analyze.store import read_sections
from hexapla.cli.main import main
from hexapla.common.artifacts import read_json
from hexapla.evaluate.scores import ScoreTable
from tests.pipeline.world import Finished, files_of, run, write_recipe

Capture = pytest.CaptureFixture[str]


def with_conflict(document: dict[str, Any]) -> None:
    document["train"]["strategy"] = ["direction-aware"]
    del document["merge"]
    document["analyze"] = {"conflict": {"languages": [2]}}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory, qwen3_base: Path) -> Path:
    """A run that asks for the analysis of conflict and synergy."""
    folder = tmp_path_factory.mktemp("conflict")
    run(write_recipe(folder, qwen3_base, with_conflict), folder / "out")
    return folder / "out"


def test_the_pools_that_the_analysis_needs_are_trained_and_measured(analysed: Path) -> None:
    pools = {path.name for path in (analysed / "pools").iterdir()}
    assert pools == {"base", "direction-aware", "multilingual", "separate", "multilingual@2"}
    small = ScoreTable.load(analysed / "scores" / "multilingual@2")
    assert [str(direction) for direction in small.directions] == ["en-de", "de-en"]
    adapters = {path.name.removeprefix("adapter-").rpartition("-")[0] for path in analysed.glob("artifacts/adapter-*")}
    assert adapters == {"all", "de-en", "nl-en", "en-de", "en-nl", "en-west", "de+en"}


def test_the_comparison_holds_the_pools_that_were_asked_for(analysed: Path) -> None:
    lines = (analysed / "comparison.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["base", "direction-aware"]
    assert "separate" not in "\n".join(lines)


def test_the_analysis_has_its_sections_and_stands_in_the_report(analysed: Path) -> None:
    (folder,) = analysed.glob("artifacts/analysis-*")
    anchors = [section.anchor for section in read_sections(folder)]
    assert anchors[:2] == ["conflict", "conflict-bleu-test"]
    assert "paper-tables" in anchors
    assert any(anchor.startswith("explanations-chrf++") for anchor in anchors)
    assert any(anchor.startswith("geometry-separate") for anchor in anchors)
    report = (analysed / "report.html").read_text(encoding="utf-8")
    for anchor in anchors:
        assert f'id="{anchor}"' in report
    assert (analysed / "tables" / "conflict-by-side.csv").is_file()
    assert (analysed / "report.md").read_text(encoding="utf-8").count("Conflict and synergy") >= 1


def test_the_report_is_written_again_with_the_same_bytes(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    copied = finished.copied(tmp_path / "out").out
    before = {
        name: content for name, content in files_of(copied).items() if name.startswith(("report", "tables", "comp"))
    }
    for name in before:
        (copied / name).unlink()
    capsys.readouterr()
    assert main(["report", str(copied)]) == 0
    assert capsys.readouterr().out.startswith(before["comparison.txt"].decode())
    after = files_of(copied)
    assert {name: after[name] for name in before} == before


def test_any_run_can_be_analysed_afterwards(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    copied = finished.copied(tmp_path / "out").out
    assert main(["analyze", str(copied)]) == 0
    printed = capsys.readouterr().out
    assert "Differences to direction-aware" in printed
    assert "Mean Δ of every pool" in printed
    for again in (["report", str(copied)], ["run", str(finished.recipe), "--out", str(copied)]):
        assert 'id="conflict"' in (copied / "report.html").read_text(encoding="utf-8")
        assert main(again) == 0  # what was analysed stays in the report
    assert 'id="conflict"' in (copied / "report.html").read_text(encoding="utf-8")


def test_pools_of_several_runs_are_compared(
    finished: Finished, analysed: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["analyze", str(finished.out), str(analysed), "--out", str(tmp_path / "both")]) == 0
    assert "out/separate" in capsys.readouterr().out
    assert "multilingual@2" in (tmp_path / "both" / "analysis.md").read_text(encoding="utf-8")
    assert (tmp_path / "both" / "tables" / "conflict-by-side.csv").is_file()


def test_what_is_no_finished_run_is_refused(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    for command in ("report", "analyze"):
        assert main([command, str(tmp_path)]) == 2
        assert "no finished run" in capsys.readouterr().err
    copied = finished.copied(tmp_path / "out").out
    record = read_json(copied / "run.json")
    del record["parts"]
    (copied / "run.json").write_text(json.dumps(record))
    assert main(["report", str(copied)]) == 2
    assert "run.json: A field is missing" in capsys.readouterr().err
