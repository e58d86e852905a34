"""Sentence vectors are the means of a sentence's own tokens, whatever it is padded with or read beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from hexapla.base import Base, load_model, load_tokenizer
from hexapla.representations.sentences import (
    MAX_POSITIONS,
    Sentence,
    batch_means,
    encode_sentences,
    length_batches,
    positions_a_pass,
)

TEXTS = ["Good morning", "Я читаю книгу. Je lis un livre.", "a", "The train leaves at nine o'clock."]


def with_frame(tokenizer: Any) -> Any:
    """The tokenizer, putting <bos> before and <eos> behind a text."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id)]
    )
    return tokenizer


def test_leading_special_tokens_are_read_but_not_owned(qwen3_base: Path) -> None:
    plain = load_tokenizer(Base(str(qwen3_base)))
    framed = with_frame(load_tokenizer(Base(str(qwen3_base))))
    for text, bare, led in zip(
        TEXTS,
        encode_sentences(plain, TEXTS, max_tokens=6),
        encode_sentences(framed, TEXTS, max_tokens=6),
        strict=True,
    ):
        own = plain(text, add_special_tokens=False)["input_ids"][:6]
        assert bare == Sentence(own, 0)
        assert led == Sentence([plain.bos_token_id, *own], 1)  # no <eos>
    [nothing] = encode_sentences(framed, [""], max_tokens=6)
    assert nothing.is_empty
    assert encode_sentences(plain, [], max_tokens=6) == []


@pytest.mark.parametrize("architecture", ["qwen3_base", "llama_base", "gemma_base"])
def test_means_equal_those_of_each_sentence_alone(architecture: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(architecture)
    base = Base(str(folder))
    tokenizer = with_frame(load_tokenizer(base))
    model = load_model(base, dtype=torch.float32, device=torch.device("cpu"))
    found = batch_means(model, encode_sentences(tokenizer, TEXTS, max_tokens=100), [0, 1, 2])
    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    plain = AutoTokenizer.from_pretrained(folder)
    for place, text in enumerate(TEXTS):
        ids = torch.tensor([[plain.bos_token_id, *plain(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            states = reference(input_ids=ids, output_hidden_states=True).hidden_states
        assert sorted(found) == [0, 1, 2] == list(range(len(states)))
        for layer, state in enumerate(states):
            torch.testing.assert_close(found[layer][place], state[0, 1:].mean(dim=0), rtol=1e-4, atol=1e-5)


def test_the_output_head_is_not_run(qwen3_base: Path) -> None:
    base = Base(str(qwen3_base))
    model = load_model(base, dtype=torch.float32, device=torch.device("cpu"))

    def refuse(*_: object) -> None:
        raise AssertionError

    model.get_output_embeddings().register_forward_pre_hook(refuse)
    sentences = encode_sentences(load_tokenizer(base), TEXTS, max_tokens=100)
    assert batch_means(model, sentences, [2])[2].shape == (4, 32)


def test_batches_hold_like_lengths_within_the_budget() -> None:
    sentences = [Sentence([0] * length, 0) for length in (3, 9, 1, 4, 4, 20, 2)]
    batches = length_batches(sentences, 12)
    assert sorted(place for batch in batches for place in batch) == list(range(7))
    assert batches[0] == [5]  # alone, though longer than the budget
    for batch in batches[1:]:
        assert max(len(sentences[place].ids) for place in batch) * len(batch) <= 12
    assert len(batches) == 4  # 20 | 9 | 4 4 3 | 2 1


def test_more_layers_leave_room_for_fewer_positions(qwen3_base: Path) -> None:
    model = load_model(Base(str(qwen3_base)), dtype=torch.float32, device=torch.device("cpu"))
    assert positions_a_pass(model, 3) == MAX_POSITIONS
    assert positions_a_pass(model, 2**20) == 4  # 512 MiB / (2^20 layers * 32 * 4 bytes)
