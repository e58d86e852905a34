"""Costs against the published sizes of DAT and against what a real adapter has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hexapla.adapter import read_adapter
from hexapla.base import Base, load_config, load_model
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.model import BankedModel
from hexapla.train.bank.packing import Piece, pack
from hexapla.train.cost import TrainingCost, estimate_tokens
from hexapla.train.encoding import EncodedExample
from hexapla.train.spec import AdapterSpec, BankSpec, LoraSpec, TrainSpec
from tests.train.material import examples, task, train_spec, trainer


def _llama_2_13b(**settings: Any) -> TrainingCost:
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
        tie_word_embeddings=False,
    )
    return TrainingCost(config, TrainSpec(**settings))


def test_llama_2_13b_has_dats_sizes() -> None:
    cost = _llama_2_13b()
    assert cost.num_adapter_parameters() == 62_586_880
    assert round(cost.num_adapter_parameters() * 57 / 1e9, 2) == 3.57
    assert round(cost.num_adapter_parameters() * 16 / 1e9, 2) == 1.00
    assert cost.num_base_parameters == 13_015_864_320


def test_llama_2_13b_flops_and_memory() -> None:
    cost = _llama_2_13b()
    # N = all weights but the input embedding and the norms: 12.85 G; 4·N + 6·P a token.
    assert cost.flops(1) == pytest.approx(4 * 12.85e9 + 6 * 62.6e6, rel=1e-3)
    checkpointed = _llama_2_13b(gradient_checkpointing=True)
    assert checkpointed.flops(1) > 1.4 * cost.flops(1)
    assert checkpointed.activation_bytes(8192) < 0.3 * cost.activation_bytes(8192)
    assert cost.base_bytes == 2 * cost.num_base_parameters
    assert cost.adapter_state_bytes(16) == 16 * 62_586_880
    assert cost.memory_bytes(57) == cost.memory_bytes(1) + 56 * cost.adapter_state_bytes(16)
    assert 26e9 < _llama_2_13b(method="peft", micro_batch_tokens=4096).memory_bytes(1) < 80e9


def test_the_state_of_an_adapter() -> None:
    copies = {
        "bank": _llama_2_13b(),
        "peft": _llama_2_13b(method="peft"),
        "host": _llama_2_13b(bank=BankSpec(optimizer_states="host")),
        "8bit": _llama_2_13b(bank=BankSpec(optimizer_states="8bit")),
    }
    bytes_of = {name: cost.adapter_state_bytes(1) / cost.num_parameters(1) for name, cost in copies.items()}
    assert bytes_of == {"bank": 16, "peft": 20, "host": 8, "8bit": 10}
    assert copies["bank"].adapter_state_bytes(48) == 3 * copies["bank"].adapter_state_bytes(16)
    assert copies["bank"].memory_bytes(2, rank=64) - copies["bank"].memory_bytes(0) == (
        8 * copies["bank"].adapter_state_bytes(16)
    )


def test_a_quantised_base_keeps_its_embeddings_whole() -> None:
    whole = 2 * 2 * 32000 * 5120
    for quantization, factor in (("8bit", 1.0), ("4bit", 0.5625)):
        cost = _llama_2_13b(quantization=quantization)
        assert cost.base_bytes == pytest.approx(whole + 12_688_195_584 * factor, rel=1e-3)


def test_an_adapters_own_settings_count() -> None:
    own = {"a": AdapterSpec(rank=32, batch=10, epochs=3), "b": AdapterSpec(lr=1e-4)}
    cost = _llama_2_13b(adapters=own)
    assert cost.num_adapter_parameters("a") == 2 * cost.num_adapter_parameters() == cost.num_parameters(32)
    assert cost.num_adapter_parameters("b") == cost.num_adapter_parameters("c") == cost.num_adapter_parameters()
    assert (cost.num_steps(25, "a"), cost.num_steps(25, "b")) == (9, 1)
    assert cost.flops(10, "a") - cost.flops(10) == 10 * 6 * cost.num_adapter_parameters()
    assert cost.largest_rank == 32
    assert cost.activation_bytes(100) > _llama_2_13b().activation_bytes(100)
    assert _llama_2_13b(adapters={"a": AdapterSpec(rank=4)}).largest_rank == 16


def test_the_micro_batch_where_the_settings_name_none() -> None:
    cost = _llama_2_13b()
    assert cost.micro_batch_tokens == 8192
    assert TrainingCost(cost.config, TrainSpec(), weight_bytes=4).micro_batch_tokens == 1024
    assert _llama_2_13b(micro_batch_tokens=77).micro_batch_tokens == 77


def test_the_banks_logits_do_not_grow_with_the_micro_batch() -> None:
    bank, reference = _llama_2_13b(), _llama_2_13b(method="peft")

    def logits(cost: TrainingCost, num_tokens: int) -> int:
        return cost.activation_bytes(num_tokens) - num_tokens * kept

    kept = (bank.activation_bytes(200_000) - bank.activation_bytes(100_000)) // 100_000
    assert logits(bank, 100_000) == logits(bank, 200_000) <= 1.5 * 512 * 2**20
    assert logits(reference, 200_000) == 2 * logits(reference, 100_000)
    assert logits(bank, 100) < logits(bank, 100_000)


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma"])
def test_activations_are_what_autograd_keeps(architecture: str, request: pytest.FixtureRequest) -> None:
    base = Base(str(request.getfixturevalue(f"{architecture}_base")))
    device = torch.device("cpu")
    model = load_model(base, dtype=torch.float32, device=device)
    banked = BankedModel(model, "all-linear")
    banked.load(FactorBank(banked.groups, [4], [1.0], device), [0.0])
    given = [EncodedExample(str(index), np.arange(65, dtype=np.int32), 32) for index in range(8)]
    batch = pack([Piece(0, tuple(given), 8 * 33, ends_batch=True)], device)
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        banked.backward(batch)
    measured = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in known)
    cost = TrainingCost(load_config(base), TrainSpec(lora=LoraSpec(rank=4)), weight_bytes=4)
    expected = cost.activation_bytes(batch.num_tokens) - cost._logit_bytes(batch.num_tokens)
    assert 0.8 < measured / expected < 1.25


def test_steps_count_the_smaller_last_batch_of_every_epoch() -> None:
    from transformers import LlamaConfig

    cost = TrainingCost(LlamaConfig(), TrainSpec(batch=128, epochs=2))
    assert cost.num_steps(4000) == 64
    assert cost.num_steps(1) == 2


def test_a_trained_adapter_has_the_planned_size_and_steps(qwen3_base: Path, tmp_path: Path) -> None:
    spec = train_spec(lora=LoraSpec(rank=3, targets=("k_proj", "gate_proj")))
    cost = TrainingCost(load_config(Base(str(qwen3_base))), spec, weight_bytes=4)
    with trainer(qwen3_base, spec) as made:
        result = made.train(task(7), tmp_path / "a", tmp_path / "work")
    assert read_adapter(tmp_path / "a").num_parameters == cost.num_adapter_parameters()
    assert result.num_planned_steps == cost.num_steps(7)


def test_tokens_are_estimated_from_bytes() -> None:
    assert estimate_tokens([]) == 0
    assert 8 * 20 < estimate_tokens(examples(8)) < 8 * 60


def test_objectives_cost_a_pass_a_head_and_memory_for_pairs() -> None:
    plain, aligned = _llama_2_13b(), _llama_2_13b(objectives=AlignmentSpec())
    assert aligned.num_head_entries == MatchingHead.num_entries(5120, 128)
    assert aligned.adapter_state_bytes(16) - plain.adapter_state_bytes(16) == 16 * aligned.num_head_entries
    assert aligned.num_adapter_parameters() == plain.num_adapter_parameters()
    assert aligned.flops(10) - plain.flops(10) == pytest.approx(10 * 2 * (12.85e9 + 62.6e6), rel=1e-3)
    assert aligned.memory_bytes(2) - aligned.memory_bytes(1) == (
        aligned.adapter_state_bytes(16) + aligned.kept_gradient_bytes(128)
    )
    assert aligned.alignment_bytes(64) > 7 * 4 * 128 * 128 * 128
    assert aligned.alignment_bytes(4096) <= 7 * 4 * 2**24 + 4 * 4 * 4096 * (4096 + 2 * 5120)  # not m² · H
    cut = _llama_2_13b(objectives=AlignmentSpec(contrast=32))
    assert cut.alignment_bytes(4096) < 0.7 * aligned.alignment_bytes(4096)
    semantic = _llama_2_13b(objectives=AlignmentSpec(matching=0))
    assert semantic.num_head_entries == 0
    assert 0 < semantic.alignment_bytes(128) < 0.5 * aligned.alignment_bytes(128)
    idle = _llama_2_13b(objectives=AlignmentSpec(matching=0, semantic=0))
    assert (idle.flops(1), idle.memory_bytes(3)) == (plain.flops(1), plain.memory_bytes(3))
    whole = _llama_2_13b(method="full", strategy="multilingual", optimizer={"lr": 1e-5}, objectives=AlignmentSpec())
    assert whole.flops(1) == pytest.approx(8 * 12.85e9, rel=1e-3)
