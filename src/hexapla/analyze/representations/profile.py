"""What was measured inside one model; `section` shows it, `stage` makes it.

Shapes: L layers, C languages, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairMeasures:
    """What is measured of every two languages: [C, C] in one layer, [L, C, C] in the layers of a profile.

    From the language of the row to that of the column; NaN on the diagonal and where two languages share no two rows.

    Attributes:
        retrieval: share of sentences whose nearest sentence (by cosine) among those of the other language is their
            translation; `retrieval_centred` after each language's own mean is taken off.
        cosine_translations, cosine_others: mean cosine of translations, and of sentences that are none.
        auc: chance that a translation is nearer than a sentence that is none (ties count half).
        cka: linear CKA (Kornblith et al. 2019) over the shared rows.
    """

    retrieval: np.ndarray
    retrieval_centred: np.ndarray
    cosine_translations: np.ndarray
    cosine_others: np.ndarray
    auc: np.ndarray
    cka: np.ndarray


@dataclass(frozen=True)
class RepresentationProfile(PairMeasures):
    """Measures of a model's sentence representations on the same rows in C languages, layer by layer.

    Layers are counted as in `hexapla.representations.layers`.

    Attributes:
        name: pool, or base.
        depth: blocks of the model.
        layers: [L] indexes, rising; 0 are the embeddings.
        languages: [C] codes.
        num_rows: rows that were read; `num_shared` [C, C] of them in both languages.
        probe: [L] share of held-out sentences whose language a linear probe tells; `probe_by_language` [L, C].
        probe_chance: what guessing the most frequent language would reach.
        anisotropy: [L] mean cosine of two sentences of different rows, whatever their languages (Ethayarajh 2019).
        projection: layer → [R', 2] coordinates of sentences; `projected` says which: (row's number, language) each.
        projection_method: pca, tsne or umap; `explained` layer → shares of variance of the two axes (pca only).
        adapters: language → the adapter that its sentences were read with; None: the bare base.
        seconds: reading and measuring.
    """

    name: str
    depth: int
    layers: tuple[int, ...]
    languages: tuple[str, ...]
    num_rows: int
    num_shared: np.ndarray
    probe: np.ndarray
    probe_by_language: np.ndarray
    probe_chance: float
    anisotropy: np.ndarray
    projection: dict[int, np.ndarray]
    projected: tuple[tuple[int, str], ...]
    projection_method: str
    explained: dict[int, tuple[float, float]]
    adapters: dict[str, str | None]
    seconds: float
