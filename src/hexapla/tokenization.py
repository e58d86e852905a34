"""From text to token ids, the same way for training and decoding.

A prompt that is decoded must be the very tokens that training put before the target, so both come from here. Special
tokens that the tokenizer puts before a text by default (a beginning-of-sequence token) are put before plain prompts;
chat templates hold theirs already. What it would put after a text (an end-of-sequence token) never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hexapla import prompts
from hexapla.languages import Direction
from hexapla.prompts import Auxiliary, Prompt, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Question = tuple[Direction, str] | tuple[Direction, str, Auxiliary | None]
"""A direction, a source sentence and, where one is shown, its translation into an auxiliary language."""

_PROBE = "a"


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Token ids of a text, and the characters each token stands for.

    Attributes:
        ids: token ids, the leading special tokens included.
        offsets: per id (first character, end exclusive); leading special tokens have (0, 0).
    """

    ids: list[int]
    offsets: list[tuple[int, int]]

    def num_tokens_in(self, span: tuple[int, int]) -> int:
        """How many tokens hold a character of `span`."""
        start, end = span
        return sum(1 for first, last in self.offsets if first < end and last > start)

    def span_of(self, span: tuple[int, int]) -> tuple[int, int]:
        """Tokens [start, end), from the first that holds a character of `span` to the last; (0, 0) if none does."""
        start, end = span
        holding = [index for index, (first, last) in enumerate(self.offsets) if first < end and last > start]
        return (holding[0], holding[-1] + 1) if holding else (0, 0)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, template: Template, questions: Sequence[Question]
) -> list[list[int]]:
    """Token ids that decoding starts from.

    Raises:
        UserError: the template is a chat template and the tokenizer has none, or it cannot show an auxiliary.
    """
    rendered = render_prompts(tokenizer, template, questions)
    return encode_ids(tokenizer, template, [prompt.text for prompt in rendered])


def render_prompts(
    tokenizer: PreTrainedTokenizerBase, template: Template, questions: Sequence[Question]
) -> list[Prompt]:
    """The prompt of every question."""
    return [
        prompts.render(template, question[0], question[1], tokenizer, question[2] if len(question) == 3 else None)
        for question in questions
    ]


def encode_ids(tokenizer: PreTrainedTokenizerBase, template: Template, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts that begin with a rendered prompt."""
    if not texts:
        return []
    leading = leading_ids(tokenizer, template)
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [leading + ids for ids in encoded["input_ids"]]


def encode_texts(tokenizer: PreTrainedTokenizerBase, template: Template, texts: Sequence[str]) -> list[EncodedText]:
    """As `encode_ids`, with character offsets."""
    if not texts:
        return []
    leading = leading_ids(tokenizer, template)
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    nowhere = [(0, 0)] * len(leading)
    return [
        EncodedText(leading + ids, nowhere + offsets)
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def leading_ids(tokenizer: PreTrainedTokenizerBase, template: Template) -> list[int]:
    """The special tokens before a prompt: none for chat templates, else those the tokenizer adds by default."""
    if template.chat:
        return []
    plain = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    special = tokenizer(_PROBE)["input_ids"]
    for start in range(len(special) - len(plain) + 1):
        if special[start : start + len(plain)] == plain:
            return list(special[:start])
    raise AssertionError("a tokenizer's special tokens stand around the text")
