"""What the reader of a look inside models must know: how it was measured, with what, and what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from hexapla.analyze.representations.profile import RepresentationProfile
from hexapla.common.progress import duration

MEASURES = (
    "Means over all pairs of languages. Retrieval: percentage of sentences whose nearest sentence of the other "
    "language, by cosine, is their translation; centred: after each language's own mean is taken off. AUC: chance that "
    "a translation is nearer than a sentence that is none. CKA: linear centred kernel alignment (Kornblith et al. "
    "2019, arXiv 1905.00414). Probe: held-out sentences whose language a linear classifier tells. Anisotropy: mean "
    "cosine of two sentences of different rows (Ethayarajh 2019, arXiv 1909.00512); where it is high, cosines say "
    "little by themselves."
)
_METHOD = (
    "A sentence is the mean of the hidden states of its tokens; layers are counted from the embeddings (0) to what the "
    "output head reads. That translations come together in the middle layers and part towards the output is what "
    "AlignX trains for (arXiv 2509.24338)."
)
_MOST_NAMED = 8  # adapters or pairs; the tables name all
_PROJECTED = {
    "pca": "The pictures are the first two principal components of each layer.",
    "tsne": "The pictures are made by t-SNE: it keeps neighbours together, distances between groups mean little.",
    "umap": "The pictures are made by UMAP: it keeps neighbours together, distances between groups mean little.",
}


def notes(profiles: Sequence[RepresentationProfile], layer: str) -> tuple[str, ...]:
    """Rows, method, adapters, and what is missing.

    Args:
        layer: the one that is looked at closely, in words.
    """
    found = [f"{_rows(profiles)} Looked at closely: {layer}.", _METHOD]
    found += [_PROJECTED[method] for method in dict.fromkeys(p.projection_method for p in profiles)]
    if len({profile.depth for profile in profiles}) > 1:
        depths = ", ".join(f"{profile.name} {profile.depth}" for profile in profiles)
        found.append(f"The models differ in depth ({depths}): layers are compared at the same share of it.")
    for profile in profiles:
        found += [*_adapters(profile), *_missing(profile)]
    times = ", ".join(f"{profile.name} {duration(profile.seconds)}" for profile in profiles)
    return (*found, f"Time of reading and measuring: {times}.")


def _rows(profiles: Sequence[RepresentationProfile]) -> str:
    kinds = {(profile.num_rows, len(profile.languages)) for profile in profiles}
    if len(kinds) == 1:
        num_rows, num_languages = kinds.pop()
        return f"{num_rows:,} rows in {num_languages} languages."
    each = (f"{p.name} {p.num_rows:,} rows in {len(p.languages)} languages" for p in profiles)
    return f"{'; '.join(each)}."


def _adapters(profile: RepresentationProfile) -> list[str]:
    """Which adapter read which languages, where there is a choice."""
    by_adapter: dict[str, list[str]] = defaultdict(list)
    for code in profile.languages:
        by_adapter[profile.adapters.get(code) or "the bare base"].append(code)
    if len(by_adapter) < 2:
        return []
    each = [f"{', '.join(codes)} with {adapter}" for adapter, codes in by_adapter.items()]
    more = ["…"] if len(each) > _MOST_NAMED else []
    return [
        f"{profile.name} has several adapters: each language was read with the one that translates it into the hub, "
        f"the hub with the bare base ({'; '.join(each[:_MOST_NAMED] + more)})."
    ]


def _missing(profile: RepresentationProfile) -> list[str]:
    """Pairs of languages that share too few rows."""
    above = np.triu_indices(len(profile.languages), 1)
    found = [
        f"{profile.languages[i]}–{profile.languages[j]}"
        for i, j in zip(*above, strict=True)
        if not profile.num_shared[i, j] >= 2
    ]
    if not found:
        return []
    shown = ", ".join(found[:_MOST_NAMED]) + (", …" if len(found) > _MOST_NAMED else "")
    return [f"{profile.name}: {len(found)} of {len(above[0])} pairs share fewer than two rows: {shown}."]
