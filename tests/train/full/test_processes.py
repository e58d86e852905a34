"""Several processes share out every step: the same model as one makes, up to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.bank.runs import Recorded
from tests.train.full.runs import distance, full_spec, train


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
