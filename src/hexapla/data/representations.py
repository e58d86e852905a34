"""Distances between languages as a base model represents them: how far translations lie apart halfway up its layers.

A sentence is the mean of the hidden states of its tokens, without prompt (AlignX, arXiv 2509.24338, pools alike). All
sentences are centred on their common mean first, which otherwise makes every cosine nearly one (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from hexapla.base import Base, choose_device, choose_dtype, load_model, load_tokenizer
from hexapla.common.errors import UserError
from hexapla.common.seeds import stable_order
from hexapla.data.rows import Row

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LONGEST_TOKENS = 128  # of a sentence; what comes after says little more about its language
_BATCH = 32


def language_distances(
    base: Base,
    rows: Sequence[Row],
    codes: Sequence[str],
    *,
    seed: int,
    depth: float = 0.5,
    num_rows: int = 128,
) -> dict[str, dict[str, float]]:
    """Distance between every two languages that share rows: 1 - cosine of a row's two sentences, mean over the rows.

    Args:
        rows: of these `num_rows` are looked at, those of most languages first, among equals by hash of their ids.
        depth: the layer, as a share of the model's depth.

    Raises:
        UserError: no row has two of the languages; the base cannot be loaded.
    """
    chosen = _choose_rows(rows, codes, seed, num_rows)
    if not chosen:
        raise UserError(
            "No training row has two of the languages, so there is nothing to take distances from.",
            where="data.pmp.auxiliary",
            hint="Choose the auxiliaries by typology, or give multi-way rows.",
        )
    device = choose_device()
    tokenizer = load_tokenizer(base)
    model = load_model(base, dtype=choose_dtype("auto", device), device=device)
    places = [(row, code) for row in chosen for code in codes if code in row.texts]
    vectors = _sentence_vectors(model, tokenizer, [row.texts[code] for row, code in places], depth)
    vectors = vectors - vectors.mean(dim=0)
    vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
    by_place = {(row.id, code): vector for (row, code), vector in zip(places, vectors, strict=True)}
    distances: dict[str, dict[str, float]] = {code: {} for code in codes}
    for one, other in combinations(codes, 2):
        shared = [row.id for row in chosen if one in row.texts and other in row.texts]
        if shared:
            cosines = [float(by_place[row, one] @ by_place[row, other]) for row in shared]
            distances[one][other] = distances[other][one] = 1 - sum(cosines) / len(cosines)
    return distances


def _choose_rows(rows: Sequence[Row], codes: Sequence[str], seed: int, number: int) -> list[Row]:
    wanted = set(codes)
    widths = [len(wanted & row.texts.keys()) for row in rows]
    ordered = stable_order(seed, [row.id for row in rows], "language-distances")
    ordered = sorted((place for place in ordered if widths[place] > 1), key=lambda place: -widths[place])
    return [rows[place] for place in ordered[:number]]


def _sentence_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], depth: float
) -> torch.Tensor:
    """Mean hidden state of every text, [N, d] in fp32 on the CPU."""
    import torch

    layer = round(depth * model.config.get_text_config().num_hidden_layers)
    encoded = tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=_LONGEST_TOKENS)["input_ids"]
    vectors = [torch.empty(0)] * len(texts)
    ordered = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
    for start in range(0, len(ordered), _BATCH):
        batch = ordered[start : start + _BATCH]
        longest = len(encoded[batch[-1]])
        ids = torch.tensor([encoded[place] + [0] * (longest - len(encoded[place])) for place in batch])
        mask = torch.tensor([[1] * len(encoded[place]) + [0] * (longest - len(encoded[place])) for place in batch])
        with torch.inference_mode():
            output = model(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), output_hidden_states=True
            )
        states = output.hidden_states[layer].float().cpu()
        means = (states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp_min(1)
        for place, mean in zip(batch, means, strict=True):
            vectors[place] = mean
    return torch.stack(vectors)
