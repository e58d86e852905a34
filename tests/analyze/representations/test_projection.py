"""Pictures of two dimensions: principal components by hand, the same at every call; others where installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from hexapla.analyze.representations.projection import project, require_projection
from hexapla.common.errors import UserError


@pytest.mark.parametrize("shape", [(30, 5), (6, 40)])
def test_principal_components(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1]) + 4
    found, explained = project(torch.from_numpy(vectors).float(), "pca")
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    for axis in (0, 1):
        expected = left[:, axis] * sizes[axis]
        expected = expected * np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(found[:, axis], expected, rtol=1e-3, atol=1e-3)
        assert explained is not None
        assert explained[axis] == pytest.approx(sizes[axis] ** 2 / (sizes**2).sum(), rel=1e-4)


def test_points_in_one_place_have_no_axes() -> None:
    found, explained = project(torch.ones(5, 3), "pca")
    np.testing.assert_allclose(found, 0, atol=1e-6)
    assert explained == (0, 0)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_a_missing_package_is_named_with_its_extra(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match=r"hexapla\[analysis\]"):
        require_projection(method)  # type: ignore[arg-type]
    require_projection("pca")


@pytest.mark.parametrize(("method", "module"), [("tsne", "sklearn"), ("umap", "umap")])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)  # umap compiles itself when it is imported
@pytest.mark.slow
def test_neighbours_stay_together(method: str, module: str) -> None:
    pytest.importorskip(module)
    generator = torch.Generator().manual_seed(0)
    groups = torch.eye(2, 10).repeat_interleave(20, dim=0) * 40 + torch.randn(40, 10, generator=generator)
    found, explained = project(groups, method)  # type: ignore[arg-type]
    again, _ = project(groups, method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, again)
    assert found.shape == (40, 2)
    assert explained is None
    distances = np.linalg.norm(found[:, None] - found[None], axis=2)
    assert distances[:20, :20].mean() < distances[:20, 20:].mean()
