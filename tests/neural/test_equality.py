"""Our scores are unbabel-comet's, and our encoder's states are those of transformers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hexapla.common.errors import UserError
from hexapla.neural import load_scorer
from hexapla.neural.checkpoint import Tensors, find_checkpoint, read_tensors
from hexapla.neural.encoder import Encoder
from hexapla.neural.head import sparsemax
from tests.neural.conftest import ENCODER, FIXTURES, Samples

SCORES: dict[str, list[float]] = json.loads((FIXTURES / "scores.json").read_text())
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@pytest.mark.parametrize("case", SCORES)
def test_scores_equal_those_of_unbabel_comet(case: str, samples: Samples) -> None:
    scorer = load_scorer(str(FIXTURES / case.split()[0]), tokenizer=ENCODER, precision="fp32", device="cpu")
    references = None if case.endswith("without references") else samples.references
    scores = scorer.score(samples.sources, samples.hypotheses, references)
    assert scores == pytest.approx(SCORES[case], abs=1e-5)


def test_the_recorded_scores_tell_segments_and_models_apart() -> None:
    for scores in SCORES.values():
        assert max(scores) - min(scores) > 0.02
    patched = load_scorer(str(FIXTURES / "unified-patched"), tokenizer=ENCODER)
    assert patched.score(["a"], ["b"]) != load_scorer(str(FIXTURES / "unified-softmax"), tokenizer=ENCODER).score(
        ["a"], ["b"]
    )


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_is_close(samples: Samples, device: str) -> None:
    texts = (samples.sources, samples.hypotheses, samples.references)
    exact, rounded = (
        load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=ENCODER, precision=precision, device=where)
        for precision, where in (("fp32", "cpu"), ("bf16", device))
    )
    assert rounded.score(*texts) == pytest.approx(exact.score(*texts), abs=0.03)
    assert rounded.score(*texts) != exact.score(*texts)


@pytest.mark.parametrize(("name", "normalises_first"), [("regression-softmax", False), ("xcomet", True)])
def test_an_encoder_made_of_tensors_alone_is_the_configured_one(name: str, normalises_first: bool) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaXLConfig, XLMRobertaXLModel

    folder = FIXTURES / ("encoder-xl" if normalises_first else "encoder")
    kind: Any = (XLMRobertaXLConfig, XLMRobertaXLModel) if normalises_first else (XLMRobertaConfig, XLMRobertaModel)
    config = kind[0].from_pretrained(folder)
    theirs = kind[1](config, add_pooling_layer=False).eval()
    state = {f"encoder.model.{key}": value for key, value in theirs.state_dict().items()}
    told = {"hidden_size": config.hidden_size, "num_attention_heads": config.num_attention_heads}
    ours = Encoder(Tensors(state, folder), told, normalises_first=normalises_first)
    ours.load(ours.depth, device=torch.device("cpu"), dtype=torch.float32)
    ids = torch.tensor([[0, 9, 10, 11, 2], [0, 12, 2, 1, 1], [0, 2, 1, 1, 1]])
    mask = ids != 1
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        states = ours.states([row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]).states
    assert len(states) == config.num_hidden_layers + 1
    for state_ND, hidden_BTD in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(state_ND, hidden_BTD[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[-1], expected.last_hidden_state[mask], atol=1e-5, rtol=1e-5)


def test_layers_without_weight_are_not_loaded(samples: Samples) -> None:
    def depth(name: str) -> int:
        return load_scorer(str(FIXTURES / name), tokenizer=ENCODER)._pool.depth

    assert depth("regression-softmax") == 3
    assert depth("regression-sparsemax") == 2  # its top layer's raw weight is -9
    assert depth("regression-cls-layer") == 2


def test_sparsemax_projects_onto_the_simplex() -> None:
    # by hand: the sorted 1.0, 0.8, 0.1 keep two, τ = (1.8 - 1) / 2
    assert sparsemax(torch.tensor([0.1, 1.0, 0.8])).tolist() == pytest.approx([0.0, 0.6, 0.4])
    assert sparsemax(torch.tensor([0.5, 0.5])).tolist() == pytest.approx([0.5, 0.5])
    assert sparsemax(torch.tensor([9.0, 0.0, 1.0])).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (2560, 32), (4096, 32)])
def test_the_published_encoders_need_no_configuration(width: int, heads: int) -> None:
    found = {
        "encoder.model.embeddings.word_embeddings.weight": torch.zeros(9, width),
        "encoder.model.embeddings.position_embeddings.weight": torch.zeros(514, width),
        "encoder.model.embeddings.token_type_embeddings.weight": torch.zeros(1, width),
        "encoder.model.encoder.layer.0.intermediate.dense.weight": torch.zeros(2, width),
    }
    for configuration in ({}, {"hidden_size": 16, "num_attention_heads": 4, "layer_norm_eps": 1.0}):
        encoder = Encoder(Tensors(found, FIXTURES), configuration, normalises_first=width > 1024)
        settings = encoder._settings
        assert (settings["num_attention_heads"], settings["layer_norm_eps"]) == (heads, 1e-5)
        assert encoder.num_positions == 512


def test_other_encoders_need_their_configuration() -> None:
    tensors = read_tensors(find_checkpoint(str(FIXTURES / "regression-softmax")))
    with pytest.raises(UserError, match=r"width 16 is not known.*config\.json"):
        Encoder(tensors, {}, normalises_first=False)
