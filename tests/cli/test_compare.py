"""`hexapla compare` as it is typed: files, folders of scores, JSON, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from hexapla.cli.main import main
from tests.evaluate.test_compare import WORDS, Noisy, measured

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Arguments that compare two systems, of which the second is better."""
    chance = random.Random(5)
    references = [" ".join(chance.choices(WORDS, k=8)) for _ in range(40)]
    texts = {"ref": references, "src": [f"source {number}" for number in range(40)]}
    for name, errors in (("worse", 0.4), ("better", 0.1)):
        texts[name] = [
            " ".join("x" if chance.random() < errors else word for word in line.split()) for line in references
        ]
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    given = {name: str(tmp_path / name) for name in texts}
    return [given["worse"], given["better"], "--ref", given["ref"], "--src", given["src"], "--to", "German"]


def test_two_files(files: list[str], capsys: Capture) -> None:
    assert main(["compare", *files, "--metric", "chrf", "--segments", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("A  worse (baseline)\nB  better\n\nchrF, B against A\n")
    (line,) = [line for line in printed.splitlines() if line.startswith("into de  ")]
    assert line.rstrip().endswith("0.0001      0.0001  better")
    assert printed.count("    reference  ") == 2
    assert "ar:10000|seed:12345" in printed
    assert "chrF|nrefs:1|" in printed


def test_json_has_everything_unrounded(files: list[str], capsys: Capture) -> None:
    assert main(["compare", *files, "--metric", "bleu", "--test", "bootstrap", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["systems"] == ["worse", "better"]
    assert record["procedure"] == "bs:1000|seed:12345"
    (direction,) = record["metrics"][0]["directions"]
    difference = direction["contrasts"][0]["difference"]
    assert difference["value"] == pytest.approx(direction["figures"][1]["value"] - direction["figures"][0]["value"])
    assert difference["value"] != round(difference["value"], 6)
    assert difference["p_value"] == pytest.approx(1 / 1001)
    assert len(record["segments"]) == 3


def test_two_folders_of_scores(tmp_path: Path, capsys: Capture) -> None:
    for name, errors in (("poor", 0.5), ("good", 0.1)):
        measured(tmp_path / name, name, Noisy(errors))
    capsys.readouterr()
    folders = [str(tmp_path / name / "scores") for name in ("poor", "good")]
    assert main(["compare", *folders, "--metric", "bleu", "--segments", "0"]) == 0
    printed = capsys.readouterr().out
    assert "mean of 4 " in printed
    assert "mean of 2 to-hub" in printed
    assert "B is better than A in 4 of 4, significantly in 4; worse in 0, significantly in 0." in printed
    assert "differ most" not in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--segments", "-1"], "--segments is -1. Give 0 or more."),
        (["--metric", "blue"], "There is no metric 'blue'. Did you mean 'bleu'"),
        (["--to", "Elvish"], "Elvish"),
    ],
)
def test_what_is_wrong_is_said_in_one_paragraph(
    files: list[str], capsys: Capture, change: list[str], message: str
) -> None:
    assert main(["compare", *files, *change]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("hexapla: ")
    assert message in errors
    assert errors.count("\n") == 1
