"""xCOMET's errors: joined by hand, held to those of unbabel-comet, and in texts of any kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.neural import load_scorer
from hexapla.neural.spans import ErrorSpan, TaggedTokens, join_tags, weigh
from hexapla.neural.xcomet import XcometScorer
from tests.neural.conftest import ENCODER, FIXTURES, Samples, rewrite_weights

ERRORS: dict[str, list[list[dict[str, Any]]]] = json.loads((FIXTURES / "errors.json").read_text(encoding="utf-8"))


def load(name: str = "xcomet-errors") -> XcometScorer:
    scorer = load_scorer(str(FIXTURES / name), tokenizer=ENCODER, precision="fp32", device="cpu")
    assert isinstance(scorer, XcometScorer)
    return scorer


@pytest.fixture(scope="module")
def scorer() -> XcometScorer:
    return load()


@pytest.mark.parametrize(
    ("labels", "errors", "weight"),
    [
        ([0, 0, 0], [], 0),
        ([0, 1, 0], [(1, 2, "minor")], 1),
        ([0, 2, 2, 0, 3, 0], [(1, 3, "major"), (4, 5, "critical")], 15),  # neighbours are one error
        ([0, 1, 3, 2, 0], [(1, 4, "minor")], 1),  # as severe as its first token
        ([2, 0], [(0, 1, "major")], 5),
        ([0, 1, 0, 3], [(1, 2, "minor")], 1),  # what reaches to the end is not counted
        ([3, 0, 3, 0, 3, 0], [(0, 1, "critical"), (2, 3, "critical"), (4, 5, "critical")], 25),
        ([], [], 0),
    ],
)
def test_tags_are_joined_and_weighed(labels: list[int], errors: list[tuple[int, int, str]], weight: int) -> None:
    tags = torch.full((len(labels), 4), 0.1)
    for token, label in enumerate(labels):
        tags[token, label] = 0.7
    found = join_tags(tags)
    assert [(error.first, error.end, error.severity) for error in found] == errors
    assert [error.confidence for error in found] == pytest.approx([0.7] * len(errors))
    assert weigh(error.severity for error in found) == weight


def test_confidence_is_the_mean_over_the_tokens_whatever_their_tags() -> None:
    tags = torch.tensor([[0.1, 0.6, 0.2, 0.1], [0.0, 0.0, 0.1, 0.9], [0.4, 0.3, 0.2, 0.1]])
    assert join_tags(tags) == [TaggedTokens(0, 2, "minor", pytest.approx(0.75))]


@pytest.mark.parametrize("case", ERRORS)
def test_errors_equal_those_of_unbabel_comet(case: str, samples: Samples) -> None:
    references = None if case.endswith("without references") else samples.references
    found = load(case.split()[0]).find_errors(samples.sources, samples.hypotheses, references)
    for theirs, ours in zip(ERRORS[case], found, strict=True):
        expected = [
            ErrorSpan(**{**error, "confidence": pytest.approx(error["confidence"], abs=1e-5)}) for error in theirs
        ]
        assert list(ours) == expected


def test_the_recorded_errors_are_of_every_kind() -> None:
    for case in ("xcomet-errors", "xcomet-errors without references"):
        found = [error for errors in ERRORS[case] for error in errors]
        assert {error["severity"] for error in found} == {"minor", "major", "critical"}
        assert sum(error["end"] - error["start"] > 5 for error in found) > 20
    assert ERRORS["xcomet-errors"] != ERRORS["xcomet-errors without references"]


def test_scores_and_errors_come_of_one_pass(samples: Samples) -> None:
    texts = (samples.sources, samples.hypotheses, samples.references)
    alone, both = load(), load()
    scores, errors = both.score(*texts), both.find_errors(*texts)
    once = both.num_encoded
    assert errors == alone.find_errors(*texts)
    assert alone.num_encoded == once == 3 * len(set(zip(*texts, strict=True)))
    assert both.score(*texts) == scores == alone.score(*texts)
    assert both.num_encoded == alone.num_encoded == once
    # other passes, other errors
    assert both.find_errors(*texts[:2]) != errors
    assert both.num_encoded == once + len(set(zip(*texts[:2], strict=True)))


def test_no_segments_and_ragged_ones(scorer: XcometScorer) -> None:
    assert scorer.find_errors([], []) == []
    with pytest.raises(ValueError, match="different lengths"):
        scorer.find_errors(["a"], ["b", "c"])


def test_errors_end_where_the_tokenizer_cut_the_text(scorer: XcometScorer, samples: Samples) -> None:
    [number] = [n for n, text in enumerate(samples.hypotheses) if len(text) > 700]
    text = samples.hypotheses[number]
    [errors] = scorer.find_errors([samples.sources[number]], [text])
    [longer] = scorer.find_errors([samples.sources[number]], [f"{text} {text}"])
    assert errors == longer
    assert 50 < errors[-1].end < 200


SPACES = (" ", "\t", "\n", "\u3000", "\u200b", "\ufeff", "\x00")
WRITTEN = (
    "<pad>",
    "<s>",
    "</s>",
    "é",
    "e\u0301",
    "½",
    "ﬁ",
    "我女儿",
    "👩\u200d👧",
    "नमस्ते",
    "سلام",
    "Haus",
    "Mein Sohn ist jetzt da. ",
)
PIECES = st.sampled_from(SPACES + WRITTEN)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join), st.sampled_from([None, "", "Mein Sohn ist in der Bank."]))
def test_errors_lie_in_texts_of_any_kind(scorer: XcometScorer, text: str, reference: str | None) -> None:
    [errors] = scorer.find_errors(["My son"], [text], None if reference is None else [reference])
    for error in errors:
        assert 0 <= error.start <= error.end <= len(text)
        assert 0.25 <= error.confidence <= 1
    starts = [error.start for error in errors]
    assert starts == sorted(starts)


@pytest.mark.parametrize("text", ["", "   ", "\n", "<pad>" * 10, "<s></s>" * 9])
def test_texts_of_nothing(scorer: XcometScorer, text: str) -> None:
    for references in (None, [""], ["Mein Sohn ist jetzt in der Bank."]):
        [errors] = scorer.find_errors([""], [text], references)
        assert all(error.end <= len(text) for error in errors)


def test_regression_counts_as_one_at_most(copy: Any, samples: Samples) -> None:
    folder = copy("xcomet")
    texts = (samples.sources, samples.hypotheses, samples.references)
    usual = load_scorer(str(folder), tokenizer=ENCODER, device="cpu").score(*texts)

    def change(content: dict[str, Any]) -> None:
        content["state_dict"]["estimator.ff.6.bias"].fill_(50.0)
        content["state_dict"]["hidden2tag.weight"].zero_()
        content["state_dict"]["hidden2tag.bias"].copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))

    rewrite_weights(folder, change)
    scorer = load_scorer(str(folder), tokenizer=ENCODER, device="cpu")
    assert scorer.score(*texts) == pytest.approx([1.0] * len(usual))
    assert scorer.score(samples.sources, samples.hypotheses) == pytest.approx([1.0] * len(usual))


def test_other_labels_and_layers_are_refused(copy: Any) -> None:
    for changes, message in (({"error_labels": ["bad"]}, "minor, major, critical"), ({"word_layer": 8}, "0 to 3")):
        folder = copy("xcomet", **changes)
        rewrite_weights(folder, lambda content: content.pop("hyper_parameters"))
        with pytest.raises(UserError, match=message):
            load_scorer(str(folder), tokenizer=ENCODER)
        folder.rename(folder.with_name(f"xcomet-{next(iter(changes))}"))
