"""A scorer encodes what is new, in any order and in any company, and always says the same."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.neural import scorer as scorer_module
from hexapla.neural.scorer import Recent, Scorer, load_scorer
from tests.neural.conftest import ENCODER, FIXTURES, Samples


@pytest.fixture(params=["regression-softmax-norm", "unified-softmax"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    """Both kinds."""
    return load_scorer(str(FIXTURES / request.param), tokenizer=ENCODER, precision="fp32", device="cpu")


def test_a_sentence_is_encoded_once(samples: Samples) -> None:
    scorer = load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=ENCODER)
    first = scorer.score(samples.sources, samples.hypotheses, samples.references)
    distinct = {*samples.sources, *samples.hypotheses, *samples.references}
    assert scorer.num_encoded == len(distinct)
    # the other way round, nothing is new: sources and references of a multi-way set change places
    assert scorer.score(samples.sources, samples.hypotheses, samples.references) == first
    scorer.score(samples.references, samples.hypotheses, samples.sources)
    assert scorer.num_encoded == len(distinct)
    scorer.score(["new"], ["newer"], samples.references[:1])
    assert scorer.num_encoded == len(distinct) + 2


def test_a_pair_is_encoded_once(samples: Samples) -> None:
    scorer = load_scorer(str(FIXTURES / "unified-softmax"), tokenizer=ENCODER)
    first = scorer.score(samples.sources * 2, samples.hypotheses * 2)
    assert first[: len(samples.sources)] == first[len(samples.sources) :]
    pairs = set(zip(samples.sources, samples.hypotheses, strict=True))
    assert scorer.num_encoded == len(pairs)
    assert scorer.score(samples.sources, samples.hypotheses) == first[: len(samples.sources)]
    assert scorer.num_encoded == len(pairs)


@pytest.mark.parametrize("name", ["regression-softmax-norm", "unified-softmax-norm"])
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(chosen=st.lists(st.integers(0, 24), max_size=7), batch_tokens=st.sampled_from([1, 16, 100, 10_000]))
def test_scores_do_not_depend_on_order_company_or_batches(
    name: str, samples: Samples, chosen: list[int], batch_tokens: int
) -> None:
    scorer = load_scorer(str(FIXTURES / name), tokenizer=ENCODER, device="cpu", batch_tokens=batch_tokens)
    scores = scorer.score(
        *([side[place] for place in chosen] for side in (samples.sources, samples.hypotheses, samples.references))
    )
    expected = json.loads((FIXTURES / "scores.json").read_text())[name]
    assert scores == pytest.approx([expected[place] for place in chosen], abs=1e-5)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("name", ["regression-softmax", "xcomet-errors"])
def test_batches_beside_each_other_give_the_same(name: str, samples: Samples) -> None:
    scorer = load_scorer(str(FIXTURES / name), tokenizer=ENCODER, device="cpu", batch_tokens=100)
    scores = scorer.score(samples.sources, samples.hypotheses, samples.references)
    assert scores == pytest.approx(json.loads((FIXTURES / "scores.json").read_text())[name], abs=1e-5)


def test_long_lists_are_taken_in_blocks(scorer: Scorer, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = (samples.sources, samples.hypotheses, samples.references)
    whole = scorer.score(*texts)
    monkeypatch.setattr(scorer_module, "_BLOCK", 4)
    assert scorer.score(*texts) == pytest.approx(whole, abs=2e-6)
    assert scorer.score(*texts) != pytest.approx(whole[::-1], abs=2e-6)


def test_no_gradients_are_kept(samples: Samples) -> None:
    scorer = load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=ENCODER)
    with torch.enable_grad():
        scorer.score(samples.sources, samples.hypotheses, samples.references)
        assert not any(vector.requires_grad for vector in scorer._sentences._values.values())  # type: ignore[attr-defined]


def test_no_segments_no_scores(scorer: Scorer) -> None:
    assert scorer.score([], [], []) == []


def test_wrong_arguments(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="different lengths"):
        scorer.score(["a"], ["b", "c"], ["d", "e"])
    with pytest.raises(ValueError, match="different lengths"):
        scorer.score(["a", "b"], ["b", "c"], ["d"])
    if scorer.needs_references:
        with pytest.raises(UserError, match="against references"):
            scorer.score(["a"], ["b"])


def test_the_least_recently_used_are_forgotten() -> None:
    asked: list[list[str]] = []

    def compute(keys: list[str]) -> list[str]:
        asked.append(list(keys))
        return [key.upper() for key in keys]

    recent: Recent[str, str] = Recent(2)
    assert recent.get_all(["a", "b"], compute) == ["A", "B"]
    assert recent.get_all(["a"], compute) == ["A"]
    # more than are remembered at once are all given
    assert recent.get_all(["c", "a", "d"], compute) == ["C", "A", "D"]
    assert recent.get_all(["b"], compute) == ["B"]
    assert recent.get_all(["d"], compute) == ["D"]
    assert asked == [["a", "b"], ["c", "d"], ["b"]]
