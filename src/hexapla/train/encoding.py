"""Tokenised examples: which ids go in, and which of them are the target that is learned.

The whole text (prompt, separator, target) is tokenised once; the target starts at the first token after the prompt,
whose tokens must be those that decoding starts from. Nothing is ever cut: the end of sequence is learned from every
example that is kept, and what does not fit is set aside with a reason.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hexapla.data.examples import Example
from hexapla.data.instructions import Instruction
from hexapla.languages import Direction
from hexapla.prompts import Prompt, Template, render_instruction
from hexapla.tokenization import EncodedText, encode_ids, encode_texts, render_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 4096  # examples tokenised at once: enough to keep the tokenizer's threads busy, little memory


@dataclass(frozen=True)
class Limits:
    """Longest example that is kept, in tokens.

    Attributes:
        source: of the source sentence alone, and of the auxiliary one.
        target: of the target with its end of sequence.
        context: of everything together; None when the base has no limit.
    """

    source: int
    target: int
    context: int | None = None


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Token ids of one example, int32 [num_tokens]: prompt, target, end of sequence.

    Attributes:
        direction: None for a general instruction, which is no pair of sentences.
        source_span: tokens [start, end) that hold the source sentence; empty where there is none.
        num_separator_tokens: tokens between prompt and target sentence that hold no character of either.
    """

    id: str
    ids: np.ndarray
    num_prompt_tokens: int
    direction: Direction | None = None
    source_span: tuple[int, int] = (0, 0)
    num_separator_tokens: int = 0

    @property
    def target_span(self) -> tuple[int, int]:
        """Tokens [start, end) of the target sentence, without the end of sequence."""
        return self.num_prompt_tokens + self.num_separator_tokens, len(self.ids) - 1

    @property
    def meaning(self) -> str:
        """What the example is a translation of: the id of its row; a general instruction means only itself."""
        return self.id if self.direction is None else self.id.rpartition(" ")[0]

    @property
    def num_target_tokens(self) -> int:
        """Tokens that are learned, end of sequence included."""
        return len(self.ids) - self.num_prompt_tokens

    @property
    def num_input_tokens(self) -> int:
        """Tokens that go through the base: all but the last, from which nothing is predicted."""
        return len(self.ids) - 1


@dataclass(frozen=True)
class EncodedSet:
    """The examples of a job that are trained on, and how many were set aside for which reason."""

    examples: list[EncodedExample]
    set_asides: dict[str, int]

    def digest(self, *, spans: bool = False) -> str:
        """sha256 over ids, tokens and prompt lengths, in order; with `spans` over directions and spans as well."""
        sha = hashlib.sha256()
        for example in self.examples:
            sha.update(f"{example.id}\x1f{example.num_prompt_tokens}\x1f{len(example.ids)}\x1f".encode())
            sha.update(example.ids.tobytes())
            if spans:
                sha.update(f"{example.direction}\x1f{example.source_span}\x1f{example.target_span}\x1f".encode())
        return sha.hexdigest()


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    examples: Sequence[Example],
    limits: Limits,
    *,
    needs_spans: bool = False,
) -> EncodedSet:
    """Tokenise examples, in order; only the target is learned, an auxiliary sentence is part of the prompt.

    Reasons for setting one aside: `prompt-boundary` (the prompt's last token would swallow the target's first
    characters, so decoding could never continue with it), `special-token` (a sentence holds the text of a control
    token), `source-too-long`, `auxiliary-too-long`, `target-too-long`, `context-too-long`, and `no-span` (see below).
    What is too long is set aside whole, so the span of an example that is kept is never that of a cut sentence.

    Args:
        needs_spans: set aside as well, as `no-span`, what cannot be aligned: a sentence without a token, or with none
            but the very first of all, which no earlier one predicts.
    """

    def drafts() -> Iterator[_Draft]:
        for example in examples:
            [prompt] = render_prompts(tokenizer, template, [(example.direction, example.source, example.auxiliary)])
            yield _Draft(example.id, example.direction, prompt, example.target)

    return _encode(tokenizer, template, drafts(), limits, needs_spans=needs_spans)


def encode_instructions(
    tokenizer: PreTrainedTokenizerBase, template: Template, instructions: Sequence[Instruction], limits: Limits
) -> EncodedSet:
    """Tokenise general instructions, in order; only the output is learned.

    Reasons for setting one aside: `instruction-too-long` (with its input longer than a source sentence may be),
    `output-too-long` (longer than a target may be), and as for examples `instruction-prompt-boundary`,
    `instruction-special-token` and `instruction-context-too-long`.
    """
    drafts = (
        _Draft(each.id, None, render_instruction(template, each.instruction, each.input, tokenizer), each.output)
        for each in instructions
    )
    encoded = _encode(tokenizer, template, drafts, limits)
    own = {"source-too-long": "instruction-too-long", "target-too-long": "output-too-long"}
    reasons = {own.get(reason, f"instruction-{reason}"): count for reason, count in encoded.set_asides.items()}
    return EncodedSet(encoded.examples, dict(sorted(reasons.items())))


class _Draft(NamedTuple):
    """What is about to be tokenised; without a direction it is a general instruction."""

    id: str
    direction: Direction | None
    prompt: Prompt
    target: str


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    drafts: Iterator[_Draft],
    limits: Limits,
    *,
    needs_spans: bool = False,
) -> EncodedSet:
    kept: list[EncodedExample] = []
    reasons: Counter[str] = Counter()
    special = control_ids(tokenizer)
    while chunk := list(itertools.islice(drafts, _CHUNK)):  # no more prompts than a chunk's are ever held
        alone = encode_ids(tokenizer, template, [draft.prompt.text for draft in chunk])
        texts = [draft.prompt.text + template.separator + draft.target for draft in chunk]
        whole = encode_texts(tokenizer, template, texts)
        for draft, prompt_ids, text in zip(chunk, alone, whole, strict=True):
            reason = _flaw(draft.prompt, prompt_ids, text, special, limits)
            if reason is not None:
                reasons[reason] += 1
                continue
            example = _example(draft, len(prompt_ids), text, template, tokenizer.eos_token_id)
            if needs_spans and not _has_spans(example):
                reasons["no-span"] += 1
            else:
                kept.append(example)
    return EncodedSet(kept, dict(sorted(reasons.items())))


def _flaw(
    prompt: Prompt, prompt_ids: list[int], text: EncodedText, special: frozenset[int], limits: Limits
) -> str | None:
    """Why an example is set aside.

    Args:
        prompt_ids: of the prompt alone.
        text: prompt and target as they are tokenised together, without the end of sequence.
    """
    num_prompt, num_target = len(prompt_ids), len(text.ids) - len(prompt_ids) + 1
    shown = [span for span in (prompt.source_span, prompt.auxiliary_span) if span is not None]
    num_shown = [text.num_tokens_in(span) for span in shown]
    if text.ids[:num_prompt] != prompt_ids or num_target < 2:
        return "prompt-boundary"
    if special & set(text.ids[num_prompt:]) or any(_holds_special(text, span, special) for span in shown):
        return "special-token"
    if num_shown[0] > limits.source:
        return "source-too-long"
    if num_shown[-1] > limits.source:
        return "auxiliary-too-long"
    if num_target > limits.target:
        return "target-too-long"
    if limits.context is not None and num_prompt + num_target > limits.context:
        return "context-too-long"
    return None


def _example(draft: _Draft, num_prompt: int, text: EncodedText, template: Template, eos: int) -> EncodedExample:
    ids = np.array([*text.ids, eos], dtype=np.int32)
    if draft.direction is None:
        return EncodedExample(draft.id, ids, num_prompt)
    begin = len(draft.prompt.text) + len(template.separator)
    first, end = text.span_of((begin, begin + len(draft.target)))
    num_separator = (first if end else len(text.ids)) - num_prompt
    return EncodedExample(
        draft.id, ids, num_prompt, draft.direction, text.span_of(draft.prompt.source_span), num_separator
    )


def _has_spans(example: EncodedExample) -> bool:
    """Whether either sentence has a token that another one stands before."""
    return all(max(start, 1) < end for start, end in (example.source_span, example.target_span))


def _holds_special(text: EncodedText, span: tuple[int, int], special: frozenset[int]) -> bool:
    start, end = span
    return any(
        token in special and first < end and last > start
        for token, (first, last) in zip(text.ids, text.offsets, strict=True)
    )


def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Special tokens that no sentence may hold; the unknown token stands for ordinary characters."""
    return frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
