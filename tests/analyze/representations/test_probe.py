"""The probe is a linear discriminant with a shrunk covariance, learnt and tested on different rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hexapla.analyze.representations.places import Places
from hexapla.analyze.representations.probe import Probe, probe_language


def reference(vectors: np.ndarray, places: Places, held_out: np.ndarray) -> np.ndarray:
    """The languages told for the held-out sentences, by the formulas in float64."""
    rows = np.concatenate(places.rows)
    labels = np.repeat(np.arange(places.num_languages), [len(each) for each in places.rows])
    train = ~held_out[rows]
    x, y = vectors[train], labels[train]
    shift, scale = x.mean(axis=0), x.std(axis=0)
    x = (x - shift) / scale
    classes = np.unique(y)
    means = np.stack([x[y == label].mean(axis=0) for label in classes])
    within = sum((x[y == label] - mean).T @ (x[y == label] - mean) for label, mean in zip(classes, means, strict=True))
    s = within / len(x)
    n, p = x.shape
    mu, alpha = np.trace(s) / p, np.mean(s**2)
    rho = min(1.0, (alpha + mu**2) / ((n + 1) * (alpha - mu**2 / p)))
    inverse = np.linalg.inv((1 - rho) * s + rho * mu * np.eye(p))
    priors = np.array([np.mean(y == label) for label in classes])
    test = (vectors[~train] - shift) / scale
    scores = test @ inverse @ means.T - 0.5 * np.sum((means @ inverse) * means, axis=1) + np.log(priors)
    return classes[scores.argmax(axis=1)] == labels[~train]


def case(seed: int, width: int = 6) -> tuple[Places, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    has = generator.random((40, 3)) < [1.0, 0.8, 0.5]
    places = Places.of(has)
    labels = np.repeat(np.arange(3), [len(each) for each in places.rows])
    scales = np.linspace(1, 100, width)
    vectors = scales * (generator.normal(size=(len(labels), width)) + generator.normal(size=(3, width))[labels])
    return places, vectors, np.arange(40) % 4 == 1


@pytest.mark.parametrize("width", [2, 6, 200])
def test_it_equals_the_formulas(width: int) -> None:
    for seed in range(5):
        places, vectors, held_out = case(seed, width)
        right = reference(vectors, places, held_out)
        found = probe_language(torch.from_numpy(vectors).float(), places, held_out)
        assert found.accuracy == pytest.approx(right.mean())
        counts = [int(held_out[rows].sum()) for rows in places.rows]
        pieces = np.split(right, np.cumsum(counts)[:-1])
        np.testing.assert_allclose(found.by_language, [piece.mean() for piece in pieces])
        assert found.chance == max(counts) / sum(counts)


def test_it_equals_scikit_learn() -> None:
    analysis = pytest.importorskip("sklearn.discriminant_analysis")
    covariance = pytest.importorskip("sklearn.covariance")
    places, vectors, held_out = case(3)
    rows = np.concatenate(places.rows)
    labels = np.repeat(np.arange(3), [len(each) for each in places.rows])
    train = ~held_out[rows]
    scaled = (vectors - vectors[train].mean(axis=0)) / vectors[train].std(axis=0)
    estimator = covariance.OAS(assume_centered=True)
    judge = analysis.LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=estimator)
    accuracy = judge.fit(scaled[train], labels[train]).score(scaled[~train], labels[~train])
    found = probe_language(torch.from_numpy(vectors).float(), places, held_out)
    assert found.accuracy == pytest.approx(accuracy, abs=2 / (~train).sum())  # it shrinks each class by itself


def test_separable_and_equal_languages() -> None:
    generator = torch.Generator().manual_seed(0)
    places, held_out = Places.of(np.ones((100, 4), dtype=bool)), np.arange(100) % 4 == 0
    x = torch.randn(400, 8, generator=generator)
    apart = x + 50 * torch.eye(4, 8).repeat_interleave(100, dim=0)
    assert probe_language(apart, places, held_out).accuracy == 1
    assert probe_language(x, places, held_out).accuracy == pytest.approx(0.25, abs=0.15)
    assert probe_language(x, places, held_out).chance == 0.25


def test_a_row_is_on_one_side_only() -> None:
    """Vectors that are the row's own and the language's only where it was learnt cannot be told on other rows."""
    generator = torch.Generator().manual_seed(0)
    places, held_out = Places.of(np.ones((60, 2), dtype=bool)), np.arange(60) % 4 == 0
    own = torch.randn(
        120, 500, generator=generator
    )  # more dimensions than sentences: what is learnt is learnt by heart
    found = probe_language(own, places, held_out)
    assert found.accuracy == pytest.approx(0.5, abs=0.25)
    everything = probe_language(torch.cat([own, own]), Places.of(np.ones((60, 4), dtype=bool)), held_out)
    assert everything.accuracy < 0.5


def test_what_cannot_be_learnt_or_tested_is_missing() -> None:
    places = Places.of(np.ones((4, 2), dtype=bool))
    vectors = torch.randn(8, 3)
    for held_out in (np.zeros(4, dtype=bool), np.ones(4, dtype=bool)):
        found = probe_language(vectors, places, held_out)
        assert isinstance(found, Probe)
        assert np.isnan(found.accuracy)
        assert np.isnan(found.by_language).all()
    one_sided = Places.of(np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=bool))
    found = probe_language(torch.randn(9, 3), one_sided, np.array([False, False, True, False]))
    assert found.by_language[2] == 0  # never learnt
    constant = probe_language(torch.ones(8, 3), places, np.array([True, False, False, False]))
    assert 0 <= constant.accuracy <= 1
