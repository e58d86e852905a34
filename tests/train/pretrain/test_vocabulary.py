"""The vocabulary report: tokens by word and against the hub, pieces of characters, unknown tokens, and the sample."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hexapla.data.rows import Row
from hexapla.train.pretrain.vocabulary import Fertility, measure_vocabulary
from tests.tiny_models import tiny_tokenizer


def _measured(tokenizer: Any, *texts: dict[str, str], **options: Any) -> dict[str, Fertility]:
    rows = [Row(f"r:{index}", each, "r") for index, each in enumerate(texts)]
    return {record.language: record for record in measure_vocabulary(tokenizer, rows, hub="en", seed=0, **options)}


def _words(vocabulary: dict[str, int]) -> Any:
    model = models.WordLevel({"<unk>": 0, "<eos>": 1, **vocabulary}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")


def test_a_vocabulary_of_words_has_one_token_a_word_and_says_what_it_does_not_know() -> None:
    found = _measured(
        _words({"I": 2, "read": 3, "ich": 4}), {"en": "I read", "de": "ich lese Buch gern"}, {"de": "ich ich"}
    )
    english, german = found["en"], found["de"]
    assert (english.tokens, english.tokens_per_word, english.unknown, english.premium) == (2, 1, 0, 1)
    assert (english.characters, english.bytes, english.tokens_per_character, english.bytes_per_token) == (
        6,
        6,
        1 / 3,
        3,
    )
    assert (german.sentences, german.tokens, german.unknown) == (2, 6, 0.5)
    assert german.premium == 2  # of the sentence that both have
    assert german.split == 0


def test_a_language_without_spaces_has_no_words_and_one_without_the_hub_no_premium() -> None:
    found = _measured(_words({}), {"zh": "我在看书"}, {"de": "ja"})
    assert found["zh"].tokens_per_word is None
    assert found["zh"].premium is None
    assert found["de"].tokens_per_word == 1


def test_bytes_of_a_byte_level_vocabulary_are_pieces_of_characters() -> None:
    # The tiny vocabulary was made of Latin, Cyrillic, Han and kana; Georgian it can write as single bytes only.
    found = _measured(tiny_tokenizer(), {"en": "Good morning", "ka": "გამარჯობა"})
    assert found["en"].split == 0
    assert found["ka"].split == 1
    assert found["ka"].tokens == found["ka"].bytes == 27
    assert found["ka"].premium == 27 / found["en"].tokens


def test_byte_fallback_tokens_are_pieces_of_characters() -> None:
    byte_tokens = {f"<0x{byte:02X}>": byte + 4 for byte in range(256)}
    vocabulary = {"<unk>": 0, "<eos>": 1, "a": 2, "b": 3, **byte_tokens}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")
    found = _measured(fast, {"en": "abab", "ru": "жa"}, {"de": "\ta"})
    assert found["en"].split == 0
    assert found["ru"].split == pytest.approx(2 / 3)
    assert found["de"].split == 0  # one byte, but a whole character
    assert found["ru"].unknown == 0


def test_the_sample_is_bounded_and_does_not_depend_on_the_order_of_rows() -> None:
    rows = [Row(f"r:{index}", {"en": "I " * (1 + index)}, "r") for index in range(50)]
    tokenizer = _words({"I": 2})
    first, again = (
        measure_vocabulary(tokenizer, given, hub="en", seed=0, sentences=10) for given in (rows, list(reversed(rows)))
    )
    assert first == again
    assert first[0].sentences == 10
    assert measure_vocabulary(tokenizer, rows, hub="en", seed=1, sentences=10) != first
