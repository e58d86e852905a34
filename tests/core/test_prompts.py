"""Prompts are exactly those of the papers, and the source's span is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.prompts import TEMPLATES, Auxiliary, get_template, render, render_instruction, template_hash
from tests.tiny_models import tiny_tokenizer

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_alma() -> None:
    prompt = render(get_template("alma"), Direction("de", "en"), "Guten Tag {source}!")
    assert prompt.text == "Translate this from German to English:\nGerman: Guten Tag {source}!\nEnglish:"


def test_lmt_and_cpt() -> None:
    prompt = render(get_template("lmt"), Direction("en", "zh"), "Hello")
    assert prompt.text == "Translate the following text from English into Chinese:\nEnglish: Hello\nChinese:"
    assert render(get_template("lmt-cpt"), Direction("en", "ky"), "S").text == "<en2ky> S <ky>"


def test_chat_template_without_thinking() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    prompt = render(get_template("x-alma"), Direction("de", "en"), " Hallo ", tokenizer)
    assert prompt.text == (
        "<|im_start|>user\nTranslate this from German to English:\nGerman:  Hallo \nEnglish:<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_pmp_of_the_paper() -> None:
    prompt = render(get_template("alma"), Direction("en", "de"), "Good {x}", auxiliary=Auxiliary("nl", "Goed {source}"))
    assert prompt.text == (
        "Translate this from English to Dutch and German:\nEnglish: Good {x}\nDutch: Goed {source}\nGerman:"
    )


def test_pmp_in_the_wording_of_the_checkpoints() -> None:
    prompt = render(get_template("lmt"), Direction("zh", "el"), "你好", auxiliary=Auxiliary("en", "Hello"))
    assert prompt.text == (
        "Translate the following text from Chinese into English and Modern Greek:\n"
        "Chinese: 你好\nEnglish: Hello\nModern Greek:"
    )


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("x-alma", "Translate this from English to Dutch and German:"),
        ("lmt-chat", "Translate the following text from English into Dutch and German:"),
    ],
)
def test_pmp_in_a_chat_template(name: str, first: str) -> None:
    tokenizer = tiny_tokenizer_with_chat()
    prompt = render(get_template(name), Direction("en", "de"), " Hi ", tokenizer, Auxiliary("nl", "Hoi "))
    assert prompt.text == (
        f"<|im_start|>user\n{first}\nEnglish:  Hi \nDutch: Hoi \nGerman:<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_a_template_without_pmp_refuses_it() -> None:
    with pytest.raises(UserError, match=r"'lmt-cpt' has no form with an auxiliary.*alma, x-alma"):
        render(get_template("lmt-cpt"), Direction("en", "de"), "x", auxiliary=Auxiliary("nl", "y"))


@given(
    source=st.text(max_size=40),
    auxiliary=st.text(max_size=40),
    name=st.sampled_from([name for name, template in TEMPLATES.items() if template.pmp is not None]),
)
def test_spans_with_an_auxiliary(source: str, auxiliary: str, name: str) -> None:
    tokenizer = tiny_tokenizer_with_chat()
    prompt = render(get_template(name), Direction("en", "de"), source, tokenizer, Auxiliary("nl", auxiliary))
    assert prompt.auxiliary_span is not None
    assert prompt.text[slice(*prompt.source_span)] == source
    assert prompt.text[slice(*prompt.auxiliary_span)] == auxiliary
    between = prompt.text[prompt.source_span[1] : prompt.auxiliary_span[0]]
    assert between == "\nDutch: "


@given(
    source=st.text(min_size=1, max_size=60),
    name=st.sampled_from(sorted(TEMPLATES)),
    direction=st.sampled_from([Direction("de", "en"), Direction("en", "zh")]),
)
def test_span_is_the_source(source: str, name: str, direction: Direction) -> None:
    tokenizer = tiny_tokenizer_with_chat()
    prompt = render(get_template(name), direction, source, tokenizer)
    assert prompt.text[slice(*prompt.source_span)] == source


def test_instructions_in_the_prompts_of_alpaca() -> None:
    prompt = render_instruction(get_template("lmt"), "Name a {message}.")
    assert prompt.text == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName a {message}.\n\n### Response:"
    )
    assert prompt.text[slice(*prompt.source_span)] == "Name a {message}."
    prompt = render_instruction(get_template("alma"), "Sum up.", "It rains.\nIt pours.")
    assert prompt.text == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n"
        "### Instruction:\nSum up.\n\n### Input:\nIt rains.\nIt pours.\n\n### Response:"
    )
    assert prompt.text[slice(*prompt.source_span)] == "Sum up.\n\n### Input:\nIt rains.\nIt pours."


@pytest.mark.parametrize(("input_", "message"), [("", " Sum up. "), ("It rains.", " Sum up. \n\nIt rains.")])
def test_instructions_in_a_chat_template(input_: str, message: str) -> None:
    prompt = render_instruction(get_template("x-alma"), " Sum up. ", input_, tiny_tokenizer_with_chat())
    assert prompt.text == (f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert prompt.text[slice(*prompt.source_span)] == message
    with pytest.raises(UserError, match="needs a chat template"):
        render_instruction(get_template("x-alma"), "Sum up.", input_, tiny_tokenizer())


def test_hash_depends_on_everything_that_shapes_the_prompt() -> None:
    tokenizer = tiny_tokenizer_with_chat()
    assert len({template_hash(template, tokenizer) for template in TEMPLATES.values()}) == len(TEMPLATES)
    other = tiny_tokenizer()
    other.chat_template = CHAT + " "
    assert template_hash(get_template("lmt-chat"), other) != template_hash(get_template("lmt-chat"), tokenizer)
    assert template_hash(get_template("alma"), other) == template_hash(get_template("alma"), None)
    without = replace(get_template("alma"), pmp=None)
    reworded = replace(get_template("alma"), pmp="From {source_name}:")
    assert len({template_hash(template) for template in (get_template("alma"), without, reworded)}) == 3


def test_refusals() -> None:
    with pytest.raises(UserError, match="'x-alma'"):
        get_template("xalma")
    with pytest.raises(UserError, match="needs a chat template"):
        render(get_template("x-alma"), Direction("de", "en"), "x", tiny_tokenizer())


_with_chat = None


def tiny_tokenizer_with_chat():  # type: ignore[no-untyped-def]
    """Made once: hypothesis runs the test many times."""
    global _with_chat
    if _with_chat is None:
        _with_chat = tiny_tokenizer()
        _with_chat.chat_template = CHAT
    return _with_chat
