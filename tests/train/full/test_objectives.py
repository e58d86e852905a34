"""A whole model with alignment losses is what a plain loop over padded batches makes; memory bounds change rounding."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from hexapla.base import Base, fingerprint, load_config, load_model, load_tokenizer
from hexapla.common.artifacts import read_jsonl
from hexapla.common.errors import UserError
from hexapla.data.instructions import Instruction
from hexapla.prompts import get_template
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objective import CachedAlignment, cached_alignment
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.batching import BatchOrder
from hexapla.train.encoding import EncodedExample
from hexapla.train.optimizer import learning_rate
from hexapla.train.spec import OptimizerSpec, TrainSpec
from hexapla.train.task import Preparation, PreparedTask, TrainTask, context_window
from tests.tiny_models import tiny_base, tiny_tokenizer
from tests.train.bank.runs import Recorded
from tests.train.full.runs import OBJECTIVES, both_ways, distance, full_spec, outcome, train, weights
from tests.train.material import InterruptAt, InterruptedRunError, task

SPEC = full_spec(batch=8, objectives=OBJECTIVES)  # 22 examples: 3 steps, the last of 6


def _base(factory: pytest.TempPathFactory, architecture: str) -> Path:
    if architecture != "gpt-neox":
        return tiny_base(factory, architecture)
    folder = factory.mktemp("gpt-neox")
    tiny_tokenizer().save_pretrained(folder)
    shape: dict[str, Any] = {"vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, num_attention_heads=4, bos_token_id=1, eos_token_id=2))
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


def _prepared(base: Base, spec: TrainSpec) -> PreparedTask:
    window = context_window(load_config(base))
    made = Preparation(load_tokenizer(base), get_template("alma"), fingerprint(base), window, spec, 0)
    return made.prepare(both_ways())


def _padded(examples: list[EncodedExample]) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T], padded on the left."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, longest - len(example.ids) :] = torch.from_numpy(example.ids)
        mask[row, longest - len(example.ids) :] = 1
    return ids, mask


def _losses(model: Any, head: Tensor, batch: list[EncodedExample], spec: AlignmentSpec) -> tuple[Tensor, ...]:
    """The language model's loss, the contrastive and the matching one, as the paper writes them."""
    ids, mask = _padded(batch)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    told = model(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
    width = told.hidden_states[0].shape[-1]
    language, sources, targets, predicting = [], [], [], []
    for row, example in enumerate(batch):
        pad = ids.shape[1] - len(example.ids)
        first = pad + example.num_prompt_tokens
        language.append(F.cross_entropy(told.logits[row, first - 1 : -1], ids[row, first:], reduction="none"))
        spans = [(pad + start, pad + end) for start, end in (example.source_span, example.target_span)]
        sources.append(told.hidden_states[1][row, slice(*spans[0])].mean(0))
        targets.append(told.hidden_states[1][row, slice(*spans[1])].mean(0))
        predicting.append([told.hidden_states[-1][row, start - 1 : end - 1].mean(0) for start, end in spans])
    u, v = F.normalize(torch.stack(sources), dim=1), F.normalize(torch.stack(targets), dim=1)
    scores = u @ v.t() / spec.temperature
    for row, example in enumerate(batch):
        for column, other in enumerate(batch):
            if row != column and example.meaning == other.meaning:
                scores[row, column] = -torch.inf
    contrast = -scores.log_softmax(1).diagonal().mean() / 2
    states = torch.stack([source for source, _ in predicting] + [target for _, target in predicting])
    tongues = [e.direction.source for e in batch if e.direction] + [e.direction.target for e in batch if e.direction]
    pairs = torch.stack([torch.cat([one, other]) for one in states for other in states])
    same = torch.tensor([int(one == other) for one in tongues for other in tongues])
    inner = spec.matching_width
    gate, up, down = head.split([2 * width * inner, 2 * width * inner, 2 * inner])
    hidden = F.silu(pairs @ gate.view(inner, -1).t()) * (pairs @ up.view(inner, -1).t())
    return torch.cat(language).mean(), contrast, F.cross_entropy(hidden @ down.view(2, inner).t(), same)


def _plain_loop(folder: Path, spec: TrainSpec) -> tuple[dict[str, Tensor], list[list[float]], list[Tensor]]:
    """AdamW over the model and the head: the weights, then losses with gradient norm, and the head, of every step."""
    base, settings = Base(str(folder)), spec.optimizer
    assert spec.objectives is not None
    prepared = _prepared(base, spec)
    model = load_model(base, dtype=torch.float32, device=torch.device("cpu")).requires_grad_(True)
    initial = MatchingHead.initial(32, spec.objectives.matching_width, 0, "both")
    head = torch.nn.Parameter(initial)
    decay = [head, *(parameter for parameter in model.parameters() if parameter.ndim > 1)]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=settings.betas,
        eps=settings.eps,
    )
    examples = prepared.encoded.examples
    ids, meanings = [example.id for example in examples], [example.meaning for example in examples]
    order = BatchOrder(ids, batch=spec.batch, seed=0, adapter="both", meanings=meanings)
    told, heads = [], []
    for step in range(prepared.num_steps):
        batch = [examples[position] for position in order.positions(step)]
        language, contrast, matching = _losses(model, head, batch, spec.objectives)
        optimizer.zero_grad()
        (language + spec.objectives.semantic * contrast + spec.objectives.matching * matching).backward()
        norm = torch.nn.utils.clip_grad_norm_([*model.parameters(), head], settings.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step + 1, prepared.num_steps)
        optimizer.step()
        told.append([float(each.detach()) for each in (language, contrast, matching, norm)])
        heads.append(head.detach().clone())
    return {name: parameter.detach() for name, parameter in model.named_parameters()}, told, heads


@pytest.mark.parametrize(
    ("architecture", "micro_batch_tokens"),
    [("qwen3", 4000), ("qwen3", 100), ("llama", 100), ("gemma", 100), ("gpt-neox", 100)],
)
def test_equals_a_plain_loop_over_padded_batches(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, architecture: str, micro_batch_tokens: int
) -> None:
    base = _base(tmp_path_factory, architecture)
    # eps: a bias of keys has next to no gradient, of which Adam would make whole steps
    optimizer = OptimizerSpec(lr=2e-3, schedule="cosine", warmup=0.2, eps=1e-4, weight_decay=1.0)
    objectives = AlignmentSpec(semantic=2.0, matching=20.0, matching_width=12)
    spec = full_spec(
        batch=8,
        micro_batch_tokens=micro_batch_tokens,
        optimizer=optimizer,
        objectives=objectives,
        checkpoint_every_s=0,
    )
    train(base, spec, tmp_path / "model", made=both_ways())
    expected, told, heads = _plain_loop(base, spec)
    records = read_jsonl(tmp_path / "model" / "log.jsonl")
    found = [
        [record["loss"], record["objectives"]["semantic"], record["objectives"]["matching"], record["gradient_norm"]]
        for record in records
    ]
    for ours, theirs in zip(found, told, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    kept = load_file(tmp_path / "model.work" / "step-000000002" / "values.safetensors")["matching-head"]
    assert float((kept - heads[1]).norm() / heads[1].norm()) < 1e-5
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    for name, tensor in expected.items():
        assert float((trained[name] - tensor).norm() / tensor.norm()) < 2e-5, name


def test_memory_bounds_change_rounding_only(qwen3_base: Path, tmp_path: Path) -> None:
    spec = full_spec(batch=8, objectives=AlignmentSpec(matching_width=12, symmetric=True, contrast=3))
    bounds: dict[str, dict[str, Any]] = {
        "one": {"micro_batch_tokens": 4000},
        "parts": {"micro_batch_tokens": 1},
        "recomputed": {"micro_batch_tokens": 4000, "gradient_checkpointing": True},
        "recomputed-parts": {"micro_batch_tokens": 100, "gradient_checkpointing": True},
    }
    for name, bound in bounds.items():
        train(qwen3_base, spec.model_copy(update=bound), tmp_path / name, made=both_ways())
        assert distance(tmp_path / name, tmp_path / "one") < 1e-5, name
    assert distance(tmp_path / "parts", tmp_path / "one") > 0


def test_the_head_is_in_no_file_of_the_model(qwen3_base: Path, tmp_path: Path) -> None:
    train(qwen3_base, SPEC, tmp_path / "model", made=both_ways())
    assert weights(tmp_path / "model").keys() == weights(qwen3_base).keys()
    assert set(outcome(tmp_path / "model")) == {path.name for path in qwen3_base.iterdir() if path.is_file()} | {
        "README.md",
        "log.jsonl",
    }
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Aligned at: layer 1 of 2 (50% of the depth)" in card
    assert "Language matching: weight 0.4" in card


def test_taken_up_again_it_makes_the_same_bytes(qwen3_base: Path, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"checkpoint_every_s": 0.0, "epochs": 2})
    train(qwen3_base, spec, tmp_path / "whole", made=both_ways())
    for step in (2, 4):
        with pytest.raises(InterruptedRunError):
            train(qwen3_base, spec, tmp_path / "model", made=both_ways(), log=InterruptAt(step))
    log = InterruptAt(None)
    train(qwen3_base, spec, tmp_path / "model", made=both_ways(), log=log)
    assert log.resumed_at == 4
    assert outcome(tmp_path / "model") == outcome(tmp_path / "whole")


def test_without_weights_it_is_fine_tuning(qwen3_base: Path, tmp_path: Path) -> None:
    idle = full_spec(objectives=AlignmentSpec(semantic=0, matching=0))
    train(qwen3_base, idle, tmp_path / "idle", made=both_ways())
    train(qwen3_base, full_spec(), tmp_path / "none", made=both_ways())
    assert {**outcome(tmp_path / "idle"), "README.md": b""} == {**outcome(tmp_path / "none"), "README.md": b""}


@pytest.mark.parametrize(("semantic", "matching"), [(0.3, 0.0), (0.0, 0.4)])
def test_one_loss_alone(qwen3_base: Path, tmp_path: Path, semantic: float, matching: float) -> None:
    spec = full_spec(batch=8, objectives=AlignmentSpec(semantic=semantic, matching=matching, matching_width=12))
    train(qwen3_base, spec, tmp_path / "model", made=both_ways())
    train(qwen3_base, spec.model_copy(update={"micro_batch_tokens": 4000}), tmp_path / "one", made=both_ways())
    assert distance(tmp_path / "model", tmp_path / "one") < 1e-5
    asked_for = {"semantic", "semantic_accuracy"} if semantic else {"matching", "matching_accuracy"}
    assert all(set(record["objectives"]) == asked_for for record in read_jsonl(tmp_path / "model" / "log.jsonl"))


def test_a_loss_with_nothing_to_tell_apart_is_told_once(qwen3_base: Path, tmp_path: Path) -> None:
    log = Recorded()
    spec = full_spec(batch=1, objectives=OBJECTIVES)
    train(qwen3_base, spec, tmp_path / "model", made=task(3), log=log)
    (told,) = log.of("train-degenerate")
    assert (told["adapter"], told["part"], told["step"]) == ("de-en", "semantic", 1)


class _Told(InterruptAt):
    """Keeps the steps at which a loss was told to be degenerate."""

    def __init__(self, step: int | None) -> None:
        super().__init__(step)
        self.steps: list[int] = []

    def write(self, event: str, **fields: Any) -> None:
        super().write(event, **fields)
        if event == "train-degenerate":
            self.steps.append(fields["step"])


def test_taken_up_again_it_is_not_told_again(qwen3_base: Path, tmp_path: Path) -> None:
    spec = full_spec(batch=2, objectives=OBJECTIVES, epochs=2, checkpoint_every_s=0)
    logs = [_Told(1), _Told(2), _Told(None)]
    for log in logs[:2]:
        with pytest.raises(InterruptedRunError):
            train(qwen3_base, spec, tmp_path / "model", made=task(3), log=log)
    train(qwen3_base, spec, tmp_path / "model", made=task(3), log=logs[2])
    assert [log.resumed_at for log in logs] == [None, 1, 2]
    assert [log.steps for log in logs] == [[], [2], []]  # the last batch of both epochs is one example


def test_an_objective_that_is_not_finite_ends_before_the_update_that_did_it(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CachedAlignment] = []

    def spoiled(*arguments: Any) -> CachedAlignment:
        made.append(cached_alignment(*arguments))
        nan = replace(made[-1].values, semantic=math.nan)
        return made[-1] if len(made) < 3 else replace(made[-1], values=nan)

    monkeypatch.setattr("hexapla.train.full.objectives.cached_alignment", spoiled)
    spec = SPEC.model_copy(update={"checkpoint_every_s": 0.0})
    result = train(qwen3_base, spec, tmp_path / "model", made=both_ways())
    assert (result.status, result.num_steps) == ("diverged", 1)
    assert result.story is not None
    assert "semantic nan" in result.story


def test_a_layer_beyond_the_depth_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no layer 3: the base has 2 blocks") as caught:
        train(qwen3_base, full_spec(objectives=AlignmentSpec(layer=3)), tmp_path / "model")
    assert caught.value.where == "train.objectives.layer"


def test_general_instructions_are_learned_but_not_aligned(qwen3_base: Path, tmp_path: Path) -> None:
    made = both_ways(5)
    instructions = [Instruction(f"help#{n}", "en", "Say a number.", "", f"It is {n}.") for n in range(4)]
    mixed = TrainTask(made.job, made.examples, instructions=instructions)
    spec = full_spec(batch=14, objectives=OBJECTIVES)
    train(qwen3_base, spec, tmp_path / "mixed", made=mixed)
    train(qwen3_base, spec, tmp_path / "alone", made=made)
    ours, theirs = (read_jsonl(tmp_path / name / "log.jsonl")[0] for name in ("mixed", "alone"))
    assert ours["objectives"] == pytest.approx(theirs["objectives"], rel=1e-5)
    assert set(ours["losses"]) == {"both", "instructions"}
    assert ours["losses"]["both"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_step_may_have_no_sentences_to_align(qwen3_base: Path, tmp_path: Path) -> None:
    made = task(1)
    instructions = [Instruction(f"help#{n}", "en", "Say a number.", "", f"It is {n}.") for n in range(5)]
    mixed = TrainTask(made.job, made.examples, instructions=instructions)
    for name, tokens in (("one", 4000), ("parts", 1)):
        spec = full_spec(batch=2, objectives=OBJECTIVES, micro_batch_tokens=tokens)
        train(qwen3_base, spec, tmp_path / name, made=mixed)
        records = read_jsonl(tmp_path / name / "log.jsonl")
        assert sorted(bool(record["objectives"]) for record in records) == [False, False, True]
    assert distance(tmp_path / "parts", tmp_path / "one") < 1e-5
