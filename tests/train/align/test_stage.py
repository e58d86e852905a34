"""The stage that aligns a base: an ordinary base out, the control on the same batches, its summary and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from hexapla.base import Base
from hexapla.common.artifacts import read_json, read_jsonl
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.prompts import get_template
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.spec import AlignOptimizerSpec, AlignSpec
from hexapla.train.align.stage import AlignResult, align_model, summary_of
from hexapla.train.full.trainer import PackedTrainer
from hexapla.train.result import StepRecord
from hexapla.train.spec import LoraSpec
from tests.train.bank.runs import Recorded
from tests.train.full.runs import both_ways, distance, outcome, weights

CONTROL = AlignmentSpec(semantic=0, matching=0)


def _spec(**changes: Any) -> AlignSpec:
    settings: dict[str, Any] = {
        "objectives": AlignmentSpec(matching_width=12),
        "optimizer": AlignOptimizerSpec(lr=2e-3),
        "batch": 8,
        "epochs": 1,
        "micro_batch_tokens": 200,
        "checkpoint_every_s": 1e9,
        **changes,
    }
    return AlignSpec(**settings)


def _align(
    base: Path, spec: AlignSpec, folder: Path, examples: list[Example] | None = None, log: EventLog | None = None
) -> AlignResult:
    return align_model(
        Base(str(base)),
        get_template("alma"),
        spec,
        0,
        examples=list(both_ways().examples) if examples is None else examples,
        folder=folder,
        work=folder.with_suffix(".work"),
        log=log,
        device="cpu",
    )


def test_the_folder_is_a_base_that_says_what_was_done(llama_base: Path, tmp_path: Path) -> None:
    log = Recorded()
    result = _align(llama_base, _spec(epochs=2), tmp_path / "model", log=log)
    assert (result.status, result.num_steps, result.num_examples, result.trainer) == ("finished", 6, 22, "full")
    told = read_json(tmp_path / "model" / "training.json")
    assert told["objectives"] == result.objectives
    records = read_jsonl(tmp_path / "model" / "log.jsonl")
    assert result.objectives["semantic"] == {
        "first": records[0]["objectives"]["semantic"],
        "final": records[-1]["objectives"]["semantic"],
    }
    assert result.objectives["semantic"]["final"] < result.objectives["semantic"]["first"]
    assert set(result.objectives) == {"semantic", "semantic_accuracy", "matching", "matching_accuracy"}
    card = (tmp_path / "model" / "README.md").read_text()
    assert 'language: ["de", "en"]' in card
    assert "Semantic alignment: weight 0.3, temperature 0.1, a step's examples contrasted" in card
    assert weights(tmp_path / "model").keys() == weights(llama_base).keys()
    assert read_json(tmp_path / "model" / "config.json") == read_json(llama_base / "config.json")
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert log.of("train-start")[0]["adapter"] == "align"


def test_the_control_learns_from_the_same_batches(qwen3_base: Path, tmp_path: Path) -> None:
    _align(qwen3_base, _spec(), tmp_path / "aligned")
    control = _align(qwen3_base, _spec(objectives=CONTROL), tmp_path / "control")
    aligned, plain = (read_jsonl(tmp_path / name / "log.jsonl") for name in ("aligned", "control"))
    assert control.objectives == {}
    assert aligned[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-5)
    for field in ("num_input_tokens", "num_target_tokens", "lr"):
        assert [record[field] for record in aligned] == [record[field] for record in plain]
    assert distance(tmp_path / "aligned", tmp_path / "control") > 1e-4
    assert "Aligned at" not in (tmp_path / "control" / "README.md").read_text()


def test_dropout_is_the_same_in_both_passes(qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora = LoraSpec(rank=4, alpha=8, dropout=0.3)
    spec = _spec(lora=lora, micro_batch_tokens=4000, optimizer=AlignOptimizerSpec(lr=0.02))
    result = _align(qwen3_base, spec, tmp_path / "one")
    assert result.trainer == "lora"
    monkeypatch.setattr(PackedTrainer, "_is_one_pass", lambda *_: False)
    _align(qwen3_base, spec, tmp_path / "two")
    assert distance(tmp_path / "two", tmp_path / "one") < 1e-5
    assert distance(tmp_path / "one", qwen3_base) > 1e-2


def test_no_more_examples_than_asked_for(qwen3_base: Path, tmp_path: Path) -> None:
    examples = list(both_ways().examples)
    result = _align(qwen3_base, _spec(examples=9), tmp_path / "model", examples)
    _align(qwen3_base, _spec(examples=9), tmp_path / "turned", examples[::-1])
    assert (result.num_examples, result.num_steps) == (9, 2)
    assert outcome(tmp_path / "model") == outcome(tmp_path / "turned")


def test_a_layer_beyond_the_depth_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no layer 5: the base has 2 blocks") as caught:
        _align(qwen3_base, _spec(objectives=AlignmentSpec(layer=5)), tmp_path / "model")
    assert caught.value.where == "align.objectives.layer"


def test_no_examples_are_told_with_reasons(qwen3_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no row has both sides"):
        _align(qwen3_base, _spec(), tmp_path / "model", [])
    long = [Example(each.id, each.direction, each.source * 9, each.target) for each in both_ways().examples]
    with pytest.raises(UserError, match=r"set aside \(22 source-too-long\)"):
        _align(qwen3_base, _spec(max_tokens=8), tmp_path / "model", long)


def test_summary_of_tenths() -> None:
    records = [StepRecord(n, 1.0, 1.0, 1.0, 1, 1, {"semantic": float(n)} if n > 10 else {}) for n in range(1, 31)]
    assert summary_of(records) == {"semantic": {"first": 11.5, "final": 29.5}}
