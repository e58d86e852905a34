"""A whole model trained packed, in micro-batches, through Trainer, is what a plain loop makes one example at a time."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

from hexapla.base import Base, fingerprint, load_config, load_model, load_tokenizer
from hexapla.common.artifacts import read_json, read_jsonl
from hexapla.common.errors import UserError
from hexapla.prompts import get_template
from hexapla.train.batching import BatchOrder
from hexapla.train.optimizer import learning_rate
from hexapla.train.result import TrainResult
from hexapla.train.spec import TrainSpec
from hexapla.train.task import Preparation, context_window
from tests.tiny_models import tiny_base
from tests.train.bank.runs import Recorded
from tests.train.full.runs import distance, full_spec, outcome, train, weights
from tests.train.material import task


def _plain_loop(base_folder: Path, spec: TrainSpec) -> tuple[dict[str, torch.Tensor], list[float]]:
    """AdamW over every parameter, one unpacked example after another; the weights and every step's loss."""
    base = Base(str(base_folder))
    config = load_config(base)
    preparation = Preparation(
        load_tokenizer(base), get_template("alma"), fingerprint(base), context_window(config), spec, 0
    )
    prepared = preparation.prepare(task(22))
    model = load_model(base, dtype=torch.float32, device=torch.device("cpu")).requires_grad_(True)
    decay = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    settings = spec.optimizer
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=settings.betas,
        eps=settings.eps,
    )
    examples = prepared.encoded.examples
    order = BatchOrder([example.id for example in examples], batch=spec.batch, seed=0, adapter="de-en")
    losses = []
    for step in range(prepared.num_steps):
        batch = [examples[position] for position in order.positions(step)]
        num_targets = sum(example.num_target_tokens for example in batch)
        loss_sum = 0.0
        optimizer.zero_grad()
        for example in batch:
            ids = torch.from_numpy(example.ids).long()
            logits = model(input_ids=ids[None]).logits[0, example.num_prompt_tokens - 1 : -1]
            loss = F.cross_entropy(logits, ids[example.num_prompt_tokens :], reduction="sum")
            (loss / num_targets).backward()
            loss_sum += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step + 1, prepared.num_steps)
        optimizer.step()
        losses.append(loss_sum / num_targets)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}, losses


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma"])
def test_equals_a_plain_loop(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, architecture: str) -> None:
    base = tiny_base(tmp_path_factory, architecture)
    spec = full_spec(epochs=2)
    result = train(base, spec, tmp_path / "model")
    expected, losses = _plain_loop(base, spec)
    assert (result.status, result.num_steps) == ("finished", 12)
    found = [record["loss"] for record in read_jsonl(tmp_path / "model" / "log.jsonl")]
    assert found == pytest.approx(losses, rel=1e-5)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    for name, tensor in expected.items():
        assert float((trained[name] - tensor).norm() / tensor.norm()) < 1e-5, name


def test_the_micro_batch_and_checkpointing_change_rounding_only(qwen3_base: Path, tmp_path: Path) -> None:
    train(qwen3_base, full_spec(), tmp_path / "a")
    train(qwen3_base, full_spec(micro_batch_tokens=1), tmp_path / "b")
    train(qwen3_base, full_spec(micro_batch_tokens=4000, gradient_checkpointing=True), tmp_path / "c")
    assert 0 < distance(tmp_path / "b", tmp_path / "a") < 1e-5
    assert 0 < distance(tmp_path / "c", tmp_path / "a") < 1e-5


def test_the_folder_is_an_ordinary_model_with_its_tokenizer(llama_base: Path, tmp_path: Path) -> None:
    log = Recorded()
    result = train(llama_base, full_spec(), tmp_path / "model", log=log)
    assert result == TrainResult.load(tmp_path / "model")
    assert {"config.json", "generation_config.json", "tokenizer.json", "README.md"} <= set(outcome(tmp_path / "model"))
    text = "Guten Morgen, wie geht es dir?"
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (llama_base, tmp_path / "model")]
    assert tokenizers[0](text) == tokenizers[1](text)
    ours, theirs = (read_json(folder / "config.json") for folder in (tmp_path / "model", llama_base))
    assert ours == theirs
    assert log.of("train-start")[0]["examples"] == 22
    assert log.of("train-end")[0]["num_steps"] == 6


def test_the_model_is_saved_in_the_precision_of_the_base(llama_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "half"
    shutil.copytree(llama_base, base)
    AutoModelForCausalLM.from_pretrained(llama_base, dtype=torch.bfloat16).save_pretrained(base)
    result = train(base, full_spec(), tmp_path / "model")
    assert {tensor.dtype for tensor in weights(tmp_path / "model").values()} == {torch.bfloat16}
    assert read_json(tmp_path / "model" / "config.json")["dtype"] == "bfloat16"
    assert result.precision == "float32"


def test_bf16_arithmetic_comes_close(qwen3_base: Path, tmp_path: Path) -> None:
    exact = train(qwen3_base, full_spec(), tmp_path / "a")
    rounded = train(qwen3_base, full_spec(precision="bf16"), tmp_path / "b")
    assert rounded.precision == "bfloat16"
    assert rounded.final_loss == pytest.approx(exact.final_loss, rel=0.02)
    assert rounded.final_loss != exact.final_loss


def test_examples_that_do_not_fit_are_set_aside(qwen3_base: Path, tmp_path: Path) -> None:
    result = train(qwen3_base, full_spec(max_target_tokens=20), tmp_path / "model")
    assert result.set_asides == {"target-too-long": 22 - result.num_examples}
    assert 0 < result.num_examples < 22


def _rates(monkeypatch: pytest.MonkeyPatch, rate: Callable[[int], float]) -> None:
    monkeypatch.setattr("hexapla.train.full.trainer.PackedTrainer._rate", lambda _self, step: rate(step))


def test_a_loss_that_is_not_finite_ends_in_the_base(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rates(monkeypatch, lambda _step: 1e38)
    result = train(qwen3_base, full_spec(), tmp_path / "model")
    assert (result.status, result.num_steps) == ("diverged", 0)
    assert result.story is not None
    assert "At step 2 the loss was nan" in result.story
    assert "after 0 updates" in result.story
    assert distance(tmp_path / "model", qwen3_base) == 0


def test_it_goes_back_to_the_checkpoint_before_the_update_that_did_it(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = full_spec(checkpoint_every_s=0)
    _rates(monkeypatch, lambda step: math.inf if step == 4 else 1e-3)
    result = train(qwen3_base, spec, tmp_path / "diverged")
    assert (result.status, result.num_steps, result.num_planned_steps) == ("diverged", 3, 6)
    _rates(monkeypatch, lambda step: 0.0 if step >= 4 else 1e-3)
    train(qwen3_base, spec, tmp_path / "standing")
    assert distance(tmp_path / "diverged", tmp_path / "standing") == 0


def test_a_gradient_that_is_not_finite_makes_no_update(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = Trainer._clip_grad_norm
    monkeypatch.setattr(
        Trainer, "_clip_grad_norm", lambda self, model: math.inf if len(self.records) == 2 else norm(self, model)
    )
    result = train(qwen3_base, full_spec(), tmp_path / "diverged")
    assert (result.status, result.num_steps) == ("diverged", 2)


def test_memory_that_does_not_suffice_names_what_to_lower(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("hexapla.packed.attention._bucket_attention", refuse)
    monkeypatch.setattr("hexapla.train.full.model.PackedModel._check", lambda *_: None)
    with pytest.raises(UserError, match="100 tokens at once") as caught:
        train(qwen3_base, full_spec(), tmp_path / "model")
    assert caught.value.where == "train.micro_batch_tokens"


def test_a_base_without_weights_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "empty"
    shutil.copytree(qwen3_base, base)
    (base / "model.safetensors").unlink()
    with pytest.raises(UserError, match="weights of the base"):
        train(base, full_spec(), tmp_path / "model")


def test_the_process_is_left_as_it_was(qwen3_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(qwen3_base, full_spec(), tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)
