"""Every measure equals its definition written out slowly, and says what is known of known cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.analyze.representations.measures import anisotropy, measure_pairs
from hexapla.analyze.representations.places import Places
from hexapla.analyze.representations.profile import PairMeasures


def random_case(seed: int, num_rows: int = 9, num_languages: int = 3, width: int = 5, share: float = 0.7):
    """Places with holes, and their vectors, around a mean that is not 0."""
    generator = np.random.default_rng(seed)
    has = generator.random((num_rows, num_languages)) < share
    places = Places.of(has)
    vectors = generator.normal(size=(places.num_sentences, width)) + generator.normal(size=width)
    return has, places, vectors


def by_hand(has: np.ndarray, places: Places, vectors: np.ndarray) -> PairMeasures:
    """The definitions in float64, one pair of sentences at a time."""
    num_languages = has.shape[1]
    names = PairMeasures.__dataclass_fields__
    found = {name: np.full((num_languages, num_languages), np.nan) for name in names}
    at = {}
    position = 0
    for language in range(num_languages):
        for row in range(len(has)):
            if has[row, language]:
                at[row, language] = vectors[position]
                position += 1
    means = [
        np.mean([vector for (_, other), vector in at.items() if other == language] or [vectors[0] * 0], axis=0)
        for language in range(num_languages)
    ]

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))

    for a in range(num_languages):
        for b in range(num_languages):
            rows = [row for row in range(len(has)) if has[row, a] and has[row, b]]
            if a == b or len(rows) < 2:
                continue
            for name, of_a, of_b in (("retrieval", 0, 0), ("retrieval_centred", means[a], means[b])):
                hits = 0
                for row in rows:
                    cosines = [cosine(at[row, a] - of_a, at[other, b] - of_b) for other in rows]
                    hits += rows[int(np.argmax(cosines))] == row
                found[name][a, b] = hits / len(rows)
            right = [cosine(at[row, a], at[row, b]) for row in rows]
            wrong = [cosine(at[row, a], at[other, b]) for row in rows for other in rows if row != other]
            found["cosine_translations"][a, b] = np.mean(right)
            found["cosine_others"][a, b] = np.mean(wrong)
            found["auc"][a, b] = np.mean([(x > y) + 0.5 * (x == y) for x in right for y in wrong])
            x, y = (np.stack([at[row, language] for row in rows]) for language in (a, b))
            x, y = x - x.mean(axis=0), y - y.mean(axis=0)
            norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
            found["cka"][a, b] = np.linalg.norm(y.T @ x) ** 2 / norms
    return PairMeasures(**found)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pairs_equal_the_definitions(seed: int) -> None:
    has, places, vectors = random_case(seed)
    expected = by_hand(has, places, vectors)
    found = measure_pairs(torch.from_numpy(vectors).float(), places)
    for name in vars(expected):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-4, atol=2e-5, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_anisotropy_equals_the_mean_over_all_pairs(seed: int) -> None:
    _, places, vectors = random_case(seed)
    rows = np.concatenate(places.rows)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [unit[i] @ unit[j] for i in range(len(rows)) for j in range(len(rows)) if rows[i] != rows[j]]
    assert anisotropy(torch.from_numpy(vectors).float(), places) == pytest.approx(np.mean(cosines), abs=1e-6)


def test_one_row_has_no_anisotropy() -> None:
    assert np.isnan(anisotropy(torch.randn(2, 3), Places.of(np.ones((1, 2), dtype=bool))))


def two_languages(one: torch.Tensor, other: torch.Tensor) -> PairMeasures:
    return measure_pairs(torch.cat([one, other]), Places.of(np.ones((len(one), 2), dtype=bool)))


def test_equal_and_rotated_and_random_spaces() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 16, generator=generator)
    same = two_languages(x, x)
    assert same.retrieval[0, 1] == same.retrieval[1, 0] == same.retrieval_centred[0, 1] == 1
    assert same.cka[0, 1] == pytest.approx(1, abs=1e-6)
    assert same.cosine_translations[0, 1] == pytest.approx(1, abs=1e-6)
    assert same.auc[0, 1] == 1
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
    rotated = two_languages(x, 3 * x @ rotation + 7)
    assert rotated.cka[0, 1] == pytest.approx(1, abs=1e-5)
    assert rotated.retrieval[0, 1] < 0.1
    chance = two_languages(x, torch.randn(200, 16, generator=generator))
    assert chance.retrieval[0, 1] < 0.05
    assert chance.auc[0, 1] == pytest.approx(0.5, abs=0.05)
    assert chance.cka[0, 1] < 0.2


def test_a_mean_of_the_language_hides_translations_until_it_is_taken_off() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 8, generator=generator)
    shift = torch.zeros(8)
    shift[0] = 30.0
    shifted = two_languages(x, 0.5 * x + shift)
    assert shifted.retrieval[0, 1] < 0.7
    assert shifted.retrieval[1, 0] < 0.2  # all of them lie where few of the first language do
    assert shifted.retrieval_centred[0, 1] == shifted.retrieval_centred[1, 0] == 1


def test_ties_count_their_share() -> None:
    points = two_languages(torch.ones(4, 3), torch.ones(4, 3))
    assert points.retrieval[0, 1] == points.retrieval[1, 0] == 0.25
    assert points.auc[0, 1] == 0.5
    assert np.isnan(points.cka[0, 1])


def test_languages_without_two_common_rows_have_no_figures() -> None:
    has = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1], [0, 1, 1]], dtype=bool)
    places = Places.of(has)
    found = measure_pairs(torch.randn(places.num_sentences, 4), places)
    assert places.num_shared.tolist() == [[4, 2, 2], [2, 3, 1], [2, 1, 3]]
    for matrix in vars(found).values():
        assert np.isnan(matrix[1, 2])
        assert np.isnan(np.diagonal(matrix)).all()
        assert not np.isnan(matrix[0, 1:]).any()
    empty = Places.of(np.array([[1, 1, 0], [1, 1, 0]], dtype=bool))
    assert np.isnan(measure_pairs(torch.randn(4, 3), empty).retrieval[2]).all()
