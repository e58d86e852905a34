"""Costs against the published sizes of DAT and against what a real adapter has."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.adapter import read_adapter
from hexapla.base import Base, load_config
from hexapla.train.cost import TrainingCost, estimate_tokens
from hexapla.train.spec import LoraSpec, TrainSpec
from tests.train.material import JOB, examples, train_spec, trainer


def _llama_2_13b() -> TrainingCost:
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
        tie_word_embeddings=False,
    )
    return TrainingCost(config, TrainSpec())


def test_llama_2_13b_has_dats_sizes() -> None:
    cost = _llama_2_13b()
    assert cost.num_adapter_parameters == 62_586_880
    assert round(cost.num_adapter_parameters * 57 / 1e9, 2) == 3.57
    assert round(cost.num_adapter_parameters * 16 / 1e9, 2) == 1.00
    assert cost.num_base_parameters == 13_015_864_320


def test_llama_2_13b_flops_and_memory() -> None:
    cost = _llama_2_13b()
    # N = all weights but the input embedding and the norms: 12.85 G; 4·N + 6·P a token.
    assert cost.flops(1) == pytest.approx(4 * 12.85e9 + 6 * 62.6e6, rel=1e-3)
    checkpointed = TrainingCost(cost.config, TrainSpec(gradient_checkpointing=True))
    assert checkpointed.flops(1) > 1.4 * cost.flops(1)
    assert checkpointed.memory_bytes < cost.memory_bytes
    assert 26e9 < cost.memory_bytes < 80e9


def test_steps_count_the_smaller_last_batch_of_every_epoch() -> None:
    from transformers import LlamaConfig

    cost = TrainingCost(LlamaConfig(), TrainSpec(batch=128, epochs=2))
    assert cost.num_steps(4000) == 64
    assert cost.num_steps(1) == 2


def test_a_trained_adapter_has_the_planned_size_and_steps(qwen3_base: Path, tmp_path: Path) -> None:
    spec = train_spec(lora=LoraSpec(rank=3, targets=("k_proj", "gate_proj")))
    cost = TrainingCost(load_config(Base(str(qwen3_base))), spec, weight_bytes=4)
    with trainer(qwen3_base, spec) as made:
        result = made.train(JOB, examples(7), tmp_path / "a", tmp_path / "work")
    assert read_adapter(tmp_path / "a").num_parameters == cost.num_adapter_parameters
    assert result.num_planned_steps == cost.num_steps(7)


def test_tokens_are_estimated_from_bytes() -> None:
    assert estimate_tokens([]) == 0
    assert 8 * 20 < estimate_tokens(examples(8)) < 8 * 60
