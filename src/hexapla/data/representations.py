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
    from torch import Tensor

_LONGEST_TOKENS = 128  # of a sentence; what comes after says little more about its language


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
    chosen = widest_rows(rows, codes, num_rows, seed=seed, purpose="language-distances")
    if not chosen:
        raise UserError(
            "No training row has two of the languages, so there is nothing to take distances from.",
            where="data.pmp.auxiliary",
            hint="Choose the auxiliaries by typology, or give multi-way rows.",
        )
    by_place = _sentence_vectors(base, chosen, codes, depth)
    distances: dict[str, dict[str, float]] = {code: {} for code in codes}
    for one, other in combinations(codes, 2):
        shared = [row.id for row in chosen if (row.id, one) in by_place and (row.id, other) in by_place]
        if shared:
            cosines = [float(by_place[row, one] @ by_place[row, other]) for row in shared]
            distances[one][other] = distances[other][one] = 1 - sum(cosines) / len(cosines)
    return distances


def widest_rows(rows: Sequence[Row], codes: Sequence[str], number: int, *, seed: int, purpose: str) -> list[Row]:
    """At most `number` rows with two of the languages, those of most of them first, among equals by hash of their ids.

    Args:
        purpose: names the choice: another one takes other rows.
    """
    wanted = set(codes)
    widths = [len(wanted & row.texts.keys()) for row in rows]
    ordered = stable_order(seed, [row.id for row in rows], purpose)
    ordered = sorted((place for place in ordered if widths[place] > 1), key=lambda place: -widths[place])
    return [rows[place] for place in ordered[:number]]


def _sentence_vectors(
    base: Base, rows: Sequence[Row], codes: Sequence[str], depth: float
) -> dict[tuple[str, str], Tensor]:
    """(row's id, language) → its centred sentence vector of length 1; texts without tokens have none."""
    import torch

    from hexapla.representations.sentences import batch_means, encode_sentences, length_batches, positions_a_pass

    device = choose_device()
    tokenizer = load_tokenizer(base)
    model = load_model(base, dtype=choose_dtype("auto", device), device=device)
    layer = round(depth * model.config.get_text_config().num_hidden_layers)
    places = [(row, code) for row in rows for code in codes if code in row.texts]
    encoded = encode_sentences(tokenizer, [row.texts[code] for row, code in places], max_tokens=_LONGEST_TOKENS)
    kept = [(row.id, code) for (row, code), sentence in zip(places, encoded, strict=True) if not sentence.is_empty]
    sentences = [sentence for sentence in encoded if not sentence.is_empty]
    found: dict[tuple[str, str], Tensor] = {}
    for batch in length_batches(sentences, positions_a_pass(model, 1)):
        means = batch_means(model, [sentences[place] for place in batch], [layer])[layer]
        found.update(zip([kept[place] for place in batch], means, strict=True))
    mean = torch.stack(list(found.values())).mean(dim=0)
    return {place: torch.nn.functional.normalize(vector - mean, dim=0, eps=1e-12) for place, vector in found.items()}
