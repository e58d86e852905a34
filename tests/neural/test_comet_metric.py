"""COMET as a metric like the others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.common.errors import UserError
from hexapla.evaluate.metrics import MetricSettings, Segments, comet, make_metric
from hexapla.neural import load_scorer
from hexapla.neural.spec import NeuralSpec
from tests.neural.conftest import ENCODER, FIXTURES, Samples, rewrite_weights

MODELS = {
    "comet22": str(FIXTURES / "regression-sparsemax-norm"),
    "cometkiwi22": str(FIXTURES / "unified-patched"),
    "xcomet-xl": str(FIXTURES / "xcomet"),
    "xcomet-xxl": str(FIXTURES / "xcomet"),
}


def told(**neural: Any) -> MetricSettings:
    return MetricSettings(neural=NeuralSpec(**{"models": MODELS, "tokenizer": ENCODER, "precision": "fp32", **neural}))


@pytest.fixture(autouse=True)
def released() -> Any:
    yield
    comet.release_scorers()


def test_figures_are_a_hundred_times_the_mean(samples: Samples) -> None:
    for name in MODELS:
        references = None if name == "cometkiwi22" else samples.references
        metric = make_metric(name, "de", told())
        statistics = metric.statistics(Segments(samples.hypotheses, references, samples.sources))
        scores = load_scorer(MODELS[name], tokenizer=ENCODER, device="cpu").score(
            samples.sources, samples.hypotheses, references
        )
        assert metric.corpus_score(statistics) == pytest.approx(100 * sum(scores) / len(scores), abs=1e-4)
        assert metric.segment_score(statistics[3]) == pytest.approx(100 * scores[3], abs=1e-4)
        assert metric.statistics(Segments([], [], [])) == []


def test_the_signature_says_all_that_matters() -> None:
    signature = make_metric("comet22", "de", told()).signature.split("|")
    assert signature[0].startswith("model:regression-sparsemax-norm@")
    assert signature[1:4] == ["class:regression", "mix:sparsemax", "layer-norm:yes"]
    assert [part.split(":")[0] for part in signature[4:]] == [
        "tokenizer", "precision", "scale", "torch", "transformers", "tokenizers", "hexapla",
    ]  # fmt: skip
    assert "precision:fp32" in signature
    assert "precision:bf16" in make_metric("comet22", "de", told(precision="bf16")).signature
    # hparams.yaml says sparsemax_patch, which is softmax
    assert "|mix:softmax|" in make_metric("cometkiwi22", "de", told()).signature
    assert make_metric("comet22", "fr", told()).signature == "|".join(signature)


def test_metrics_of_all_languages_share_one_model(samples: Samples) -> None:
    segments = Segments(samples.hypotheses, samples.references, samples.sources)
    for target in ("de", "fr"):
        make_metric("comet22", target, told()).statistics(segments)
    found = comet._shared_scorer.cache_info()
    assert (found.misses, found.hits) == (1, 1)
    comet.release_scorers()
    assert comet._shared_scorer.cache_info().currsize == 0


def test_making_a_metric_loads_no_weights_but_says_what_is_missing(copy: Any) -> None:
    folder = copy("regression-softmax")
    (folder / "checkpoints" / "model.ckpt").write_bytes(b"nothing")
    metric = make_metric("comet22", "de", told(models={"comet22": str(folder)}))
    with pytest.raises(UserError, match="damaged"):
        metric.statistics(Segments(["a"], ["b"], ["c"]))
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(UserError, match="no weights"):
        make_metric("comet22", "de", told(models={"comet22": str(folder)}))
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        make_metric("comet22", "de", told(tokenizer=str(FIXTURES)))


def test_a_checkpoint_of_the_other_metric() -> None:
    for name, other in (("comet22", "cometkiwi22"), ("cometkiwi22", "comet22")):
        with pytest.raises(UserError, match=rf"{name} needs a checkpoint of the class .*neural\.models\.{name}"):
            make_metric(name, "de", told(models={name: MODELS[other]}))


def test_missing_sources() -> None:
    """The stages ask `needs` first; who does not is stopped."""
    for name, needs in (("comet22", ("sources", "references")), ("cometkiwi22", ("sources",))):
        metric = make_metric(name, "de", told())
        assert metric.needs == needs
        with pytest.raises(ValueError, match="sources"):
            metric.statistics(Segments(["a"], ["b"]))


def test_scores_that_are_no_numbers(copy: Any) -> None:
    folder: Path = copy("unified-softmax")
    rewrite_weights(folder, lambda content: content["state_dict"]["estimator.ff.6.bias"].fill_(torch.nan))
    metric = make_metric("cometkiwi22", "de", told(models={"cometkiwi22": str(folder)}))
    with pytest.raises(UserError, match=r"CometKiwi-22 of segment 1 \(en-de\) is nan"):
        metric.statistics(Segments(["a"], None, ["b"], "en"))
    with pytest.raises(UserError, match=r"\(into de\)"):
        metric.statistics(Segments(["a"], None, ["b"]))


def test_unknown_neural_metrics_in_the_settings() -> None:
    with pytest.raises(ValueError, match="comet22"):
        NeuralSpec(models={"comet-22": "x"})
