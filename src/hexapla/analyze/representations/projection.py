"""Sentences in two dimensions: principal components, or t-SNE and UMAP where their packages are installed.

Shapes: n sentences, D width.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hexapla.common.errors import require_extra

Method = Literal["pca", "tsne", "umap"]
_EXTRA = "analysis"
_MODULES = {"tsne": ("sklearn.manifold", "t-SNE"), "umap": ("umap", "UMAP")}


def require_projection(method: Method) -> None:
    """Refuse a method whose package is not installed.

    Raises:
        UserError: it names the extra that brings it.
    """
    if method != "pca":
        _module(method)


def project(vectors: Tensor, method: Method) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Two coordinates of every vector, the same at every call.

    Args:
        vectors: [n, D], at least four.

    Returns:
        [n, 2] float32, and for pca the shares of variance of its two axes.

    Raises:
        UserError: the method's package is not installed.
    """
    if method == "pca":
        return _principal(vectors)
    points = vectors.float().cpu().numpy()
    if method == "tsne":
        # A third of the sentences: scikit-learn wants the perplexity below their number.
        perplexity = min(30.0, (len(points) - 1) / 3)
        reducer = _module(method).TSNE(2, init="pca", perplexity=perplexity, random_state=0)
    else:
        # With a seed it works on one core; said so that it does not warn of it.
        reducer = _module(method).UMAP(n_neighbors=min(15, len(points) - 1), random_state=0, n_jobs=1)
    return np.asarray(reducer.fit_transform(points), dtype=np.float32), None


def _module(method: Method) -> ModuleType:
    module, name = _MODULES[method]
    return require_extra(module, _EXTRA, name)


def _principal(vectors: Tensor) -> tuple[np.ndarray, tuple[float, float]]:
    """Scores on the two directions of most variance; of each axis the entry of largest size is positive."""
    centred = vectors.double() - vectors.double().mean(dim=0)
    n, width = centred.shape
    if n <= width:  # the smaller of the two matrices with the same non-zero eigenvalues
        values, axes = torch.linalg.eigh(centred @ centred.T)
        scores = axes[:, [-1, -2]] * values[[-1, -2]].clamp_min(0).sqrt()
    else:
        values, axes = torch.linalg.eigh(centred.T @ centred)
        scores = centred @ axes[:, [-1, -2]]
    total = float(values.clamp_min(0).sum())
    shares = [float(values[place].clamp_min(0)) / total if total > 0 else 0.0 for place in (-1, -2)]
    largest = scores.gather(0, scores.abs().argmax(dim=0, keepdim=True))
    signed = scores * torch.where(largest < 0, -1.0, 1.0)
    return signed.float().cpu().numpy(), (shares[0], shares[1])
