"""One adapter's life: what is sound, what is kept, what a divergence changes, and what is told of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from hexapla.train.bank.life import AdapterLife, Divergence
from hexapla.train.result import StepRecord
from hexapla.train.spec import DevelopmentSpec, OptimizerSpec
from tests.train.bank.runs import clock


def life(num_steps: int = 40, **changes: Any) -> AdapterLife:
    """An adapter at its start; one sentence of 10 tokens a step."""
    return AdapterLife(clock(0, [10] * num_steps, batch=1, **changes))


def live(adapter: AdapterLife, norms: Sequence[float], loss: float = 2.0) -> None:
    """Make updates with gradients of these norms."""
    for norm in norms:
        adapter.note(loss_sum=5 * loss, num_target_tokens=5, num_input_tokens=10)
        adapter.advance(adapter.record(norm))


def record(adapter: AdapterLife, norm: float, loss: float = 2.0) -> StepRecord:
    """The step that a batch would make now."""
    adapter.note(loss_sum=5 * loss, num_target_tokens=5, num_input_tokens=10)
    return adapter.record(norm)


@pytest.mark.parametrize("loss", [2.0, math.nan, math.inf])
@pytest.mark.parametrize("norm", [1.0, math.nan, math.inf])
def test_what_is_not_finite_is_not_sound(loss: float, norm: float) -> None:
    adapter = life()
    assert adapter.is_sound(record(adapter, norm, loss)) == (math.isfinite(loss) and math.isfinite(norm))


def test_an_explosion_is_a_thousandfold_of_the_median() -> None:
    adapter = life()
    live(adapter, [0.5, 1.0, 3.0] * 6)
    assert adapter.is_sound(record(adapter, 1000.0))
    assert not adapter.is_sound(record(adapter, 1001.0))


def test_an_explosion_is_judged_only_by_enough_and_recent_steps() -> None:
    young = life()
    live(young, [1.0] * 15)
    assert young.is_sound(record(young, 1e6))
    changed = life(100)
    live(changed, [1.0] * 40)
    live(changed, [100.0] * 17)
    assert changed.is_sound(record(changed, 1e5))


def test_what_need_not_be_clipped_is_no_explosion() -> None:
    """Sentences known by heart give gradients of almost nothing; the next new one is no divergence."""
    adapter = life(optimizer=OptimizerSpec(lr=1e-3, max_grad_norm=1.0))
    live(adapter, [1e-7] * 20)
    assert adapter.is_sound(record(adapter, 1.0))
    assert not adapter.is_sound(record(adapter, 1.01))


@pytest.mark.parametrize(
    ("num_steps", "every", "expected"),
    [
        (40, None, [10, 20, 30]),
        (3, None, [1, 2]),
        (1, None, []),
        (10, 0.1, list(range(1, 10))),
        (25, 0.1, [3, 6, 9, 12, 15, 18, 21, 24]),
        (100, 0.07, list(range(7, 100, 7))),  # 0.07 · 100 is a little more than 7
        (10, 1.0, []),
    ],
)
def test_milestones(num_steps: int, every: float | None, expected: list[int]) -> None:
    adapter = life(num_steps, development=None if every is None else DevelopmentSpec(every=every))
    found = []
    while adapter.clock.step < num_steps:
        if adapter.is_milestone():
            found.append(adapter.clock.step)
            adapter.good_step = adapter.clock.step
            assert not adapter.is_milestone()
        live(adapter, [1.0])
    assert found == expected


@pytest.mark.parametrize(
    ("losses", "patience", "best", "lost"),
    [
        ([3.0, 2.0, 1.0], 1, 3, False),
        ([3.0, 2.0, 2.0], 1, 2, True),
        ([3.0, 2.0, 2.5], 2, 2, False),
        ([3.0, 2.0, 2.5, 2.1], 2, 2, True),
        ([3.0, 2.0, 2.5, 1.9, 2.2], 2, 4, False),
        ([1.0, 2.0, 3.0, 4.0], None, 1, False),
        ([math.nan, 2.0, math.nan, 1.0], None, 4, False),
        ([math.nan, math.nan], 1, None, False),
        ([2.0, math.nan], 1, 1, True),
    ],
)
def test_the_best_measurement_and_patience(
    losses: list[float], patience: int | None, best: int | None, lost: bool
) -> None:
    adapter = life(10, development=DevelopmentSpec(every=0.1, patience=patience))
    for loss in losses:
        live(adapter, [1.0])
        adapter.measured(loss)
    assert adapter.best_step == best
    assert adapter.kept_step == (len(losses) if best is None else best)
    assert adapter.has_lost_patience() == lost
    assert [step for step, _ in adapter.development] == list(range(1, len(losses) + 1))


def test_the_highest_chrf_is_the_best_whatever_the_loss() -> None:
    adapter = life(10, development=DevelopmentSpec(metric="chrf", every=0.1, patience=2))
    for loss, chrf in ((3.0, 20.0), (2.0, 30.0), (1.0, 25.0), (0.5, 30.0)):
        live(adapter, [1.0])
        assert not adapter.has_lost_patience()
        adapter.measured(loss, chrf)
    assert adapter.best_step == 2
    assert adapter.has_lost_patience()
    assert adapter.development_chrf == [[1, 20.0], [2, 30.0], [3, 25.0], [4, 30.0]]
    again = life(10, development=DevelopmentSpec(metric="chrf", every=0.1, patience=2))
    again.restore(adapter.to_record())
    assert again.to_record() == adapter.to_record()


def test_a_divergence_goes_back_and_halves_the_rate_once() -> None:
    adapter = life(optimizer=OptimizerSpec(lr=4e-3, schedule="constant", warmup=0.0))
    live(adapter, [1.0] * 10)
    adapter.good_step = 10
    live(adapter, [1.0] * 3)
    adapter.clock.taken = 1
    assert adapter.diverged(record(adapter, math.nan))
    assert (adapter.clock.step, adapter.clock.taken, len(adapter.records)) == (10, 0, 10)
    assert adapter.tally.num_target_tokens == 0
    assert record(adapter, 1.0).lr == 2e-3
    adapter.advance(adapter.record(1.0))
    assert not adapter.diverged(record(adapter, math.nan))
    assert (adapter.clock.step, len(adapter.records)) == (10, 10)
    assert [divergence.record.step for divergence in adapter.divergences] == [14, 12]


def test_the_story_of_an_adapter_that_was_parked() -> None:
    adapter = life(optimizer=OptimizerSpec(lr=4e-3, schedule="constant", warmup=0.0))
    assert adapter.story() is None
    for loss in (5.0, 4.0, 3.0):
        live(adapter, [1.0], loss)
    adapter.good_step = 2
    adapter.diverged(record(adapter, 7.0, math.nan))
    live(adapter, [1.0], 2.5)
    adapter.diverged(record(adapter, math.inf, 9.0))
    adapter.end("diverged")
    assert adapter.story() == (
        "At step 4 the loss was nan and the gradient's norm 7, at learning rate 0.004. Losses before: 5, 4, 3. "
        "It went back to its state after 2 updates. Then, at half the rate: "
        "At step 4 the loss was 9 and the gradient's norm inf, at learning rate 0.002. Losses before: 5, 4, 2.5. "
        "It went back to its state after 2 updates. The adapter is its state after 2 updates. "
        "A lower train.optimizer.lr or more warm-up may help."
    )


def test_the_story_of_an_adapter_that_recovered() -> None:
    """The losses told are those before the divergence, the state told is the one handed out."""
    adapter = life(30)
    adapter.diverged(record(adapter, 1.0, math.nan))
    live(adapter, [1.0] * 30, loss=1.5)
    adapter.end("finished")
    story = adapter.story()
    assert story is not None
    assert "Losses before: none. It went back to its state after 0 updates." in story
    assert "From there, at half the rate, all went well. The adapter is its state after 30 updates." in story
    assert "1.5" not in story
    adapter.best_step = 12
    assert "The adapter is its state after 12 updates." in str(adapter.story())


def test_a_life_survives_its_checkpoint() -> None:
    changes = {"development": DevelopmentSpec(every=0.1)}
    adapter = life(**changes)
    live(adapter, [1.0] * 5)
    adapter.measured(3.0)
    adapter.good_step = 4
    adapter.diverged(record(adapter, math.inf, 1e30))
    adapter.note(1.5, 2, 3)
    adapter.clock.taken = 1
    adapter.seconds = 0.25
    text = json.dumps(adapter.to_record())
    again = life(**changes)
    again.restore(json.loads(text))
    assert json.dumps(again.to_record()) == text
    assert again.clock.running
    assert again.divergences == adapter.divergences
    assert isinstance(again.divergences[0], Divergence)
    assert again.record(1.0) == adapter.record(1.0)
    assert again.story() == adapter.story()


def test_the_end_leaves_nothing_of_a_batch() -> None:
    adapter = life()
    live(adapter, [1.0])
    adapter.note(1.0, 1, 1)
    adapter.clock.taken = 1
    adapter.end("stopped-early")
    assert (adapter.clock.running, adapter.clock.taken, adapter.tally.num_input_tokens) == (False, 0, 0)
    again = life()
    again.restore(adapter.to_record())
    assert not again.clock.running
    assert again.state == "stopped-early"
