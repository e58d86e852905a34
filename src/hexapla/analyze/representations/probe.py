"""How well a linear map tells the language of a sentence: linear discriminant analysis with a shrunk covariance.

A closed form instead of a fitted logistic regression: it has no steps to choose, needs sums over the sentences only
(D² numbers, whatever their number), and comes out the same everywhere. Dimensions are scaled to variance 1 first, for a
few of a language model's are hundreds of times as large as the others. The covariance within languages is shrunk to a
multiple of the identity by the oracle approximating estimate (OAS; Chen et al. 2010, eq. 23 without its terms of 2/D,
as scikit-learn has it), since there may be more dimensions than sentences.

Shapes: N sentences, C languages, R rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hexapla.analyze.representations.places import Places


@dataclass(frozen=True)
class Probe:
    """What a probe of one layer reached on the rows that it had not seen.

    Attributes:
        accuracy: share of their sentences whose language it told; NaN where there are none to learn from, or to test.
        by_language: [C] the same of each language; NaN for one without held-out sentences.
        chance: what naming the most frequent language every time would reach.
    """

    accuracy: float
    by_language: np.ndarray
    chance: float


def probe_language(vectors: Tensor, places: Places, held_out: np.ndarray) -> Probe:
    """Learn languages from the rows that are not held out, and tell those of the others.

    Args:
        vectors: [N, D] float32, in the order of `places`.
        held_out: [R] bool: whether a row, in all its languages, is kept for testing.
    """
    splits = [torch.from_numpy(held_out[rows]).to(vectors.device) for rows in places.rows]
    blocks = [vectors[places.of_language(language)] for language in range(places.num_languages)]
    num_train = torch.tensor([int((~split).sum()) for split in splits], dtype=torch.float64)
    num_test = np.array([int(split.sum()) for split in splits])
    right = np.full(places.num_languages, np.nan)
    if num_test.sum() == 0 or len(seen := torch.nonzero(num_train).flatten().tolist()) < 2:
        return Probe(float("nan"), right, float("nan"))
    learnt = _learn([blocks[language] for language in seen], [~splits[language] for language in seen])
    for language in np.flatnonzero(num_test):
        told = learnt.tell(blocks[language][splits[language]])
        named = torch.tensor(seen, device=told.device)[told]
        right[language] = float((named == int(language)).double().mean())
    tested = num_test > 0
    accuracy = float((right[tested] * num_test[tested]).sum() / num_test.sum())
    return Probe(accuracy, right, float(num_test.max() / num_test.sum()))


@dataclass(frozen=True)
class _Discriminant:
    """Scores x̂ W + b of the classes, x̂ the scaled vector.

    Attributes:
        shift, scale: [D], of the scaling.
        weights: [D, C]; `biases`: [C].
    """

    shift: Tensor
    scale: Tensor
    weights: Tensor
    biases: Tensor

    def tell(self, vectors: Tensor) -> Tensor:
        """[n] the class of the highest score."""
        scaled = (vectors - self.shift) / self.scale
        return (scaled.double() @ self.weights + self.biases).argmax(dim=1)


def _learn(blocks: list[Tensor], chosen: list[Tensor]) -> _Discriminant:
    """The discriminant of classes whose vectors are given one block a class, each with a mask of those to learn from.

    The masked vectors are copied a block at a time: together they would double what is held of a layer.
    """
    counts_C = torch.stack([mask.sum() for mask in chosen]).double()
    total = int(counts_C.sum())
    sums_CD = torch.stack(
        [block[mask].sum(dim=0, dtype=torch.float64) for block, mask in zip(blocks, chosen, strict=True)]
    )
    shift_D = sums_CD.sum(dim=0) / total
    shift = shift_D.float()
    squares_D = torch.zeros_like(shift_D)
    for block, mask in zip(blocks, chosen, strict=True):
        squares_D += (block[mask] - shift).square().sum(dim=0, dtype=torch.float64)
    scale_D = torch.where(squares_D > 0, squares_D.div(total).sqrt(), 1.0)
    scale = scale_D.float()
    means_CD = (sums_CD / counts_C[:, None] - shift_D) / scale_D
    within_DD = torch.zeros(len(shift), len(shift), dtype=torch.float64, device=shift.device)
    for block, mask, mean in zip(blocks, chosen, means_CD, strict=True):
        deviations = (block[mask] - shift) / scale - mean.float()
        within_DD += deviations.T @ deviations
    shrunk = _shrink(within_DD.div_(total), total)
    factor = torch.linalg.cholesky(shrunk)
    weights_DC = torch.cholesky_solve(means_CD.T.contiguous(), factor)
    biases_C = (counts_C / total).log() - (means_CD.T * weights_DC).sum(dim=0) / 2
    return _Discriminant(shift, scale, weights_DC, biases_C)


def _shrink(covariance_DD: Tensor, num_samples: int) -> Tensor:
    """(1 - ρ) S + ρ tr(S)/D · 1, ρ by OAS; changes its argument. A covariance of zeros becomes the identity."""
    width = len(covariance_DD)
    mean = float(covariance_DD.diagonal().mean())
    if mean == 0:
        return covariance_DD.fill_diagonal_(1.0)
    square = float(covariance_DD.norm()) ** 2 / width**2  # tr(S²)/D²
    denominator = (num_samples + 1) * (square - mean**2 / width)
    rho = 1.0 if denominator <= 0 else min(1.0, (square + mean**2) / denominator)
    rho = max(rho, 1e-6)  # without noise at all the factorisation still needs full rank
    covariance_DD.mul_(1 - rho).diagonal().add_(rho * mean)
    return covariance_DD
