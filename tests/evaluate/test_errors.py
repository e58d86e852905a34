"""Errors that a metric finds in translations: kept beside the scores, read where there are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hexapla.cli.main import main
from hexapla.evaluate.compare import compare
from hexapla.evaluate.compare_files import material_of
from hexapla.evaluate.metrics import MetricSettings, comet
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.neural import load_scorer
from hexapla.neural.spec import NeuralSpec
from hexapla.neural.xcomet import XcometScorer
from tests.evaluate.world import Evaluation, Reverser

FIXTURES = Path(__file__).parents[1] / "neural" / "fixtures"
MODELS = {"xcomet-xl": str(FIXTURES / "xcomet-errors"), "cometkiwi22": str(FIXTURES / "unified-softmax")}
NEURAL = {"models": MODELS, "tokenizer": str(FIXTURES / "encoder"), "precision": "fp32"}
EN_DE = Direction("en", "de")


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    comet.release_scorers()


def measured(evaluation: Evaluation, *metrics: str) -> ScoreTable:
    spec = EvaluateSpec(metrics=metrics, neural=NeuralSpec(**NEURAL))
    return evaluation.run(Reverser(), spec=spec)


def test_errors_are_kept_beside_the_scores_that_they_are_weighed_into(evaluation: Evaluation) -> None:
    table = measured(evaluation, "chrf++", "cometkiwi22", "xcomet-xl")
    scorer = load_scorer(MODELS["xcomet-xl"], tokenizer=NEURAL["tokenizer"], precision="fp32", device="cpu")
    assert isinstance(scorer, XcometScorer)
    total = 0
    for direction in (EN_DE, Direction("nl", "en")):
        segments = table.segments("book", direction)
        texts = [[segment[side] for segment in segments] for side in ("source", "hypothesis", "reference")]
        for segment, errors in zip(segments, scorer.find_errors(*texts), strict=True):
            assert segment["errors"] == {
                "xcomet-xl": [
                    {
                        "text": error.text,
                        "severity": error.severity,
                        "start": error.start,
                        "end": error.end,
                        "confidence": round(error.confidence, 4),
                    }
                    for error in errors
                ]
            }
            total += len(errors)
    assert total > 10


def test_nothing_is_encoded_twice(evaluation: Evaluation) -> None:
    measured(evaluation, "xcomet-xl")
    found = comet._shared_scorer.cache_info()
    assert found.misses == 1
    spec = MetricSettings(neural=NeuralSpec(**NEURAL))
    scorer = comet.XcometXl("de", spec)._scorer()
    assert comet._shared_scorer.cache_info().misses == 1
    assert scorer.num_encoded == 3 * 10  # the passes of ten segments


def test_without_such_a_metric_nothing_is_written_of_errors(evaluation: Evaluation) -> None:
    table = measured(evaluation, "chrf++", "cometkiwi22")
    assert [set(segment) & {"errors"} for segment in table.segments("book", EN_DE)] == [set()] * 3


def test_scores_with_errors_and_without_are_compared(evaluation: Evaluation, tmp_path: Path) -> None:
    new = measured(evaluation, "xcomet-xl")
    old = measured(Evaluation(tmp_path / "old"), "xcomet-xl")
    for file in old.folder.glob("segments/*/*.jsonl"):
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert all(record.pop("errors") for record in records)
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    assert ScoreTable.load(old.folder).segments("book", EN_DE)[0]["hypothesis"] == "station? the is Where"
    comparison = compare(material_of([old.folder, new.folder]), num_segments_shown=1)
    assert "xcomet-xl" in str(comparison)


def test_score_prints_them_as_json_and_nothing_of_them_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"hyp": "Hallo Welt.\n\nDer Zug fährt heute nicht ab.\n", "ref": "a\nb\nc\n", "src": "a\nb\nc\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [part for name in texts for part in (f"--{name}", str(tmp_path / name))]
    settings = [
        part
        for name, value in (("precision", "fp32"), ("tokenizer", NEURAL["tokenizer"]))
        for part in ("--set", f"neural.{name}={value}")
    ]
    settings += ["--set", f"neural.models.xcomet-xl={MODELS['xcomet-xl']}"]
    command = ["score", *files, "--to", "de", "--metric", "chrf++,xcomet-xl", *settings]
    assert main([*command, "--json"]) == 0
    chrf, xcomet = json.loads(capsys.readouterr().out)
    assert chrf["errors"] is None
    assert [bool(errors) for errors in xcomet["errors"]] == [True, False, True]
    [first, *_] = xcomet["errors"][0]
    assert set(first) == {"text", "severity", "start", "end", "confidence"}
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[0] for line in lines] == ["chrF++", "xCOMET-XL"]
