"""Several processes share out every step: the same model as one makes, up to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.common.artifacts import read_jsonl
from tests.train.bank.runs import Recorded
from tests.train.full.runs import OBJECTIVES, both_ways, distance, full_spec, train


@pytest.mark.slow  # starts two interpreters
def test_two_processes_make_what_one_makes(qwen3_base: Path, tmp_path: Path) -> None:
    spec = full_spec(checkpoint_every_s=0, micro_batch_tokens=60)
    log = Recorded()
    result = train(qwen3_base, spec, tmp_path / "two", num_processes=2, log=log)
    alone = train(qwen3_base, spec, tmp_path / "one")
    assert 0 < distance(tmp_path / "two", tmp_path / "one") < 1e-5
    assert result.final_loss == pytest.approx(alone.final_loss, rel=1e-6)
    assert result.num_input_tokens == alone.num_input_tokens
    assert [event["step"] for event in log.of("train-checkpoint")] == [1, 2, 3, 4, 5]
    # one process goes on where two stopped
    train(qwen3_base, spec, tmp_path / "one-more", work=tmp_path / "two.work", log=log)
    assert log.of("train-resume")[0]["step"] == 5
    assert distance(tmp_path / "one-more", tmp_path / "one") < 1e-5


@pytest.mark.slow  # starts two interpreters
def test_two_processes_contrast_what_one_does(qwen3_base: Path, tmp_path: Path) -> None:
    objectives = OBJECTIVES.model_copy(update={"contrast": 3})
    spec = full_spec(batch=8, micro_batch_tokens=200, checkpoint_every_s=0, objectives=objectives)
    log = Recorded()
    train(qwen3_base, spec, tmp_path / "two", made=both_ways(), num_processes=2)
    train(qwen3_base, spec, tmp_path / "one", made=both_ways())
    assert 0 < distance(tmp_path / "two", tmp_path / "one") < 1e-5
    ours, theirs = (read_jsonl(tmp_path / name / "log.jsonl") for name in ("two", "one"))
    for our, their in zip(ours, theirs, strict=True):
        assert our["objectives"] == pytest.approx(their["objectives"], rel=1e-5)
        assert our["gradient_norm"] == pytest.approx(their["gradient_norm"], rel=1e-5)
    # one process goes on where two stopped, with the head that they trained
    train(qwen3_base, spec, tmp_path / "more", work=tmp_path / "two.work", made=both_ways(), log=log)
    assert log.of("train-resume")[0]["step"] == 2
    assert distance(tmp_path / "more", tmp_path / "one") < 1e-5
