"""How near translations lie to each other in one layer: retrieval, cosines, separation, CKA, anisotropy.

Everything is computed a pair of languages at a time from blocks of the layer's vectors, so that besides the vectors
themselves only blocks [R, D] and matrices [R, R] are held, one of the latter a language.

Shapes: N sentences, C languages, R rows that two languages share, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from hexapla.analyze.representations.places import Places
from hexapla.analyze.representations.profile import PairMeasures

_SMALLEST = 1e-12  # of a norm: a vector of zeros has cosine 0 with every other


def measure_pairs(vectors: Tensor, places: Places) -> PairMeasures:
    """Every measure of every two languages that share two rows; NaN elsewhere and on the diagonal.

    Retrieval is among the shared rows. A language's own mean, for `retrieval_centred`, is of all its sentences; CKA
    is centred on the shared rows, as it is defined.

    Args:
        vectors: [N, D] float32, in the order of `places`.
    """
    num_languages = places.num_languages
    found = PairMeasures(*(np.full((num_languages, num_languages), np.nan) for _ in fields(PairMeasures)))
    blocks = _Blocks(vectors, places)
    grams = [blocks.gram(language) for language in range(num_languages)]
    for one in range(num_languages):
        raw_one, centred_one = blocks.unit(one), blocks.unit_centred(one)
        for other in range(one + 1, num_languages):
            in_one, in_other = (torch.from_numpy(each).to(vectors.device) for each in places.shared(one, other))
            if len(in_one) < 2:
                continue
            cosines_RR = _among(raw_one, in_one) @ _among(blocks.unit(other), in_other).T
            found.retrieval[one, other], found.retrieval[other, one] = _retrieval(cosines_RR)
            translations, others, auc = _separation(cosines_RR)
            for measure, value in (
                (found.cosine_translations, translations),
                (found.cosine_others, others),
                (found.auc, auc),
                (found.cka, _cka(_sub_gram(grams[one], in_one), _sub_gram(grams[other], in_other))),
            ):
                measure[one, other] = measure[other, one] = value
            cosines_RR = _among(centred_one, in_one) @ _among(blocks.unit_centred(other), in_other).T
            found.retrieval_centred[one, other], found.retrieval_centred[other, one] = _retrieval(cosines_RR)
    return found


def anisotropy(vectors: Tensor, places: Places) -> float:
    """Mean cosine of two sentences of different rows, whatever their languages (Ethayarajh 2019, section 3.3).

    Σ_{i≠j} u_i·u_j = |Σ u|² - Σ_rows |Σ_row u|² over unit vectors u, so that no pair need be looked at. NaN for one
    row.
    """
    sums_RD = torch.zeros(places.num_rows, vectors.shape[1], dtype=torch.float64, device=vectors.device)
    counts = np.zeros(places.num_rows, dtype=np.int64)
    for language, rows in enumerate(places.rows):
        unit = torch.nn.functional.normalize(vectors[places.of_language(language)], dim=1, eps=_SMALLEST)
        sums_RD[torch.from_numpy(rows).to(vectors.device)] += unit.double()
        counts[rows] += 1
    num_pairs = places.num_sentences**2 - int((counts**2).sum())
    if num_pairs == 0:
        return float("nan")
    return (float(sums_RD.sum(dim=0).square().sum()) - float(sums_RD.square().sum())) / num_pairs


@dataclass(frozen=True)
class _Blocks:
    """The vectors of one language at a time."""

    vectors: Tensor
    places: Places

    def unit(self, language: int) -> Tensor:
        """[R, D] of length 1."""
        return torch.nn.functional.normalize(self._block(language), dim=1, eps=_SMALLEST)

    def unit_centred(self, language: int) -> Tensor:
        """[R, D] of length 1 from the language's mean."""
        return torch.nn.functional.normalize(self._centred(language), dim=1, eps=_SMALLEST)

    def gram(self, language: int) -> Tensor:
        """[R, R] inner products of the centred vectors, divided by the largest: CKA knows no scale."""
        centred = self._centred(language)
        gram = centred @ centred.T
        return gram / gram.diagonal().max().clamp_min(_SMALLEST) if len(gram) else gram

    def _block(self, language: int) -> Tensor:
        return self.vectors[self.places.of_language(language)]

    def _centred(self, language: int) -> Tensor:
        block = self._block(language)
        return block - block.mean(dim=0) if len(block) else block


def _among(block: Tensor, chosen: Tensor) -> Tensor:
    """The chosen rows of a block; the block itself where they are all of it."""
    return block if len(chosen) == len(block) else block[chosen]


def _retrieval(cosines_RR: Tensor) -> tuple[float, float]:
    """Share of rows, then of columns, whose largest cosine is on the diagonal; k equal ones count 1/k."""
    right = cosines_RR.diagonal()
    shares = []
    for dim in (1, 0):
        best = cosines_RR.amax(dim=dim, keepdim=True)
        num_best = (cosines_RR == best).sum(dim=dim)
        shares.append(float(((right == best.squeeze(dim)).double() / num_best).mean()))
    return shares[0], shares[1]


def _separation(cosines_RR: Tensor) -> tuple[float, float, float]:
    """Mean on the diagonal, mean beside it, and the chance that one on it is larger than one beside it (ties half).

    The chance is exact: every cosine on the diagonal is ranked among those beside it.
    """
    num_rows = len(cosines_RR)
    right = cosines_RR.diagonal().contiguous()
    # Without its first entry, a square matrix laid out in rows of one more has its diagonal in the last column.
    others = cosines_RR.flatten()[1:].view(num_rows - 1, num_rows + 1)[:, :-1].flatten()
    ranked = _sorted(others)
    below = torch.searchsorted(ranked, right, side="left").sum()
    not_above = torch.searchsorted(ranked, right, side="right").sum()
    auc = float(below + not_above) / 2 / (num_rows * len(others))
    return float(right.double().mean()), float(others.double().mean()), auc


def _sorted(values: Tensor) -> Tensor:
    """The values, rising; on a CPU by numpy, whose sort of floats is ten times as fast (2026-11)."""
    return torch.from_numpy(np.sort(values.numpy())) if values.device.type == "cpu" else values.sort().values


def _sub_gram(gram: Tensor, chosen: Tensor) -> Tensor:
    """The centred gram matrix of the chosen rows of a language."""
    if len(chosen) == len(gram):
        return gram
    sub = gram[chosen][:, chosen]
    return sub - sub.mean(dim=0) - sub.mean(dim=1, keepdim=True) + sub.mean()


def _cka(one_RR: Tensor, other_RR: Tensor) -> float:
    """Linear CKA of two centred gram matrices (Kornblith et al. 2019, eq. 2 with HSIC of section 3).

    Centring one side suffices for the numerator, so that it equals ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖). NaN where all sentences of
    a language lie in one point.
    """
    norms = [float((each * each).sum(dtype=torch.float64)) for each in (one_RR, other_RR)]
    if not all(norms):
        return float("nan")
    return float((one_RR * other_RR).sum(dtype=torch.float64)) / (norms[0] * norms[1]) ** 0.5
