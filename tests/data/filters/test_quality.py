"""The quality filter, with a tiny random model of CometKiwi's kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hexapla.common.errors import UserError
from hexapla.data.filters import quality
from hexapla.data.filters.quality import QualityFilter
from hexapla.neural import load_scorer
from tests.data.filters.cases import ENGLISH, SENTENCES
from tests.neural.conftest import ENCODER, FIXTURES

MODEL = str(FIXTURES / "unified-softmax")


def make(**given: Any) -> QualityFilter:
    return QualityFilter.model_validate({"model": MODEL, "tokenizer": ENCODER, "precision": "fp32", **given})


@pytest.mark.parametrize("code", SENTENCES)
def test_the_score_of_the_pair_decides_in_seven_scripts(code: str) -> None:
    chosen = make()
    chosen.require()
    (score,) = load_scorer(MODEL, tokenizer=ENCODER, precision="fp32").score([ENGLISH], [SENTENCES[code]])
    for least, reason in ((score - 0.01, None), (score + 0.01, "low-quality")):
        # Of a random model any number may come.
        limited = chosen.model_copy(update={"min": least})
        assert limited.judge(("en", code), [ENGLISH], [SENTENCES[code]]) == [reason]


def test_the_side_with_fewer_resources_names_the_threshold() -> None:
    tiers = make().min
    assert not isinstance(tiers, float)
    texts = [ENGLISH], [SENTENCES["de"]]
    (score,) = load_scorer(MODEL, tokenizer=ENCODER, precision="fp32").score(*texts)
    limits = {"high": score + 1, "mid": score + 1, "low": score - 1}
    chosen = make().model_copy(update={"min": tiers.model_copy(update=limits)})
    assert chosen.judge(("en", "de"), *texts) == ["low-quality"]
    assert chosen.judge(("en", "ky"), *texts) == chosen.judge(("ky", "zh"), *texts) == [None]


def test_the_model_is_loaded_once_and_released(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("hexapla.neural.load_scorer", lambda *args, **kwargs: loaded.append(args) or _Scorer())
    quality._scorer.cache_clear()
    for _ in range(2):
        make().judge(("en", "de"), [ENGLISH], [SENTENCES["de"]])
    assert len(loaded) == 1
    make().release()
    make().judge(("en", "de"), [ENGLISH], [SENTENCES["de"]])
    assert len(loaded) == 2
    make().release()


class _Scorer:
    def score(self, sources: list[str], hypotheses: list[str]) -> list[float]:
        return [1.0] * len(hypotheses)


def test_the_version_is_the_checkpoint_s() -> None:
    assert make().version.startswith("unified-softmax@")
    assert make().version != make(model=str(FIXTURES / "unified-sparsemax")).version


def test_a_missing_or_wrong_model_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The model of the filter quality"):
        make(model=str(tmp_path / "none")).require()
    with pytest.raises(UserError, match="needs a model that scores without references"):
        make(model=str(FIXTURES / "regression-softmax")).require()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        make(tokenizer=str(tmp_path)).require()
    with pytest.raises(ValidationError):
        make(min={"high": 0.8})
