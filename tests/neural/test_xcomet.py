"""xCOMET's errors, weighed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hexapla.common.errors import UserError
from hexapla.neural import load_scorer
from hexapla.neural.xcomet import weigh_errors
from tests.neural.conftest import ENCODER, Samples, rewrite_weights


@pytest.mark.parametrize(
    ("labels", "weight"),
    [
        ([0, 0, 0], 0),
        ([0, 1, 0], 1),
        ([0, 2, 2, 0, 3, 0], 15),  # neighbours are one error
        ([0, 1, 3, 2, 0], 1),  # as severe as its first token
        ([2, 0], 5),
        ([0, 1, 0, 3], 1),  # what reaches to the end is not counted
        ([3, 0, 3, 0, 3, 0], 25),
        ([], 0),
    ],
)
def test_errors_are_weighed(labels: list[int], weight: int) -> None:
    tags = torch.full((len(labels), 4), 0.1)
    for token, label in enumerate(labels):
        tags[token, label] = 0.7
    assert weigh_errors(tags) == weight


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
