"""The reference trainer with the losses that align: in one pass or two, against a plain sum of losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hexapla.adapter import read_adapter
from hexapla.common.artifacts import read_jsonl
from hexapla.data.instructions import Instruction
from hexapla.plan import Job
from hexapla.train.align.losses import MatchingHead
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.reference.loop import Engine
from hexapla.train.reference.objectives import ReferenceObjectives
from hexapla.train.result import LOG_FILE, StepRecord
from hexapla.train.spec import LoraSpec
from hexapla.train.task import TrainTask
from tests.train.material import (
    DE_EN,
    EN_DE,
    InterruptAt,
    InterruptedRunError,
    adapter_bytes,
    examples,
    task,
    train_spec,
    trainer,
)

OBJECTIVES = AlignmentSpec(matching_width=8)
JOB = Job("both", (DE_EN, EN_DE))


def mixed(number: int) -> TrainTask:
    """Both directions of the same sentences, and two general instructions."""
    general = [Instruction(f"general#{place}", None, "Count on.", "", f"{place} {place + 1}") for place in range(2)]
    return TrainTask(JOB, [*examples(number, DE_EN), *examples(number, EN_DE)], instructions=general)


def by_hand(engine: Engine, given: list[Any], head: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """The losses of a batch, a sequence after the other through the model, as the equations stand in the paper."""
    model = engine.layers.model
    nll_sum, num_targets = torch.zeros(()), 0
    u, v, e_source, e_target, same = [], [], [], [], []
    for example in given:
        ids = torch.from_numpy(example.ids).long()
        output = model(input_ids=ids[None, :-1], output_hidden_states=True)
        start = example.num_prompt_tokens
        nll_sum = nll_sum + F.cross_entropy(output.logits[0, start - 1 :], ids[start:], reduction="sum")
        num_targets += len(ids) - start
        if example.direction is None:
            continue
        middle, last = output.hidden_states[1][0], output.hidden_states[-1][0]
        for (first, end), states, lasts in ((example.source_span, u, e_source), (example.target_span, v, e_target)):
            states.append(middle[first:end].mean(0))
            lasts.append(last[first - 1 : end - 1].mean(0))
        same.append(example.meaning)
    n = len(u)
    contrast = torch.zeros(())
    for j in range(n):
        scores = [F.cosine_similarity(u[j], v[i], dim=0) / 0.1 for i in range(n) if i == j or same[i] != same[j]]
        own = F.cosine_similarity(u[j], v[j], dim=0) / 0.1
        contrast = contrast - (own - torch.logsumexp(torch.stack(scores), 0)) / (2 * n)
    stacked = [*e_source, *e_target]
    directions = [example.direction for example in given if example.direction is not None]
    languages = [each.source for each in directions] + [each.target for each in directions]
    view = MatchingHead.view(head, len(stacked[0]), OBJECTIVES.matching_width)
    match = torch.zeros(())
    for i in range(2 * n):
        for k in range(2 * n):
            x = torch.cat([stacked[i], stacked[k]])
            logits = view.down @ (F.silu(view.gate @ x) * (view.up @ x))
            match = match + F.cross_entropy(logits[None], torch.tensor([int(languages[i] == languages[k])]))
    match = match / (2 * n) ** 2
    total = nll_sum / num_targets + 0.3 * contrast + 0.4 * match
    parts = {"loss": nll_sum / num_targets, "semantic": contrast, "matching": match}
    return total, {name: float(part.detach()) for name, part in parts.items()}


@pytest.mark.parametrize("max_tokens", [1, 100_000])
def test_every_step_has_the_gradient_of_the_equations(max_tokens: int, qwen3_base: Path) -> None:
    """Plain where the step is one micro-batch, cached where it is many; the second step too, of other parameters."""
    with trainer(qwen3_base, train_spec(objectives=OBJECTIVES, micro_batch_tokens=max_tokens)) as made:
        engine = made._engine
        encoded = made._preparation.prepare(mixed(3)).encoded.examples
        assert len(encoded) == 8
        assert engine.objectives is not None
        head = engine.objectives.head
        assert head is not None
        engine.start("a")
        for step in (1, 2):
            total, parts = by_hand(engine, encoded, head)
            parameters = [*engine.layers.parameters(), head]
            flat = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(total, parameters)])
            before = head.detach().clone()
            record = engine.step(encoded, adapter="a", step=step, num_steps=2)
            assert record.gradient_norm == pytest.approx(float(flat.norm()), rel=1e-4)
            scale = min(1.0, engine.spec.optimizer.max_grad_norm / record.gradient_norm)
            torch.testing.assert_close(engine.optimizer.gradients, flat * scale, rtol=1e-3, atol=1e-6)
            assert record.loss == pytest.approx(parts["loss"], rel=1e-5)
            assert record.objectives["semantic"] == pytest.approx(parts["semantic"], rel=1e-4)
            assert record.objectives["matching"] == pytest.approx(parts["matching"], rel=1e-4)
            assert not torch.equal(before, head)


def test_both_passes_drop_the_same(llama_base: Path) -> None:
    """With dropout the states of the first pass are those of the second."""
    spec = train_spec(objectives=OBJECTIVES, micro_batch_tokens=60, lora=LoraSpec(rank=4, dropout=0.3))
    seen: list[Any] = []

    class Noted(ReferenceObjectives):
        def states(self, part: Any) -> Any:
            found = super().states(part)
            seen.append((torch.is_grad_enabled(), [tensor.detach() for tensor in found.tensors]))
            return found

    with trainer(llama_base, spec) as made:
        engine = made._engine
        assert engine.objectives is not None
        engine.objectives.__class__ = Noted
        encoded = made._preparation.prepare(mixed(3)).encoded.examples
        engine.start("a")
        for step in (1, 2):
            engine.step(encoded, adapter="a", step=step, num_steps=2)
    half = len(seen) // 4
    assert half > 2
    for without, within in zip(
        [*seen[:half], *seen[2 * half : 3 * half]], [*seen[half : 2 * half], *seen[3 * half :]], strict=True
    ):
        assert (without[0], within[0]) == (False, True)
        assert all(torch.equal(one, other) for one, other in zip(without[1], within[1], strict=True))
    assert not torch.equal(seen[half - 1][1][0], seen[3 * half - 1][1][0])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_micro_batches_change_rounding_only(checkpointing: bool, gemma_base: Path, tmp_path: Path) -> None:
    adapters = []
    for max_tokens in (60, 100_000):
        spec = train_spec(
            batch=7,
            epochs=2,
            objectives=OBJECTIVES,
            micro_batch_tokens=max_tokens,
            gradient_checkpointing=checkpointing and max_tokens == 60,
        )
        with trainer(gemma_base, spec) as made:
            made.train(mixed(6), tmp_path / str(max_tokens), tmp_path / f"work-{max_tokens}")
        adapters.append(read_adapter(tmp_path / str(max_tokens)))
    for path, (a, b) in adapters[0].factors.items():
        other_a, other_b = adapters[1].factors[path]
        product, other = b @ a, other_b @ other_a
        assert float((product - other).norm()) <= 1e-4 * float(other.norm()), path


def test_interrupted_and_taken_up_it_has_the_same_bytes(qwen3_base: Path, tmp_path: Path) -> None:
    spec = train_spec(
        batch=3,
        epochs=2,
        objectives=OBJECTIVES,
        lora=LoraSpec(rank=4, dropout=0.1),
        micro_batch_tokens=60,
        checkpoint_every_s=0,
    )
    with trainer(qwen3_base, spec) as made:
        made.train(mixed(4), tmp_path / "whole", tmp_path / "work-whole")
        with pytest.raises(InterruptedRunError):
            made.train(mixed(4), tmp_path / "a", tmp_path / "work", InterruptAt(3))
        made.train(task(4), tmp_path / "other", tmp_path / "work-other")
        made.train(mixed(4), tmp_path / "a", tmp_path / "work")
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "whole")
    lines = read_jsonl(tmp_path / "a" / LOG_FILE)
    assert any(line["objectives"].get("matching_accuracy", 0) > 0 for line in lines)


def test_without_a_weight_nothing_is_other_than_without_objectives(qwen3_base: Path, tmp_path: Path) -> None:
    for name, objectives in (("none", None), ("idle", AlignmentSpec(semantic=0, matching=0, layer=99))):
        with trainer(qwen3_base, train_spec(objectives=objectives)) as made:
            assert made._engine.objectives is None
            made.train(task(8), tmp_path / name, tmp_path / f"work-{name}")
    assert adapter_bytes(tmp_path / "none") == adapter_bytes(tmp_path / "idle")


class _Events(InterruptAt):
    def __init__(self, step: int | None = None) -> None:
        super().__init__(step)
        self.told: list[tuple[Any, ...]] = []

    def write(self, event: str, **fields: Any) -> None:
        super().write(event, **fields)
        if event == "train-degenerate":
            self.told.append((fields["adapter"], fields["part"], fields["step"]))


def test_a_batch_of_one_example_is_told_once_an_adapter(qwen3_base: Path, tmp_path: Path) -> None:
    log = _Events()
    with trainer(qwen3_base, train_spec(objectives=OBJECTIVES, epochs=2)) as made:
        for name in ("a", "b"):
            made.train(TrainTask(Job(name, (DE_EN,)), examples(5)), tmp_path / name, tmp_path / f"work-{name}", log)
    assert log.told == [("a", "semantic", 2), ("b", "semantic", 2)]


def test_taken_up_again_it_is_not_told_again(qwen3_base: Path, tmp_path: Path) -> None:
    spec = train_spec(objectives=OBJECTIVES, epochs=3, checkpoint_every_s=0)
    made = TrainTask(Job("a", (DE_EN,)), examples(5))  # the last batch of every epoch is one example
    logs = [_Events(1), _Events(2), _Events()]
    with trainer(qwen3_base, spec) as trained:
        for log in logs[:2]:
            with pytest.raises(InterruptedRunError):
                trained.train(made, tmp_path / "a", tmp_path / "work", log)
        trained.train(made, tmp_path / "a", tmp_path / "work", logs[2])
    assert [log.resumed_at for log in logs] == [None, 1, 2]
    assert [log.told for log in logs] == [[], [("a", "semantic", 2)], []]


def test_an_objective_that_is_not_finite_undoes_the_update_before(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Engine.step

    def spoilt(self: Engine, given: Any, **others: Any) -> StepRecord:
        if others["step"] < 3:
            return step(self, given, **others)
        return StepRecord(3, 1.0, 1e-3, 1.0, 5, 5, {"semantic": float("nan")})

    monkeypatch.setattr(Engine, "step", spoilt)
    with trainer(qwen3_base, train_spec(objectives=OBJECTIVES)) as made:
        result = made.train(task(16), tmp_path / "a", tmp_path / "work")
    assert (result.status, result.num_steps) == ("diverged", 1)
