"""Adapters trained on tiny real bases: determinism, learning, formats, divergence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hexapla.adapter import read_adapter
from hexapla.base import Base, choose_dtype, load_model, load_tokenizer
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.plan import Job
from hexapla.prompts import get_template
from hexapla.tokenization import encode_prompts
from hexapla.train.lora import initial_a
from hexapla.train.reference.batching import collate
from hexapla.train.reference.loss import target_loss_sum
from hexapla.train.reference.trainer import AdapterTrainer
from hexapla.train.result import TrainResult
from hexapla.train.spec import LoraSpec, OptimizerSpec
from hexapla.train.task import TrainTask
from tests.train.material import DE_EN, EN_DE, JOB, adapter_bytes, examples, task, train_spec, trainer
from tests.train.test_encoding import CHAT

OTHER = Job("en-de", (EN_DE,))


class _StoppedError(Exception):
    """Stands for whatever ends a run between two steps."""


class _StopAfter(EventLog):
    """Ends a run at the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        super().__init__(None)
        self.step = step

    def write(self, event: str, **fields: object) -> None:
        if event == "train-checkpoint" and fields["step"] == self.step:
            raise _StoppedError


def test_the_same_bytes_twice_and_in_any_company(qwen3_base: Path, tmp_path: Path) -> None:
    spec = train_spec(lora=LoraSpec(rank=4, dropout=0.1))
    with trainer(qwen3_base, spec) as alone:
        alone.train(task(10), tmp_path / "a", tmp_path / "work-a")
    with trainer(qwen3_base, spec) as in_company:
        in_company.train(task(6, OTHER), tmp_path / "b", tmp_path / "work-b")
        torch.manual_seed(123)
        in_company.train(task(10), tmp_path / "c", tmp_path / "work-c")
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "c")
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("a", "b")]
    assert not torch.equal(*(next(iter(tensors.values())) for tensors in weights))


def test_dropout_leaves_the_processes_random_state_alone(qwen3_base: Path, tmp_path: Path) -> None:
    with trainer(qwen3_base, train_spec(lora=LoraSpec(rank=2, dropout=0.1))) as made:
        before = torch.random.get_rng_state()
        made.train(task(4), tmp_path / "a", tmp_path / "work")
    assert torch.equal(before, torch.random.get_rng_state())


def test_accumulation_is_exact(qwen3_base: Path, tmp_path: Path) -> None:
    adapters, losses = [], []
    for max_tokens in (30, 100_000):
        spec = train_spec(batch=8, epochs=3, micro_batch_tokens=max_tokens)
        folder = tmp_path / str(max_tokens)
        with trainer(qwen3_base, spec) as made:
            result = made.train(task(8), folder, tmp_path / f"work-{max_tokens}")
        adapters.append(read_adapter(folder))
        losses.append(result.final_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for path, (a, b) in adapters[0].factors.items():
        other_a, other_b = adapters[1].factors[path]
        product, other = b @ a, other_b @ other_a
        assert float((product - other).norm()) <= 1e-4 * float(other.norm()), path


def test_every_step_has_the_mean_gradient_of_its_own_batch(qwen3_base: Path) -> None:
    """Step 2 too: nothing of step 1 is left in it. Micro-batches are single sequences, the reference is one batch."""
    with trainer(qwen3_base, train_spec(micro_batch_tokens=1)) as made:
        engine = made._engine
        encoded = made._preparation.prepare(task(8)).encoded.examples
        num_targets = sum(example.num_target_tokens for example in encoded)
        engine.start("a")
        for step in (1, 2):
            mean = target_loss_sum(engine.layers.model, collate(encoded, torch.device("cpu"))) / num_targets
            gradients = torch.autograd.grad(mean, list(engine.layers.parameters()))
            record = engine.step(encoded, adapter="a", step=step, num_steps=2)
            assert record.loss == pytest.approx(mean.item(), rel=1e-5)
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
            assert record.gradient_norm == pytest.approx(norm, rel=1e-4)


def test_undo_goes_back_one_step_and_a_state_brings_back_both(qwen3_base: Path) -> None:
    with trainer(qwen3_base) as made:
        engine = made._engine
        encoded = made._preparation.prepare(task(4)).encoded.examples
        engine.start("a")
        values = []
        for step in (1, 2):
            engine.step(encoded, adapter="a", step=step, num_steps=2)
            values.append(engine.optimizer.values.clone())
        assert not torch.equal(*values)
        state = {name: tensor.clone() for name, tensor in engine.state().items()}
        engine.undo()
        assert torch.equal(engine.optimizer.values, values[0])
        engine.start("b")
        assert torch.equal(engine.good_values, engine.optimizer.values)
        engine.load_state(state)
        assert torch.equal(engine.optimizer.values, values[1])
        engine.undo()
        assert torch.equal(engine.optimizer.values, values[0])


def test_the_start_depends_on_seed_adapter_and_layer() -> None:
    starts = [initial_a((4, 16), *names) for names in ((0, "a", "x"), (1, "a", "x"), (0, "b", "x"), (0, "a", "y"))]
    assert torch.equal(starts[0], initial_a((4, 16), 0, "a", "x"))
    assert all(not torch.equal(starts[0], other) for other in starts[1:])
    assert all(0.1 < start.abs().max() <= 0.25 for start in starts)


def test_the_first_update_of_b_is_adams_by_hand(llama_base: Path, tmp_path: Path) -> None:
    """One step from B = 0: every entry moves by lr against its gradient's sign (Adam's first step), A by decay only."""
    spec = train_spec(batch=8, optimizer=OptimizerSpec(lr=1e-2, schedule="constant", warmup=0, eps=1e-30))
    with trainer(llama_base, spec) as made:
        made.train(task(8), tmp_path / "a", tmp_path / "work")
    for path, (a, b) in read_adapter(tmp_path / "a").factors.items():
        torch.testing.assert_close(b.abs(), torch.full_like(b, 1e-2), rtol=1e-3, atol=1e-5)
        start = initial_a(tuple(a.shape), 0, "de-en", path)
        torch.testing.assert_close(a, start * (1 - 1e-2 * 0.01), rtol=1e-5, atol=1e-7)


def test_the_loss_falls_on_eight_sentences(llama_base: Path, tmp_path: Path) -> None:
    spec = train_spec(batch=8, epochs=60, optimizer=OptimizerSpec(lr=1e-2, schedule="cosine", warmup=0.1))
    with trainer(llama_base, spec) as made:
        result = made.train(task(8), tmp_path / "a", tmp_path / "work")
    assert result.status == "finished"
    assert result.num_steps == result.num_planned_steps == 60
    assert result.first_loss is not None
    assert result.final_loss is not None
    assert result.final_loss < 0.2 * result.first_loss


def test_what_is_learned_by_heart_is_generated_up_to_its_end(llama_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    spec = train_spec(batch=2, epochs=60, optimizer=OptimizerSpec(lr=1e-2, schedule="cosine", warmup=0.1))
    with trainer(llama_base, spec) as made:
        made.train(task(2), tmp_path / "a", tmp_path / "work")
    base = load_model(Base(str(llama_base)), dtype=torch.float32, device=torch.device("cpu"))
    model = PeftModel.from_pretrained(base, tmp_path / "a")
    tokenizer = load_tokenizer(Base(str(llama_base)))
    for example in examples(2):
        prompt = torch.tensor(encode_prompts(tokenizer, get_template("alma"), [(DE_EN, example.source)]))
        output = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=30,
            do_sample=False,
            pad_token_id=0,
        )
        assert tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True).strip() == example.target
        assert output[0, -1] == tokenizer.eos_token_id


def test_peft_reads_the_result_with_the_same_logits(gemma_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    spec = train_spec(lora=LoraSpec(rank=4, alpha=12, targets=("q_proj", "down_proj")), epochs=3)
    tokens = torch.arange(5, 25)[None]
    with trainer(gemma_base, spec) as made:
        made.train(task(8), tmp_path / "a", tmp_path / "work")
        with torch.no_grad():
            ours = made._engine.layers.model(input_ids=tokens).logits
    base = load_model(Base(str(gemma_base)), dtype=torch.float32, device=torch.device("cpu"))
    with torch.no_grad():
        bare = base(input_ids=tokens).logits
        theirs = PeftModel.from_pretrained(base, tmp_path / "a")(input_ids=tokens).logits
    assert torch.equal(ours, theirs)
    assert float((bare - theirs).abs().max()) > 1e-2
    paths = read_adapter(tmp_path / "a").factors
    assert {path.rsplit(".", 1)[-1] for path in paths} == {"q_proj", "down_proj"}


def test_what_is_written(qwen3_base: Path, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    long = examples(1)[0]
    given = [*examples(9), type(long)("test:long de-en", DE_EN, "lang " * 600, "long")]
    with trainer(qwen3_base) as made:
        result = made.train(TrainTask(JOB, given), tmp_path / "a", tmp_path / "work", log)
    assert TrainResult.load(tmp_path / "a") == result
    assert result.num_examples == 9
    assert result.set_asides == {"source-too-long": 1}
    steps = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert result.num_target_tokens == sum(step["num_target_tokens"] for step in steps)
    assert result.final_loss == steps[-1]["loss"]
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (events[0], events[-1]) == ("train-start", "train-end")
    card = (tmp_path / "a" / "README.md").read_text()
    assert "de-en" in card
    assert "learning rate 0.005" in card


def test_chat_templates_train_too(qwen3_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(qwen3_base, base)
    tokenizer = load_tokenizer(Base(str(base)))
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(base)
    with trainer(base, train_spec(epochs=3), template="x-alma") as made:
        result = made.train(task(8), tmp_path / "a", tmp_path / "work")
    assert result.num_examples == 8
    assert result.final_loss < result.first_loss


def test_no_examples_is_an_error_that_names_the_adapter(qwen3_base: Path, tmp_path: Path) -> None:
    with trainer(qwen3_base, train_spec(max_source_tokens=1)) as made:
        with pytest.raises(UserError, match="'de-en' has no examples to train on\\."):
            made.train(TrainTask(JOB, []), tmp_path / "a", tmp_path / "work")
        with pytest.raises(UserError, match="all were set aside \\(8 source-too-long\\)"):
            made.train(task(8), tmp_path / "a", tmp_path / "work")


def test_a_chat_template_that_is_missing_is_an_error(qwen3_base: Path) -> None:
    with pytest.raises(UserError, match="needs a chat template"):
        trainer(qwen3_base, template="x-alma")


def test_an_unknown_target_layer_is_an_error(qwen3_base: Path) -> None:
    with pytest.raises(UserError, match="no linear layers called 'qkv'"):
        trainer(qwen3_base, train_spec(lora=LoraSpec(targets=("qkv",))))


def test_a_base_that_is_broken_diverges_at_once_and_the_next_goes_on(qwen3_base: Path, tmp_path: Path) -> None:
    """NaN in the embedding of one character: only adapters that see it diverge."""
    base = tmp_path / "base"
    shutil.copytree(qwen3_base, base)
    tokenizer = load_tokenizer(Base(str(base)))
    poisoned = tokenizer("%", add_special_tokens=False)["input_ids"]
    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"][poisoned] = float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    bad = [type(e)(e.id, e.direction, e.source, e.target) for e in examples(4)]
    bad[0] = type(bad[0])(bad[0].id, DE_EN, "50 %", "50 percent")
    with trainer(base, train_spec(lora=LoraSpec(targets=("v_proj",)))) as made:
        result = made.train(TrainTask(JOB, bad), tmp_path / "a", tmp_path / "work-a")
    assert result.status == "diverged"
    assert (result.num_steps, result.num_planned_steps) == (0, 1)
    assert result.story is not None
    assert "At step 1 the loss was nan" in result.story
    for path, (a, b) in read_adapter(tmp_path / "a").factors.items():
        assert torch.equal(a, initial_a(tuple(a.shape), 0, "de-en", path))
        assert not b.any()


def test_divergence_keeps_the_last_good_state_and_the_next_adapter_is_unharmed(
    llama_base: Path, tmp_path: Path
) -> None:
    spec = train_spec(batch=2, epochs=5, optimizer=OptimizerSpec(lr=1e25, schedule="constant", warmup=0.0))
    with trainer(llama_base, spec) as made:
        result = made.train(task(8), tmp_path / "a", tmp_path / "work-a")
        again = made.train(task(8), tmp_path / "b", tmp_path / "work-b")
    assert result.status == "diverged"
    assert result.story is not None
    assert "learning rate 1e+25" in result.story
    assert f"after {result.num_steps} updates" in result.story
    assert result.num_steps == 0  # the first update already spoils the loss: what is kept is the start
    for path, (a, b) in read_adapter(tmp_path / "a").factors.items():
        assert torch.equal(a, initial_a(tuple(a.shape), 0, "de-en", path))
        assert not b.any()
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "b")
    assert (again.status, again.story) == (result.status, result.story)


def test_a_gradient_that_is_not_finite_keeps_the_state_whose_loss_was_seen(llama_base: Path, tmp_path: Path) -> None:
    with trainer(llama_base, train_spec(batch=2, checkpoint_every_s=0)) as made:
        first_b = next(iter(made._engine.layers.factors.values()))[1]
        calls: list[int] = []

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return gradient * float("inf") if len(calls) == 3 else gradient

        handle = first_b.register_hook(spoil)
        result = made.train(task(8), tmp_path / "a", tmp_path / "work")
        handle.remove()
        log = _StopAfter(2)
        with pytest.raises(_StoppedError):
            made.train(task(8), tmp_path / "b", tmp_path / "work-b", log)
        two_updates = made._engine.layers.to_adapter(made._settings)
    assert (result.status, result.num_steps, result.num_planned_steps) == ("diverged", 2, 4)
    kept = read_adapter(tmp_path / "a")
    for path, (a, b) in two_updates.factors.items():
        assert torch.equal(a, kept.factors[path][0])
        assert torch.equal(b, kept.factors[path][1])


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) == torch.float32
    assert choose_dtype("bf16", cpu) == torch.bfloat16
    assert choose_dtype("fp32", cpu) == torch.float32


def test_bf16_keeps_the_adapter_in_fp32(qwen3_base: Path, tmp_path: Path) -> None:
    with trainer(qwen3_base, train_spec(precision="bf16", epochs=4)) as made:
        result = made.train(task(8), tmp_path / "a", tmp_path / "work")
        assert next(made._engine.layers.model.get_input_embeddings().parameters()).dtype == torch.bfloat16
    assert result.precision == "bfloat16"
    assert result.final_loss < result.first_loss
    assert all(a.dtype == b.dtype == torch.float32 for a, b in read_adapter(tmp_path / "a").factors.values())


def test_a_trainer_lets_go_of_its_base(qwen3_base: Path) -> None:
    import gc
    import weakref

    with trainer(qwen3_base) as made:
        model = weakref.ref(made._engine.layers.model)
    gc.collect()
    assert model() is None
    assert isinstance(made, AdapterTrainer)
