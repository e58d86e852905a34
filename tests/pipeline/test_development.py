"""chrF of development rows while training: measured with real translations, it decides which state is kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from sacrebleu.metrics import CHRF

from hexapla.adapter import read_adapter
from hexapla.base import Base, load_tokenizer
from hexapla.pipeline.development import DevelopmentTranslator
from hexapla.plan import Layout
from hexapla.pool import describe_base
from hexapla.prompts import get_template
from hexapla.train.result import TrainResult
from hexapla.train.spec import DevelopmentSpec, OptimizerSpec
from hexapla.train.stage import train_adapters
from hexapla.train.task import TrainTask
from hexapla.translate.spec import TranslateSpec
from tests.pipeline.world import run, write_recipe
from tests.train.material import JOB, examples, train_spec


@pytest.fixture
def translator(llama_base: Path) -> DevelopmentTranslator:
    base = Base(str(llama_base))
    layout = Layout(("en", "de"), ("en",), {"west": ("de",)})
    described = describe_base(
        name="base", base=base, tokenizer=load_tokenizer(base), template=get_template("alma"), layout=layout
    )
    return DevelopmentTranslator(described, TranslateSpec(precision="fp32", max_length_ratio=2))


def test_the_state_with_the_highest_chrf_is_handed_out(
    translator: DevelopmentTranslator, llama_base: Path, tmp_path: Path
) -> None:
    """Eight sentences learned by heart: the last states translate them, the first do not."""
    spec = train_spec(
        epochs=40,
        optimizer=OptimizerSpec(lr=1e-2, schedule="cosine", warmup=0.1),
        development=DevelopmentSpec(metric="chrf", every=0.25),
    )

    def deliver(name: str, fill: Callable[[Path], None]) -> None:
        (tmp_path / name).mkdir()
        fill(tmp_path / name)

    train_adapters(
        Base(str(llama_base)),
        get_template("alma"),
        spec,
        0,
        [TrainTask(JOB, examples(8), examples(8))],
        deliver=deliver,
        work=tmp_path / "work",
        translate=translator,
        device="cpu",
    )
    result = TrainResult.load(tmp_path / JOB.name)
    steps, chrf = zip(*result.development_chrf, strict=True)
    assert steps == (20, 40, 60, 80) == tuple(step for step, _ in result.development)
    assert chrf[0] < 50 < max(chrf)
    assert result.num_steps == steps[chrf.index(max(chrf))]
    again: DevelopmentTranslator = pickle.loads(pickle.dumps(translator))  # as another process would have it
    hypotheses = again(JOB.name, read_adapter(tmp_path / JOB.name), examples(8))
    score = CHRF().corpus_score(hypotheses, [[example.target for example in examples(8)]]).score
    assert score == pytest.approx(max(chrf), abs=1e-9)


def test_a_recipe_asks_for_it(llama_base: Path, tmp_path: Path) -> None:
    def edit(document: dict[str, dict[str, object]]) -> None:
        document["data"]["split"] = {"dev": 4}
        document["train"]["strategy"] = "direction-aware"
        document["train"]["development"] = {"metric": "chrf", "every": 0.5}

    recipe = write_recipe(tmp_path, llama_base, edit)
    run(recipe, tmp_path / "out", "--set", "evaluate.limit=1")
    summaries = [TrainResult.load(path.parent) for path in (tmp_path / "out/artifacts").glob("*/training.json")]
    assert len(summaries) == 3
    for summary in summaries:
        last = summary.num_planned_steps
        assert [step for step, _ in summary.development_chrf] == [last // 2, last]
        assert all(0 <= chrf <= 100 for _, chrf in summary.development_chrf)
