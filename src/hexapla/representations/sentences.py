"""Sentences as a model represents them: the mean of the hidden states of a sentence's own tokens, without a prompt.

Special tokens that the tokenizer puts before a text (a beginning-of-sequence token) are read, as the model is used to,
and left out of the mean; what it puts after a text is not read.

Shapes: B sentences of a pass, T positions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hexapla.representations.layers import StateTap
from hexapla.representations.spans import SpanIndex, span_means

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_POSITIONS = 4096
"""Of a pass; more gain nothing on a CPU and little on a GPU (assumption)."""
_STATE_BYTES = 512 * 2**20  # what the hidden states of all layers of a pass may take


class Sentence(NamedTuple):
    """Token ids of a sentence; those from `start` on are its own."""

    ids: list[int]
    start: int

    @property
    def is_empty(self) -> bool:
        """Whether the tokenizer made nothing of the text."""
        return len(self.ids) == self.start


def encode_sentences(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_tokens: int) -> list[Sentence]:
    """Leading special tokens and the first `max_tokens` tokens of every text."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), return_attention_mask=False, return_special_tokens_mask=True, verbose=False)
    sentences = []
    for ids, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        start = next((place for place, is_special in enumerate(special) if not is_special), len(ids))
        end = next((place for place in range(start, len(ids)) if special[place]), len(ids))
        sentences.append(Sentence(list(ids[: min(end, start + max_tokens)]), start))
    return sentences


def positions_a_pass(model: PreTrainedModel, num_layers: int) -> int:
    """Positions, padding included, of which the states of `num_layers` layers at once take half a gibibyte."""
    width = model.config.get_text_config().hidden_size
    return max(1, min(MAX_POSITIONS, _STATE_BYTES // (num_layers * width * model.dtype.itemsize)))


def length_batches(sentences: Sequence[Sentence], max_positions: int) -> list[list[int]]:
    """Positions of the sentences in batches of like length, longest first: what does not fit fails at once.

    A batch has at most `max_positions` positions with its padding, or one sentence.
    """
    batches: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(sentences)), key=lambda place: -len(sentences[place].ids)):
        if not batches or (len(batches[-1]) + 1) * longest > max_positions:
            batches.append([])
            longest = len(sentences[place].ids)
        batches[-1].append(place)
    return batches


@torch.inference_mode()
def batch_means(model: PreTrainedModel, sentences: Sequence[Sentence], layers: Sequence[int]) -> dict[int, Tensor]:
    """Layer → means of the sentences' own tokens [B, D], in fp32 on the CPU.

    The output head is not run. None of the sentences may be empty.

    Args:
        model: not wrapped by peft.
        layers: as `hexapla.representations.layers` counts them.
    """
    longest = max(len(sentence.ids) for sentence in sentences)
    ids_BT = torch.zeros(len(sentences), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for place, sentence in enumerate(sentences):
        ids_BT[place, : len(sentence.ids)] = torch.tensor(sentence.ids)
        mask_BT[place, : len(sentence.ids)] = 1
    with StateTap(model, layers) as tap:
        model.base_model(input_ids=ids_BT.to(model.device), attention_mask=mask_BT.to(model.device), use_cache=False)
    spans = [(place * longest + each.start, place * longest + len(each.ids)) for place, each in enumerate(sentences)]
    index = SpanIndex.of(spans).to(model.device)
    return {layer: span_means(tap.states[layer].flatten(0, 1), index).cpu() for layer in layers}
