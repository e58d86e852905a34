"""What is left of an adapter: files that come back as they were, a card and a story that can be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hexapla.adapter import LoraAdapter, LoraSettings, read_adapter
from hexapla.train.encoding import EncodedExample, EncodedSet
from hexapla.train.result import StepRecord, TrainResult, divergence_story, write_result
from hexapla.train.spec import AdapterSpec
from hexapla.train.task import PreparedTask
from tests.train.material import JOB, train_spec

RECORDS = [StepRecord(step, 4.0 / step, 5e-3, 1.5, 20, 50) for step in (1, 2, 3)]
RESULT = TrainResult(
    adapter="de-en",
    status="stopped-early",
    num_steps=2,
    num_planned_steps=5,
    num_examples=8,
    set_asides={"source-too-long": 1},
    num_target_tokens=60,
    num_input_tokens=150,
    seconds=1.25,
    first_loss=4.0,
    final_loss=RECORDS[-1].loss,
    development=[[1, 3.5], [2, 3.25], [3, 3.375]],
    development_chrf=[],
    story=None,
    device="cpu",
    precision="float32",
    threads=1,
    trainer="bank",
    company=3,
)


def _write(folder: Path) -> LoraAdapter:
    generator = torch.Generator().manual_seed(0)
    factors = (torch.randn(2, 6, generator=generator), torch.randn(4, 2, generator=generator))
    settings = LoraSettings(rank=2, alpha=4.0, target_modules=("q_proj",), base_id="some/base")
    adapter = LoraAdapter(settings, {"model.layers.0.self_attn.q_proj": factors})
    spec = train_spec(adapters={"de-en": AdapterSpec(rank=2, alpha=4.0, epochs=3)}).of("de-en")
    encoded = EncodedSet([EncodedExample("e", np.arange(5, dtype=np.int32), 2)], {})
    write_result(
        folder,
        adapter,
        RESULT,
        RECORDS,
        PreparedTask(JOB, spec, encoded, [], [], "digest"),
        seed=7,
        template_name="alma",
    )
    return adapter


def test_everything_comes_back_as_it_was_written(tmp_path: Path) -> None:
    adapter = _write(tmp_path / "a")
    assert TrainResult.load(tmp_path / "a") == RESULT
    lines = (tmp_path / "a" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [StepRecord(**json.loads(line)) for line in lines] == RECORDS
    read = read_adapter(tmp_path / "a")
    assert read.settings == adapter.settings
    for path, factors in adapter.factors.items():
        assert all(torch.equal(*pair) for pair in zip(factors, read.factors[path], strict=True))


def test_the_card_says_what_this_adapter_was_trained_with(tmp_path: Path) -> None:
    _write(tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    for part in ("# de-en", "rank 2, alpha 4", "3 epoch(s), seed 7", "template: alma", "2 of 5 steps", "stopped-early"):
        assert part in card, part


@pytest.mark.parametrize("field", ["loss", "gradient_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_record_is_finite_when_loss_and_gradient_are(field: str, value: float) -> None:
    assert RECORDS[0].is_finite
    assert not replace(RECORDS[0], **{field: value}).is_finite


def test_the_story_of_a_divergence() -> None:
    spoiled = StepRecord(4, float("nan"), 2e-3, 12.5, 20, 50)
    story = divergence_story(spoiled, RECORDS, kept_steps=2)
    for part in ("At step 4 the loss was nan", "norm 12.5", "rate 0.002", "4, 2, 1.333", "after 2 updates"):
        assert part in story, part
    assert "before: none" in divergence_story(replace(spoiled, step=1), [], kept_steps=0)
