"""Tokenised examples: which ids go in, and which of them are the target that is learned.

The whole text (prompt, separator, target) is tokenised once; the target starts at the first token after the prompt,
whose tokens must be those that decoding starts from. Nothing is ever cut: the end of sequence is learned from every
example that is kept, and what does not fit is set aside with a reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hexapla.data.examples import Example
from hexapla.languages import Direction
from hexapla.prompts import Prompt, Template
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
    """

    id: str
    ids: np.ndarray
    num_prompt_tokens: int
    direction: Direction | None = None
    source_span: tuple[int, int] = (0, 0)

    @property
    def target_span(self) -> tuple[int, int]:
        """Tokens [start, end) of the target sentence, without the end of sequence."""
        return self.num_prompt_tokens, len(self.ids) - 1

    @property
    def meaning(self) -> str:
        """What the example is a translation of: the id of its row."""
        return self.id.rpartition(" ")[0]

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

    def digest(self) -> str:
        """sha256 over ids, tokens and prompt lengths, in order."""
        sha = hashlib.sha256()
        for example in self.examples:
            sha.update(f"{example.id}\x1f{example.num_prompt_tokens}\x1f{len(example.ids)}\x1f".encode())
            sha.update(example.ids.tobytes())
        return sha.hexdigest()


def encode_examples(
    tokenizer: PreTrainedTokenizerBase, template: Template, examples: Sequence[Example], limits: Limits
) -> EncodedSet:
    """Tokenise examples, in order; only the target is learned, an auxiliary sentence is part of the prompt.

    Reasons for setting one aside: `prompt-boundary` (the prompt's last token would swallow the target's first
    characters, so decoding could never continue with it), `special-token` (a sentence holds the text of a control
    token), `source-too-long`, `auxiliary-too-long`, `target-too-long`, `context-too-long`.
    """
    kept: list[EncodedExample] = []
    reasons: Counter[str] = Counter()
    special = control_ids(tokenizer)
    eos = tokenizer.eos_token_id
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK]
        for example, prompt_ids, text, prompt in _tokenise(tokenizer, template, chunk):
            num_prompt = len(prompt_ids)
            target_ids = [*text.ids[num_prompt:], eos]
            shown = [span for span in (prompt.source_span, prompt.auxiliary_span) if span is not None]
            num_shown = [text.num_tokens_in(span) for span in shown]
            if text.ids[:num_prompt] != prompt_ids or len(target_ids) < 2:
                reasons["prompt-boundary"] += 1
            elif special & set(target_ids[:-1]) or any(_holds_special(text, span, special) for span in shown):
                reasons["special-token"] += 1
            elif num_shown[0] > limits.source:
                reasons["source-too-long"] += 1
            elif num_shown[-1] > limits.source:
                reasons["auxiliary-too-long"] += 1
            elif len(target_ids) > limits.target:
                reasons["target-too-long"] += 1
            elif limits.context is not None and num_prompt + len(target_ids) > limits.context:
                reasons["context-too-long"] += 1
            else:
                ids = np.array(prompt_ids + target_ids, dtype=np.int32)
                kept.append(EncodedExample(example.id, ids, num_prompt))
    return EncodedSet(kept, dict(sorted(reasons.items())))


def _tokenise(
    tokenizer: PreTrainedTokenizerBase, template: Template, examples: Sequence[Example]
) -> Iterator[tuple[Example, list[int], EncodedText, Prompt]]:
    """Per example: the prompt's own ids, the whole text's ids, and the prompt."""
    questions = [(example.direction, example.source, example.auxiliary) for example in examples]
    rendered = render_prompts(tokenizer, template, questions)
    alone = encode_ids(tokenizer, template, [prompt.text for prompt in rendered])
    texts = [
        prompt.text + template.separator + example.target for prompt, example in zip(rendered, examples, strict=True)
    ]
    whole = encode_texts(tokenizer, template, texts)
    yield from zip(examples, alone, whole, rendered, strict=True)


def _holds_special(text: EncodedText, span: tuple[int, int], special: frozenset[int]) -> bool:
    start, end = span
    return any(
        token in special and first < end and last > start
        for token, (first, last) in zip(text.ids, text.offsets, strict=True)
    )


def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Special tokens that no sentence may hold; the unknown token stands for ordinary characters."""
    return frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
