"""Tokenised examples: parity with decoding, the learned end, and reasons for setting aside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from hexapla.base import Base, load_tokenizer
from hexapla.data.examples import Example
from hexapla.data.instructions import Instruction
from hexapla.prompts import Auxiliary, get_template, render_instruction
from hexapla.tokenization import encode_prompts, encode_texts, leading_ids
from hexapla.train.encoding import EncodedSet, Limits, encode_examples, encode_instructions
from tests.train.material import DE_EN, examples

CHAT = (
    "{% for m in messages %}<bos>{{ m['role'] }}\n{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant\n{% endif %}"
)
WIDE = Limits(512, 512)


@pytest.fixture
def tokenizer(qwen3_base: Path) -> Any:
    return load_tokenizer(Base(str(qwen3_base)))


def _surround(tokenizer: Any) -> None:
    """Let the tokenizer add both ends by itself, as Llama's and older T5-like ones do."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )


def _encode(tokenizer: Any, pairs: list[tuple[str, str]], limits: Limits = WIDE, template: str = "alma") -> EncodedSet:
    made = [Example(f"row:{index} de-en", DE_EN, source, target) for index, (source, target) in enumerate(pairs)]
    return encode_examples(tokenizer, get_template(template), made, limits)


@pytest.mark.parametrize("template", ["alma", "lmt", "lmt-cpt", "x-alma", "lmt-chat"])
@pytest.mark.parametrize("surround", [False, True])
def test_training_begins_with_the_very_tokens_that_decoding_starts_from(
    tokenizer: Any, template: str, surround: bool
) -> None:
    tokenizer.chat_template = CHAT
    if surround:
        _surround(tokenizer)
    given = examples(8)
    encoded = encode_examples(tokenizer, get_template(template), given, WIDE)
    prompts = encode_prompts(tokenizer, get_template(template), [(e.direction, e.source) for e in given])
    assert len(encoded.examples) == 8
    for example, made, prompt in zip(given, encoded.examples, prompts, strict=True):
        assert made.ids[: made.num_prompt_tokens].tolist() == prompt
        target = made.ids[made.num_prompt_tokens :].tolist()
        assert target[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in target[:-1]
        separator = get_template(template).separator
        assert tokenizer.decode(target[:-1], clean_up_tokenization_spaces=False) == separator + example.target


@pytest.mark.parametrize("template", ["alma", "lmt", "x-alma", "lmt-chat"])
@pytest.mark.parametrize("surround", [False, True])
def test_an_auxiliary_is_part_of_the_prompt_and_not_learned(tokenizer: Any, template: str, surround: bool) -> None:
    tokenizer.chat_template = CHAT
    if surround:
        _surround(tokenizer)
    dutch = Auxiliary("nl", "Goedemorgen")
    shown = [replace(example, auxiliary=dutch) for example in examples(4)]
    encoded = encode_examples(tokenizer, get_template(template), [*shown, *examples(4)], WIDE).examples
    questions = [(example.direction, example.source, dutch) for example in shown]
    prompts = encode_prompts(tokenizer, get_template(template), questions)
    for with_auxiliary, plain, prompt in zip(encoded[:4], encoded[4:], prompts, strict=True):
        assert with_auxiliary.ids[: with_auxiliary.num_prompt_tokens].tolist() == prompt
        assert "Dutch: Goedemorgen\nEnglish:" in tokenizer.decode(prompt)
        learned = with_auxiliary.ids[with_auxiliary.num_prompt_tokens :].tolist()
        assert learned == plain.ids[plain.num_prompt_tokens :].tolist()


def test_a_long_auxiliary_and_one_with_control_tokens_are_set_aside(tokenizer: Any) -> None:
    [plain] = examples(1)
    texts = ["Ja.", "heel " * 60, "Ja <eos> nee"]
    given = [replace(plain, auxiliary=Auxiliary("nl", text)) for text in texts]
    encoded = encode_examples(tokenizer, get_template("alma"), given, Limits(40, 40))
    assert encoded.set_asides == {"auxiliary-too-long": 1, "special-token": 1}
    exact = encode_texts(tokenizer, get_template("alma"), [" " + "heel " * 60])[0]
    longest = Limits(len(exact.ids), 40)
    assert encode_examples(tokenizer, get_template("alma"), given[1:2], longest).set_asides == {}


def test_leading_tokens_come_once(tokenizer: Any) -> None:
    assert leading_ids(tokenizer, get_template("alma")) == []
    _surround(tokenizer)
    tokenizer.chat_template = CHAT
    plain = encode_prompts(tokenizer, get_template("alma"), [(DE_EN, "Ja.")])[0]
    chat = encode_prompts(tokenizer, get_template("x-alma"), [(DE_EN, "Ja.")])[0]
    assert plain[0] == tokenizer.bos_token_id
    assert plain.count(tokenizer.bos_token_id) == 1
    assert chat.count(tokenizer.bos_token_id) == 2  # the template's own two turns, none added
    assert plain[-1] != tokenizer.eos_token_id


def test_offsets_give_the_tokens_of_the_source(tokenizer: Any) -> None:
    _surround(tokenizer)
    text = encode_texts(tokenizer, get_template("alma"), ["German: Guten Morgen\nEnglish:"])[0]
    span = (8, 20)
    within = [i for i, (a, b) in zip(text.ids, text.offsets, strict=True) if a < span[1] and b > span[0]]
    assert tokenizer.decode(within).strip() == "Guten Morgen"
    assert text.num_tokens_in(span) == len(within)
    assert text.offsets[0] == (0, 0)


def test_long_sides_are_set_aside_never_cut(tokenizer: Any) -> None:
    long = "sehr " * 50
    pairs = [("Ja.", "Yes."), (long + "lang", "Long."), ("Lang.", long + "long")]
    encoded = _encode(tokenizer, pairs, Limits(40, 40))
    assert encoded.set_asides == {"source-too-long": 1, "target-too-long": 1}
    assert [example.id for example in encoded.examples] == ["row:0 de-en"]


def test_the_target_limit_counts_the_end_of_sequence(tokenizer: Any) -> None:
    exact = _encode(tokenizer, [("Ja.", "Yes.")]).examples[0].num_target_tokens
    assert _encode(tokenizer, [("Ja.", "Yes.")], Limits(512, exact)).set_asides == {}
    assert _encode(tokenizer, [("Ja.", "Yes.")], Limits(512, exact - 1)).set_asides == {"target-too-long": 1}


def test_the_context_limit_counts_everything(tokenizer: Any) -> None:
    exact = len(_encode(tokenizer, [("Ja.", "Yes.")]).examples[0].ids)
    assert _encode(tokenizer, [("Ja.", "Yes.")], Limits(512, 512, exact)).set_asides == {}
    assert _encode(tokenizer, [("Ja.", "Yes.")], Limits(512, 512, exact - 1)).set_asides == {"context-too-long": 1}


def test_control_tokens_in_a_sentence_are_set_aside(tokenizer: Any) -> None:
    encoded = _encode(tokenizer, [("Ja <eos> nein", "Yes no"), ("Ja nein", "Yes <eos> no"), ("Ja", "Yes")])
    assert encoded.set_asides == {"special-token": 2}


def test_a_merge_across_the_boundary_is_set_aside() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {chr(code): code - 32 for code in range(32, 127)} | {"\n": 95, "<eos>": 96, ": ": 97, ": Y": 98}
    model = models.BPE(vocab=vocabulary, merges=[(":", " "), (": ", "Y")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="<eos>")
    encoded = _encode(tokenizer, [("Ja", "Yes"), ("Nein", "No")])
    assert encoded.set_asides == {"prompt-boundary": 2}


def test_the_digest_sees_tokens_ids_and_lengths(tokenizer: Any) -> None:
    base = _encode(tokenizer, [("Ja", "Yes"), ("Nein", "No")])
    assert base.digest() == _encode(tokenizer, [("Ja", "Yes"), ("Nein", "No")]).digest()
    assert base.digest() != _encode(tokenizer, [("Ja", "Yes"), ("Nein", "Na")]).digest()
    assert base.digest() != _encode(tokenizer, [("Nein", "No"), ("Ja", "Yes")]).digest()


def _instructions(*texts: tuple[str, str, str]) -> list[Instruction]:
    return [Instruction(f"alpaca#{number}", None, *each) for number, each in enumerate(texts, 1)]


@pytest.mark.parametrize("template", ["alma", "lmt-chat"])
@pytest.mark.parametrize("surround", [False, True])
def test_of_an_instruction_only_the_output_is_learned(tokenizer: Any, template: str, surround: bool) -> None:
    tokenizer.chat_template = CHAT
    if surround:
        _surround(tokenizer)
    given = _instructions(("Name a river.", "", "Rhine."), ("Sum up.", "It rains.", "Wet.\nVery wet."))
    encoded = encode_instructions(tokenizer, get_template(template), given, WIDE)
    assert encoded.set_asides == {}
    for each, made in zip(given, encoded.examples, strict=True):
        prompt = render_instruction(get_template(template), each.instruction, each.input, tokenizer)
        ids = made.ids.tolist()
        start = leading_ids(tokenizer, get_template(template))
        alone = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        assert ids[: made.num_prompt_tokens] == start + alone
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[made.num_prompt_tokens : -1]) == get_template(template).separator + each.output
        assert (made.id, made.direction, made.source_span) == (each.id, None, (0, 0))


def test_instructions_that_do_not_fit_are_set_aside_whole(tokenizer: Any) -> None:
    tokenizer.chat_template = CHAT
    long = "very " * 40
    given = _instructions(
        ("Say yes.", "", "Yes."),
        (long, "", "Yes."),
        ("Say yes.", long, "Yes."),
        ("Say yes.", "", long),
        ("Say <eos>", "", "Yes."),
        ("Say yes.", "<bos>", "Yes."),
        ("Say yes.", "", "Yes. <eos> No."),
    )
    for template in ("alma", "lmt-chat"):
        encoded = encode_instructions(tokenizer, get_template(template), given, Limits(60, 40))
        assert [example.id for example in encoded.examples] == ["alpaca#1"]
        assert encoded.set_asides == {
            "instruction-special-token": 3,
            "instruction-too-long": 2,
            "output-too-long": 1,
        }
        exact = len(encoded.examples[0].ids)
        short = encode_instructions(tokenizer, get_template(template), given[:1], Limits(60, 40, exact - 1))
        assert short.set_asides == {"instruction-context-too-long": 1}
