"""Settings: the paper's defaults, and faults refused by name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.align.spec import AlignSpec
from hexapla.train.pretrain.spec import PretrainSpec
from hexapla.train.spec import AdapterSpec, BankSpec, DevelopmentSpec, LoraSpec, OptimizerSpec, TrainSpec


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
        (TrainSpec, {"method": "hf"}, "'lora', 'peft' or 'full'"),
        (TrainSpec, {"quantization": "2bit"}, "'none', '8bit' or '4bit'"),
        (TrainSpec, {"micro_batch_tokens": 0}, "greater than or equal to 1"),
        (TrainSpec, {"method": "peft", "adapters": {"de-en": {"rank": 4}}}, "adapters needs method: lora"),
        (TrainSpec, {"method": "peft", "development": {}}, "development needs method: lora"),
        (TrainSpec, {"method": "peft", "quantization": "4bit"}, "quantization needs method: lora"),
        (AdapterSpec, {"rank": 0}, "greater than or equal to 1"),
        (AdapterSpec, {"targets": ["q_proj"]}, "Extra inputs"),
        (DevelopmentSpec, {"every": 0}, "greater than 0"),
        (BankSpec, {"optimizer_states": "disk"}, "'device', 'host' or '8bit'"),
        (BankSpec, {"keep_checkpoints": 0}, "greater than or equal to 1"),
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


OWN = {
    "a": AdapterSpec(rank=4, alpha=7.0, dropout=0.5, lr=1e-4, batch=3, epochs=5),
    "b": AdapterSpec(dropout=0.0),
}


def test_an_adapters_own_settings_are_written_into_the_common_ones() -> None:
    spec = TrainSpec(adapters=OWN, lora=LoraSpec(targets=("q_proj",), dropout=0.1), development=DevelopmentSpec())
    own = spec.of("a")
    assert (own.lora.rank, own.lora.alpha, own.lora.dropout) == (4, 7.0, 0.5)
    assert (own.optimizer.lr, own.batch, own.epochs) == (1e-4, 3, 5)
    assert own.adapters == {}
    back = {"adapters": OWN, "batch": spec.batch, "epochs": spec.epochs}
    assert own.model_copy(update={**back, "lora": spec.lora, "optimizer": spec.optimizer}) == spec
    assert own.lora.targets == ("q_proj",)
    assert own.optimizer.model_copy(update={"lr": 2e-3}) == spec.optimizer
    assert own.of("a") == own


def test_an_override_of_zero_is_one_and_no_override_leaves_everything() -> None:
    spec = TrainSpec(adapters=OWN, lora=LoraSpec(dropout=0.1))
    assert spec.of("b").lora.dropout == 0.0
    assert spec.of("b").model_copy(update={"lora": spec.lora, "adapters": OWN}) == spec
    assert spec.of("c") == spec.model_copy(update={"adapters": {}})


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": "group"},
        {"adapters": {"b": {"rank": 99, "lr": 1.0}}},
        {"bank": {"adapters_at_once": 3}},
        {"bank": {"optimizer_states": "host"}},
        {"bank": {"processes": 2}},
        {"bank": {"keep_checkpoints": 5}},
        {"micro_batch_tokens": 512},
        {"gradient_checkpointing": True},
        {"checkpoint_every_s": 1.0},
    ],
)
def test_what_an_adapter_does_not_depend_on(change: dict[str, object]) -> None:
    assert TrainSpec(**change).outcome("a") == TrainSpec().outcome("a")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "peft"},
        {"adapters": {"a": {"rank": 8}}},
        {"adapters": {"a": {"alpha": 8}}},
        {"adapters": {"a": {"dropout": 0.1}}},
        {"adapters": {"a": {"lr": 1.0}}},
        {"adapters": {"a": {"batch": 8}}},
        {"adapters": {"a": {"epochs": 8}}},
        {"lora": {"rank": 8}},
        {"lora": {"targets": ["q_proj"]}},
        {"optimizer": {"betas": [0.9, 0.99]}},
        {"batch": 8},
        {"epochs": 8},
        {"max_source_tokens": 8},
        {"max_target_tokens": 8},
        {"development": {}},
        {"precision": "bf16"},
        {"quantization": "8bit"},
    ],
)
def test_what_an_adapter_depends_on(change: dict[str, object]) -> None:
    assert TrainSpec(**change).outcome("a") != TrainSpec().outcome("a")


def test_a_setting_counts_whether_it_is_common_or_the_adapters_own() -> None:
    own = TrainSpec(adapters={"a": {"rank": 8, "batch": 4}})
    assert own.outcome("a") == TrainSpec(lora={"rank": 8}, batch=4).outcome("a")
    json.dumps(own.outcome("a"))


def test_every_setting_of_training_is_in_the_outcome_or_known_to_be_neutral() -> None:
    neutral = {
        "strategy", "adapters", "bank", "micro_batch_tokens", "gradient_checkpointing", "checkpoint_every_s",
    }  # fmt: skip
    assert set(TrainSpec().outcome("a")) == (set(TrainSpec.model_fields) - neutral) | {"moments"}
    assert TrainSpec(bank=BankSpec(optimizer_states="8bit")).outcome("a") != TrainSpec().outcome("a")


@pytest.mark.parametrize(
    ("model", "most"),
    [
        (TrainSpec, 17),
        (AlignSpec, 12),
        (PretrainSpec, 12),
        (AlignmentSpec, 12),
        (LoraSpec, 12),
        (OptimizerSpec, 12),
        (AdapterSpec, 12),
        (DevelopmentSpec, 12),
        (BankSpec, 12),
    ],
)
def test_every_field_is_described_and_they_are_few(model: type[TrainSpec], most: int) -> None:
    assert len(model.model_fields) <= most
    assert all(field.description for field in model.model_fields.values())


def test_the_spec_imports_nothing_heavy() -> None:
    heavy = "('torch', 'transformers', 'peft', 'numpy')"
    code = f"import sys, hexapla.train.spec; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
