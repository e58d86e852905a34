"""Where the sentences of encoded examples are: their tokens, and no others, whatever the tokenizer and the script."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from hexapla import prompts
from hexapla.base import Base, load_tokenizer
from hexapla.data.examples import Example
from hexapla.languages import Direction
from hexapla.prompts import Auxiliary, get_template
from hexapla.tokenization import EncodedText
from hexapla.train.encoding import EncodedExample, EncodedSet, Limits, encode_examples
from tests.tiny_models import tiny_tokenizer

WORDS = {
    "de": ["Guten", "Morgen", "fährt", "Zug", "größer", "!", "Straße,", "“ja”"],
    "ru": ["Поезд", "книгу", "ёлка", "читаю", "?", "съешь"],
    "ar": ["القطار", "صباح", "الخير", "؟", "كِتَاب", "أقرأ"],
    "hi": ["नमस्ते", "किताब", "पढ़ता", "हूँ", "।", "ट्रेन"],
    "zh": ["我在看书", "火车", "。", "早上好", "𠮷", "你"],
    "th": ["สวัสดี", "รถไฟ", "อ่าน", "หนังสือ", "ครับ", "ๆ"],
}
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
CORPUS = [f"Translate this from German to English:\nGerman: {' '.join(words)}\nEnglish:" for words in WORDS.values()]
TOKENIZERS = ["byte-level", "merged-bytes", "unigram", "byte-fallback", "sentencepiece", "fast-words", "builtin"]
CHAT = "{% for m in messages %}<bos>{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}<bos>{% endif %}"


@lru_cache
def _tokenizer(name: str, bos: bool) -> Any:
    made = load_tokenizer(Base("builtin:tiny")) if name == "builtin" else _MAKERS[name]()
    if bos:
        bos_token = made.bos_token or made.eos_token
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos_token} $A", special_tokens=[(bos_token, made.convert_tokens_to_ids(bos_token))]
        )
    made.chat_template = CHAT.replace("<bos>", made.eos_token).replace("<eos>", made.eos_token)
    return made


def _wrapped(tokenizer: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


def _merged_bytes() -> Any:
    """A byte-level BPE that has seen all scripts: tokens of whole words, of parts of characters, of blank and byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer)


def _unigram() -> Any:
    """As XLM-R's and mT5's: a blank before every word belongs to its first token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer)


def _byte_pieces(**changes: Any) -> Tokenizer:
    """A BPE of ASCII whose other characters are spelled in bytes, each with the offsets of its character."""
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *(chr(code) for code in range(33, 127))]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "\n", "er", "▁G", "en"])}
    merges = [("e", "r"), ("▁", "G"), ("e", "n")]
    return Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", **changes))


def _byte_fallback() -> Any:
    """As Llama 3's predecessors in their present form: no blank is put before the text."""
    tokenizer = _byte_pieces()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(tokenizer)


def _sentencepiece() -> Any:
    """As Llama 2's: the blanks are written by a normaliser, and one is put before the text."""
    tokenizer = _byte_pieces(fuse_unk=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(tokenizer)


def _fast_words() -> Any:
    """As GPT-4's and Qwen's: pieces are split by a pattern first, then spelled in bytes."""
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(r"\p{N}|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    split = pre_tokenizers.Split(pattern, "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer)


_MAKERS = {
    "byte-level": tiny_tokenizer,
    "merged-bytes": _merged_bytes,
    "unigram": _unigram,
    "byte-fallback": _byte_fallback,
    "sentencepiece": _sentencepiece,
    "fast-words": _fast_words,
}


def _encode(tokenizer: Any, pairs: list[tuple[str, str]], template: str = "alma", **options: Any) -> EncodedSet:
    direction = Direction("de", "en")
    made = [Example(f"row:{number} de-en", direction, *pair) for number, pair in enumerate(pairs)]
    return encode_examples(tokenizer, get_template(template), made, Limits(512, 512), **options)


def _text(tokenizer: Any, example: EncodedExample, span: tuple[int, int]) -> str:
    text: str = tokenizer.decode(example.ids[slice(*span)].tolist(), clean_up_tokenization_spaces=False)
    return text


sentences = st.sampled_from(sorted(WORDS)).flatmap(
    lambda code: st.lists(st.sampled_from(WORDS[code]), min_size=1, max_size=6).map(" ".join)
)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("bos", [False, True])
@settings(max_examples=30, deadline=None)
@given(
    source=sentences,
    target=sentences,
    template=st.sampled_from(["alma", "lmt", "lmt-cpt", "x-alma"]),
    auxiliary=st.sampled_from([None, Auxiliary("nl", "Goedemorgen")]),
)
def test_the_tokens_of_a_span_are_the_sentence(
    name: str, bos: bool, source: str, target: str, template: str, auxiliary: Auxiliary | None
) -> None:
    tokenizer = _tokenizer(name, bos)
    auxiliary = None if template == "lmt-cpt" else auxiliary
    given_example = Example("row:0 de-en", Direction("de", "en"), source, target, auxiliary)
    encoded = encode_examples(tokenizer, get_template(template), [given_example], Limits(999, 999), needs_spans=True)
    if not encoded.examples:
        assert set(encoded.set_asides) <= {"prompt-boundary"}
        return
    [example] = encoded.examples
    assert example.direction == Direction("de", "en")
    assert _text(tokenizer, example, example.source_span).strip() == source
    assert _text(tokenizer, example, example.target_span).strip() == target
    assert example.ids[example.target_span[1]] == tokenizer.eos_token_id
    assert example.source_span[1] <= example.num_prompt_tokens <= example.target_span[0]


@pytest.mark.parametrize("code", WORDS)
def test_every_script_is_found_by_every_tokenizer(code: str) -> None:
    sentence = " ".join(WORDS[code])
    for name in TOKENIZERS:
        [example] = _encode(_tokenizer(name, True), [(sentence, sentence)]).examples
        for span in (example.source_span, example.target_span):
            assert _text(_tokenizer(name, True), example, span).strip() == sentence


def test_leading_tokens_are_counted() -> None:
    plain = _encode(_tokenizer("byte-level", False), [("Ja.", "Yes.")], "lmt-cpt").examples[0]
    after = _encode(_tokenizer("byte-level", True), [("Ja.", "Yes.")], "lmt-cpt").examples[0]
    assert after.source_span == (plain.source_span[0] + 1, plain.source_span[1] + 1)
    assert after.target_span == (plain.target_span[0] + 1, plain.target_span[1] + 1)


def test_a_token_of_the_separator_alone_is_not_of_the_target() -> None:
    tokenizer = _byte_fallback()  # spells 火 in bytes, with the blank before it as a token of its own
    [first, second] = _encode(tokenizer, [("Ja", "火"), ("Ja", "Good")]).examples
    assert (first.num_separator_tokens, second.num_separator_tokens) == (1, 0)
    assert first.target_span == (first.num_prompt_tokens + 1, len(first.ids) - 1)
    assert second.target_span == (second.num_prompt_tokens, len(second.ids) - 1)
    assert tokenizer.decode(first.ids[first.num_prompt_tokens :][:-1]) == " 火"


def test_a_span_goes_from_the_first_token_that_holds_a_character_to_the_last() -> None:
    offsets = [(0, 0), (0, 3), (3, 5), (5, 5), (5, 6), (5, 6), (6, 9)]
    text = EncodedText(list(range(7)), offsets)
    assert text.span_of((3, 6)) == (2, 6)
    assert text.span_of((4, 7)) == (2, 7)  # with parts of the tokens around
    assert text.span_of((0, 1)) == (1, 2)
    assert text.span_of((9, 12)) == text.span_of((5, 5)) == (0, 0)


def _dropping(characters: str) -> Any:
    """The tokenizer that drops some characters, as normalisers do with those that nobody sees."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex(f"[{characters}]"), "")
    return tokenizer


def test_sentences_without_tokens_are_set_aside_where_spans_are_needed() -> None:
    pairs = [("Ja.", "Yes."), ("\u200b", "Yes."), ("Ja.", "\u200b"), ("Ja.\u200b", "\u200bYes.")]
    tokenizer = _dropping("\u200b")
    encoded = _encode(tokenizer, pairs, needs_spans=True)
    assert encoded.set_asides == {"no-span": 2}
    assert [example.id for example in encoded.examples] == ["row:0 de-en", "row:3 de-en"]
    assert encoded.examples[0].source_span == encoded.examples[1].source_span
    assert encoded.examples[0].target_span == encoded.examples[1].target_span
    everything = _encode(tokenizer, pairs)
    assert everything.set_asides == {}
    empty = [max(0, e.source_span[1] - e.source_span[0]) for e in everything.examples]
    assert empty[1] == 0 < empty[0]
    start, end = everything.examples[2].target_span
    assert start == end


def test_a_sentence_of_the_very_first_token_has_nothing_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that begins with the sentence: e is read one token earlier, and there is none."""
    bare = replace(prompts.get_template("alma"), name="bare", text="{source}\n{target_code}:", pmp=None)
    monkeypatch.setitem(prompts.TEMPLATES, "bare", bare)
    pairs = [("J", "Yes."), ("J ja ja", "Yes.")]
    plain, after = _tokenizer("byte-level", False), _tokenizer("byte-level", True)
    assert _encode(plain, pairs, "bare", needs_spans=True).set_asides == {"no-span": 1}
    assert _encode(plain, pairs, "bare").set_asides == {}
    assert _encode(after, pairs, "bare", needs_spans=True).set_asides == {}  # the leading token stands before it


def test_meanings_are_rows() -> None:
    [first, second] = _encode(_tokenizer("byte-level", False), [("Ja.", "Yes."), ("Nein.", "No.")]).examples
    assert (first.meaning, second.meaning) == ("row:0", "row:1")
    assert EncodedExample("alpaca#a b", first.ids, 1).meaning == "alpaca#a b"


def test_the_digest_sees_spans_where_they_play_a_role() -> None:
    encoded = _encode(_tokenizer("byte-level", False), [("Ja.", "Yes.")])
    [example] = encoded.examples

    def changed(**fields: Any) -> EncodedSet:
        return EncodedSet([replace(example, **fields)], {})

    variants = [
        changed(direction=Direction("nl", "en")),
        changed(source_span=(0, 3)),
        changed(num_separator_tokens=example.num_separator_tokens + 1),
    ]
    assert {variant.digest() for variant in variants} == {encoded.digest()}
    assert len({each.digest(spans=True) for each in [encoded, *variants]} | {encoded.digest()}) == 5


def test_the_digest_without_spans_is_what_it_always_was() -> None:
    """Runs of earlier versions go on: taken from the version before spans."""
    made = [EncodedExample(f"e{i}", np.arange(5 + i, dtype=np.int32) * 7, 2 + i) for i in range(2)]
    assert EncodedSet(made, {}).digest() == "8addbacc6726bc8e6ea3b31a0b8a6009ff4e45209903d43a739a5a4af22c83ea"
