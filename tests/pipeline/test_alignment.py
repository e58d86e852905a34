"""Runs that align their base first: AlignX's two stages with its control, and adapters on an aligned base."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hexapla
from hexapla.analyze.representations.stage import System
from hexapla.cli.main import main
from hexapla.common.artifacts import read_json, read_jsonl
from hexapla.pipeline.finished import FinishedRun
from hexapla.pipeline.representations import aligned_layer, read_profiles
from tests.pipeline.world import Finished, run, write_recipe

Capture = pytest.CaptureFixture[str]
TASKS = [
    {"instruction": "Name a color.", "input": "", "output": "Red."},
    {"instruction": "Count the birds.", "input": "two birds", "output": "There are two."},
]


def _alignx(document: dict[str, Any]) -> None:
    """Both stages with general instructions, and the same without the losses that align."""
    folder = Path(document["data"]["train"][0]["path"]).parent
    (folder / "tasks.json").write_text(json.dumps(TASKS), encoding="utf-8")
    document["data"]["instructions"] = {"sources": [{"path": str(folder / "tasks.json"), "language": "en"}]}
    document["align"] = {
        "objectives": {"layer": 1},
        "optimizer": {"lr": 1e-3},
        "batch": 8,
        "epochs": 1,
        "precision": "fp32",
    }
    document["train"] = {
        "strategy": "multilingual",
        "method": "full",
        "optimizer": {"lr": 1e-3},
        "batch": 16,
        "precision": "fp32",
    }
    document["evaluate"] = {"metrics": ["chrf"], "limit": 2}
    document["analyze"] = {"representations": {"rows": 4}}
    document["variants"] = {
        "control": {"align.objectives.semantic": 0, "align.objectives.matching": 0},
        "alignx": {},
    }
    del document["merge"]


@pytest.fixture(scope="module")
def alignx(tmp_path_factory: pytest.TempPathFactory, qwen3_base: Path) -> Finished:
    folder = tmp_path_factory.mktemp("alignx")
    recipe = write_recipe(folder, qwen3_base, _alignx)
    run(recipe, folder / "out")
    return Finished(recipe, folder / "out", qwen3_base)


def test_the_base_before_and_after_alignment_and_the_trained_model_are_pools(alignx: Finished) -> None:
    names = {path.name for path in (alignx.out / "pools").iterdir()}
    assert names == {"base", "control.aligned", "control", "alignx.aligned", "alignx"}
    aligned, trained = (hexapla.Pool.load(alignx.pool(name)) for name in ("alignx.aligned", "alignx"))
    assert aligned.description.base_fingerprint != trained.description.base_fingerprint
    assert not aligned.adapters
    assert aligned.description.provenance["recipe"]["align"]["objectives"]["layer"] == 1


def test_the_losses_that_align_are_in_the_log_of_the_stage_and_of_no_other(alignx: Finished) -> None:
    parts = FinishedRun.load(alignx.out).parts
    losses = read_jsonl(parts["alignx"].folders["models"]["aligned"] / "log.jsonl")
    assert all({"semantic", "matching", "matching_accuracy"} <= set(line["objectives"]) for line in losses)
    for model in (parts["control"].folders["models"]["aligned"], parts["alignx"].folders["models"]["multilingual"]):
        assert not any(line["objectives"] for line in read_jsonl(model / "log.jsonl"))


def test_the_control_sees_the_same_examples_in_the_same_order(alignx: Finished) -> None:
    parts = FinishedRun.load(alignx.out).parts
    logs = [read_jsonl(parts[name].folders["models"]["aligned"] / "log.jsonl") for name in ("control", "alignx")]
    assert [[line["num_target_tokens"] for line in log] for log in logs[:1]] == [
        [line["num_target_tokens"] for line in log] for log in logs[1:]
    ]


def test_instructions_are_trained_on_beside_translation(alignx: Finished) -> None:
    folder = FinishedRun.load(alignx.out).parts["alignx"].folders["models"]["multilingual"]
    num_translations = 12 * 4
    assert read_json(folder / "training.json")["num_examples"] == num_translations + len(TASKS)


def test_seconds_of_a_trained_model_hold_those_of_its_alignment(alignx: Finished) -> None:
    part = FinishedRun.load(alignx.out).parts["alignx"]
    seconds = {name: record["seconds"] for name, record in part.training.items()}
    assert part.costs["alignx.aligned"].seconds == pytest.approx(seconds["aligned"])
    assert part.costs["alignx"].seconds == pytest.approx(seconds["aligned"] + seconds["multilingual"])


def test_the_report_looks_inside_every_model_once(alignx: Finished) -> None:
    table = (alignx.out / "tables" / "representations-summary.csv").read_text(encoding="utf-8")
    for name in ("base", "control.aligned", "control", "alignx.aligned", "alignx"):
        assert f"{name}," in table


@pytest.mark.parametrize(
    ("pools", "said"),
    [(("base", "alignx"), "aligned"), (("alignx.aligned",), "aligned"), (("base", "control"), "looked at")],
)
def test_looking_inside_looks_where_pools_were_aligned(
    pools: tuple[str, ...], said: str, alignx: Finished, tmp_path: Path
) -> None:
    given = [str(alignx.pool(name)) for name in pools]
    words = ["--data", str(alignx.out), "--rows", "4", "--out", str(tmp_path)]
    assert main(["analyze", "representations", *given, *words]) == 0
    with (tmp_path / "tables" / "representations-summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {word for row in rows for word in row["at"].split(", ")} & {"aligned", "looked at"} == {said}
    if said == "aligned":
        assert [row["layer"] for row in rows if "aligned" in row["at"].split(", ")] == ["1"] * len(pools)


def test_what_was_merged_or_is_of_another_depth(alignx: Finished) -> None:
    """A merged pool says where its experts were aligned; of models of several depths no layer is the one."""
    pool = hexapla.Pool.load(alignx.pool("alignx"))
    part = FinishedRun.load(alignx.out).parts["alignx"]
    [measured] = read_profiles({"alignx": part.folders["representations"]["alignx"]})
    merged = replace(pool.description, provenance={"trained": pool.description.provenance})
    system = System("alignx", pool.description.base, replace(pool, description=merged))
    assert aligned_layer([system], [measured]) == 1
    deeper = replace(measured, depth=4)
    base = System("base", pool.description.base)
    assert aligned_layer([base, system], [measured, measured]) == 1
    assert aligned_layer([base, system], [deeper, measured]) is None
    assert aligned_layer([base], [measured]) is None
    foreign = replace(pool.description, provenance={"recipe": "mine.yaml"})
    assert aligned_layer([System("x", base.base, replace(pool, description=foreign))], [measured]) is None


def test_a_second_run_makes_nothing(alignx: Finished) -> None:
    before = alignx.artifacts()
    run(alignx.recipe, alignx.out)
    assert alignx.artifacts() == before


def test_adapters_stand_on_an_aligned_base(tmp_path: Path, qwen3_base: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["align"] = {
            "objectives": {"layer": 0.5, "matching": 0},
            "lora": {"rank": 2},
            "optimizer": {"lr": 1e-3},
            "batch": 24,
            "epochs": 1,
            "precision": "fp32",
        }
        document["train"]["strategy"] = "direction-aware"
        document["evaluate"] = {"metrics": ["chrf"], "limit": 1}

    run(write_recipe(tmp_path, qwen3_base, edit), tmp_path / "out")
    pools = {name: hexapla.Pool.load(tmp_path / "out" / "pools" / name) for name in ("aligned", "direction-aware")}
    assert pools["direction-aware"].adapters
    assert (pools["direction-aware"].folder / "model").is_dir()
    assert pools["direction-aware"].description.base_fingerprint == pools["aligned"].description.base_fingerprint


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"align": {"objectives": {"layer": 3}}}, ("align.objectives.layer", "no layer 3", "2 blocks")),
        ({"align": {"objectives": {"semantic": -0.1}}}, ("align.objectives.semantic", "greater than or equal to 0")),
        ({"align": {"objectives": {"layer": 1.5}}}, ("align.objectives.layer", "at most 1.0")),
        ({"align": {"objectives": {"contrast": 1}}}, ("align.objectives.contrast", "2")),
        ({"languages": ["en"]}, ("languages",)),
    ],
)
def test_what_cannot_be_aligned_is_refused_before_anything_runs(
    tmp_path: Path, qwen3_base: Path, capsys: Capture, edit: dict[str, Any], words: tuple[str, ...]
) -> None:
    recipe = write_recipe(tmp_path, qwen3_base, lambda document: document.update(edit))
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not (tmp_path / "out" / "artifacts").exists()


def test_instructions_without_a_place_are_refused(tmp_path: Path, qwen3_base: Path, capsys: Capture) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["data"]["instructions"] = {"sources": [{"path": "tasks.json"}]}

    recipe = write_recipe(tmp_path, qwen3_base, edit)
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    assert "multilingual" in capsys.readouterr().err


def test_instructions_that_are_not_there_are_missed_before_anything_runs(
    tmp_path: Path, qwen3_base: Path, capsys: Capture
) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["align"] = {}
        document["train"] = {"strategy": "multilingual"}
        document["data"]["instructions"] = {
            "sources": [{"path": "nowhere.json"}],
            "mix": {"unit": "rows", "weights": {"translation": 1, "nowhere": 1}},
        }
        del document["merge"]

    recipe = write_recipe(tmp_path, qwen3_base, edit)
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    assert "nowhere.json" in capsys.readouterr().err
    assert not (tmp_path / "out" / "artifacts").exists()


def test_plan_and_check_speak_of_the_alignment(tmp_path: Path, qwen3_base: Path, capsys: Capture) -> None:
    recipe = write_recipe(tmp_path, qwen3_base, lambda document: document.update({"align": {}}))
    assert main(["plan", str(recipe), "--json"]) == 0
    alignment = json.loads(capsys.readouterr().out)["alignment"]
    assert (alignment["examples"], alignment["steps"]) == (48, 2)
    assert main(["check", str(recipe)]) == 0
    assert "align draws languages together at layer 1 of 2" in capsys.readouterr().out
    idle = ["--set", "align.objectives.semantic=0", "--set", "align.objectives.matching=0"]
    assert main(["check", str(recipe), *idle, "--set", "align.objectives.layer=99"]) == 0
    assert "draws languages together" not in capsys.readouterr().out
