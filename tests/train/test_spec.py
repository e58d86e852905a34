"""Settings: the paper's defaults, and faults refused by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from hexapla.train.spec import LoraSpec, OptimizerSpec, TrainSpec


def test_defaults_are_those_of_dat() -> None:
    spec = TrainSpec()
    assert (spec.lora.rank, spec.lora.targets) == (16, "all-linear")
    assert (spec.optimizer.lr, spec.optimizer.schedule, spec.optimizer.warmup) == (2e-3, "inverse-sqrt", 0.01)
    assert (spec.optimizer.weight_decay, spec.batch, spec.epochs) == (0.01, 128, 1)
    assert (spec.max_source_tokens, spec.max_target_tokens) == (512, 512)
    assert spec.strategies == ("direction-aware",)


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (TrainSpec, {"strategy": "direction-awar"}, "Did you mean 'direction-aware'"),
        (TrainSpec, {"strategy": []}, "at least one strategy"),
        (TrainSpec, {"strategy": ["group", "group"]}, "named twice"),
        (TrainSpec, {"batch": 0}, "greater than or equal to 1"),
        (TrainSpec, {"bacth": 8}, "Extra inputs"),
        (TrainSpec, {"precision": "fp16"}, "'auto', 'fp32' or 'bf16'"),
        (LoraSpec, {"rank": 0}, "greater than or equal to 1"),
        (LoraSpec, {"targets": "q_proj"}, "a list of layer names"),
        (LoraSpec, {"targets": []}, "at least one layer name"),
        (LoraSpec, {"dropout": 1.0}, "less than 1"),
        (OptimizerSpec, {"lr": 0}, "greater than 0"),
        (OptimizerSpec, {"betas": [0.9, 1.0]}, "below 1"),
        (OptimizerSpec, {"schedule": "linear"}, "'inverse-sqrt', 'cosine' or 'constant'"),
    ],
)
def test_faults_are_refused(model: type, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model(**fields)


def test_a_list_of_strategies_and_of_targets() -> None:
    spec = TrainSpec(strategy=("multilingual", "group"), lora=LoraSpec(targets=("v_proj", "q_proj", "q_proj")))
    assert spec.strategies == ("multilingual", "group")
    assert spec.lora.targets == ("q_proj", "v_proj")


@pytest.mark.parametrize("model", [TrainSpec, LoraSpec, OptimizerSpec])
def test_every_field_is_described_and_they_are_few(model: type[TrainSpec]) -> None:
    assert len(model.model_fields) <= 12
    assert all(field.description for field in model.model_fields.values())


def test_the_spec_imports_nothing_heavy() -> None:
    heavy = "('torch', 'transformers', 'peft', 'numpy')"
    code = f"import sys, hexapla.train.spec; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
