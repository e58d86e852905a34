"""Adapter geometry against explicit updates in float64, closed forms, what must not matter, and what is shown."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from hexapla.adapter import LoraAdapter
from hexapla.analyze import geometry as geometry_module
from hexapla.analyze.adapter_sets import adapter_sets, measure_pool
from hexapla.analyze.geometry import Geometry, measure
from hexapla.analyze.geometry_section import geometry_features, geometry_section
from hexapla.analyze.present import LineChart, MatrixChart, Table, TreeChart
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.languages import Direction
from hexapla.merge.experts import Experts
from hexapla.merge.merging import merge_experts
from hexapla.merge.spec import MergeSpec
from hexapla.plan import Layout
from tests.analyze.adapters import LAYOUT, SHAPES, make_pool, random_adapter, update, write_adapters

Q_PROJ = "model.layers.0.self_attn.q_proj"


def changed(adapter: LoraAdapter, factor_a: float = 1.0, factor_b: float = 1.0) -> LoraAdapter:
    return LoraAdapter(
        adapter.settings, {path: (a * factor_a, b * factor_b) for path, (a, b) in adapter.factors.items()}
    )


def measured(folder: Path, adapters: dict[str, LoraAdapter], sets: dict[str, list[str]] | None = None) -> Geometry:
    return measure(Experts(write_adapters(folder, adapters)), sets)


@pytest.fixture(scope="module")
def mixed() -> dict[str, LoraAdapter]:
    """Three adapters of different rank, scale and kind of scaling; the first two are related."""
    first = random_adapter(0, rank=4)
    other = random_adapter(1, rank=4)
    factors = {
        path: (a + 0.5 * other.factors[path][0], b + 0.5 * other.factors[path][1])
        for path, (a, b) in first.factors.items()
    }
    related = LoraAdapter(random_adapter(1, rank=4, alpha=3.0).settings, factors)
    return {"a": first, "b": related, "c": random_adapter(2, rank=3, alpha=5.0, use_rslora=True)}


def explicit_cosine(adapters: dict[str, LoraAdapter], i: str, j: str) -> float:
    x, y = (torch.cat([update(adapters[k], path).flatten() for path in SHAPES]) for k in (i, j))
    return float(x @ y / (x.norm() * y.norm()))


def explicit_overlap(adapters: dict[str, LoraAdapter], path: str, i: str, j: str, transpose: bool) -> float:
    bases = []
    for name in (i, j):
        matrix = update(adapters[name], path)
        u, s, _ = torch.linalg.svd(matrix.T if transpose else matrix, full_matrices=False)
        bases.append(u[:, s > 1e-9 * s[0]])
    cosines = torch.linalg.svdvals(bases[0].T @ bases[1])
    return float(cosines.square().sum() / min(base.shape[1] for base in bases))


def test_cosine_and_overlap_are_those_of_the_explicit_updates(tmp_path: Path, mixed: dict[str, LoraAdapter]) -> None:
    found = measured(tmp_path, mixed)
    assert found.names == ("a", "b", "c")
    for (i, a), (j, b) in itertools.product(enumerate(found.names), repeat=2):
        assert found.cosine[i, j] == pytest.approx(explicit_cosine(mixed, a, b), abs=1e-12)
        for module in found.modules:
            for figure, transpose in ((module.overlap_output, False), (module.overlap_input, True)):
                assert figure[i, j] == pytest.approx(explicit_overlap(mixed, module.path, a, b, transpose), abs=1e-10)
        norm = sum(float(update(mixed[a], path).square().sum()) for path in SHAPES) ** 0.5
        assert found.norms[i] == pytest.approx(norm, rel=1e-12)
    assert found.cosine[0, 1] > 0.3  # the related ones, so that the agreement above is not one of zeros


def test_signs_are_those_of_the_explicit_updates(tmp_path: Path, mixed: dict[str, LoraAdapter]) -> None:
    found = measured(tmp_path, mixed, {"all": ["a", "b", "c"], "pair": ["a", "c"]})
    for members, name in ((("a", "b", "c"), "all"), (("a", "c"), "pair")):
        values = torch.stack([torch.cat([update(mixed[k], path).flatten() for path in SHAPES]) for k in members])
        signs = found.signs(name)
        assert signs.num_voted == values.shape[1]
        assert signs.num_conflicts == ((values > 0).any(0) & (values < 0).any(0)).sum()
        assert signs.sum_l1 == pytest.approx(float(values.sum(0).abs().sum()), rel=1e-5)
        assert signs.total_l1 == pytest.approx(float(values.abs().sum()), rel=1e-5)
    opposite = found.disagreement
    assert opposite[0, 2] == found.signs("pair").num_conflicts / found.signs("pair").num_voted
    assert opposite[0, 0] == 0
    assert 0 < opposite[0, 1] < 0.4


def test_sign_conflict_is_the_merge_reports(tmp_path: Path, mixed: dict[str, LoraAdapter]) -> None:
    experts = Experts(write_adapters(tmp_path, mixed))
    found = measure(experts, {"all": experts.names})
    spec = MergeSpec.model_validate({"operator": "ties", "density": 1.0})
    _, report = merge_experts(experts, spec, torch.ones(3), seed=0)
    for module in found.modules:
        signs = module.sets["all"]
        assert signs.num_conflicts / signs.num_voted == report.modules[module.path].sign_conflict_share


def test_neither_basis_nor_size_matters(tmp_path: Path, mixed: dict[str, LoraAdapter]) -> None:
    turned = {}
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(9)))[0]
    for path, (a, b) in mixed["a"].factors.items():
        turned[path] = (rotation @ a * 7, b @ rotation.T)
    before = measured(tmp_path / "before", mixed)
    after = measured(tmp_path / "after", {**mixed, "a": LoraAdapter(mixed["a"].settings, turned)})
    np.testing.assert_allclose(after.cosine, before.cosine, atol=1e-6)
    np.testing.assert_allclose(after.mean("overlap_input"), before.mean("overlap_input"), atol=1e-6)
    np.testing.assert_allclose(after.norms / before.norms, [7, 1, 1], rtol=1e-6)


def test_opposite_and_equal_updates(tmp_path: Path) -> None:
    adapter = random_adapter(0)
    found = measured(
        tmp_path, {"a": adapter, "b": changed(adapter, 1, -2), "c": changed(adapter, -3, -3)}, {"all": ["a", "b"]}
    )
    np.testing.assert_allclose(found.cosine, [[1, -1, 1], [-1, 1, -1], [1, -1, 1]], atol=1e-12)
    np.testing.assert_allclose(found.disagreement, [[0, 1, 0], [1, 0, 1], [0, 1, 0]], atol=0)
    np.testing.assert_allclose(found.mean("overlap_output"), 1, atol=1e-12)
    assert found.signs("all").sum_l1 == pytest.approx(found.signs("all").total_l1 / 3, rel=1e-6)  # 1 − 2 of 1 + 2


def test_a_zero_update_has_no_cosine(tmp_path: Path) -> None:
    found = measured(tmp_path, {"a": random_adapter(0), "z": changed(random_adapter(1), 1, 0)}, {"all": ["a", "z"]})
    assert found.cosine[0, 0] == pytest.approx(1)
    assert np.isnan(found.cosine[[0, 1, 1], [1, 0, 1]]).all()
    assert np.isnan(found.mean("overlap_output")[0, 1])
    assert np.isnan(found.disagreement[0, 1])
    assert found.signs("all").num_conflicts == 0
    assert found.signs("all").num_voted == sum(height * width for height, width in SHAPES.values())


def test_a_rank_that_is_not_used_is_no_subspace(tmp_path: Path) -> None:
    adapter = random_adapter(0)
    thin = {
        path: (a, torch.cat([b[:, :2], b[:, :2] @ torch.ones(2, 2)], 1)) for path, (a, b) in adapter.factors.items()
    }
    found = measured(tmp_path, {"a": adapter, "b": LoraAdapter(adapter.settings, thin)})
    module = found.modules[0]
    assert module.overlap_output[0, 1] == pytest.approx(1)  # two dimensions within four
    assert module.chance_output[1, 1] == pytest.approx(2 / module.shape.d_out)


def test_random_subspaces_overlap_as_by_chance(tmp_path: Path) -> None:
    found = measured(tmp_path, {f"{k:02}": random_adapter(k, rank=3) for k in range(16)})
    pairs = ~np.eye(16, dtype=bool)
    for side in ("output", "input"):
        expected = found.mean(f"chance_{side}")[pairs].mean()
        assert found.mean(f"overlap_{side}")[pairs].mean() == pytest.approx(expected, rel=0.05)
    assert found.disagreement[pairs].mean() == pytest.approx(0.5, abs=0.02)


def test_a_sample_of_a_large_module_gives_about_the_same(
    tmp_path: Path, mixed: dict[str, LoraAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = Experts(write_adapters(tmp_path, mixed))
    exact = measure(experts, {"all": experts.names})
    monkeypatch.setattr(geometry_module, "_MAX_COUNTED", 0)
    sampled = measure(experts, {"all": experts.names})
    assert (exact.sampled, sampled.sampled) == (False, True)
    np.testing.assert_allclose(sampled.disagreement, exact.disagreement, atol=0.01)
    np.testing.assert_array_equal(sampled.cosine, exact.cosine)
    for figure in ("num_voted", "num_conflicts", "sum_l1", "total_l1"):
        assert getattr(sampled.signs("all"), figure) == pytest.approx(getattr(exact.signs("all"), figure), rel=0.03)


def test_layers_and_kinds(tmp_path: Path, mixed: dict[str, LoraAdapter]) -> None:
    found = measured(tmp_path, mixed)
    assert found.layers == (0, 1)
    assert set(found.kinds) == {"q_proj", "down_proj"}
    only = found.where(layer=0, kind="q_proj")
    assert [module.path for module in only.modules] == [Q_PROJ]
    x, y = update(mixed["a"], Q_PROJ).flatten(), update(mixed["b"], Q_PROJ).flatten()
    assert only.cosine[0, 1] == pytest.approx(float(x @ y / (x.norm() * y.norm())), abs=1e-12)


def test_sets_follow_the_sides(tmp_path: Path) -> None:
    sets, notes = adapter_sets(make_pool(tmp_path / "separate", "separate"))
    assert [one.name for one in sets] == ["from-en", "to-en"]
    assert sets[1].labels["de-en"] == "de"
    assert sets[1].groups == {
        "de-en": "germanic", "nl-en": "germanic", "es-en": "romance", "pt-en": "romance", "uk-en": "other"
    }  # fmt: skip
    assert not notes
    sets, _ = adapter_sets(make_pool(tmp_path / "group", "group"))
    assert [one.name for one in sets] == ["from-en-and-to-en"]  # both sides share their adapters
    assert sets[0].directions["romance"] == (
        Direction("en", "es"), Direction("en", "pt"), Direction("es", "en"), Direction("pt", "en")
    )  # fmt: skip
    assert sets[0].labels == {"germanic": "germanic", "romance": "romance", "other": "uk"}
    sets, notes = adapter_sets(make_pool(tmp_path / "all", "multilingual"))
    assert not sets
    assert len(notes) == 2
    assert "fewer than two adapters" in notes[0]


def test_two_hubs_are_kept_apart(tmp_path: Path) -> None:
    layout = Layout(("en", "zh", "de", "nl"), ("en", "zh"), {"germanic": ("de", "nl")})
    sets, _ = adapter_sets(make_pool(tmp_path, "separate", layout))
    assert {one.name: sorted(one.directions) for one in sets} == {
        "from-en": ["en-de", "en-nl"],
        "from-zh": ["zh-de", "zh-nl"],
        "to-en": ["de-en", "nl-en"],
        "to-zh": ["de-zh", "nl-zh"],
    }


def test_chosen_adapters(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, "separate")
    found = measure_pool(pool, ["de-en", "en-de"])
    assert [one.adapters.labels for one in found.sets] == [{"en-de": "en-de", "de-en": "de-en"}]  # "de" would be both
    with pytest.raises(UserError, match=r"no adapter 'de-fr'.*Did you mean"):
        measure_pool(pool, ["de-fr"])


def test_an_adapter_with_nan_is_told_and_the_other_side_is_measured(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, "separate", adapters={"nl-en": changed(random_adapter(0), float("nan"))})
    found = measure_pool(pool)
    assert [one.adapters.name for one in found.sets] == ["from-en"]
    assert "'nl-en' holds NaN" in found.notes[0]
    assert geometry_section(found).notes == found.notes


def test_a_damaged_adapter_is_refused(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, "separate")
    (pool.adapter_folder("nl-en") / "adapter_model.safetensors").unlink()
    with pytest.raises(CorruptArtifactError):
        measure_pool(pool)


@pytest.fixture(scope="module")
def relatives() -> dict[str, LoraAdapter]:
    """To-hub adapters of which those of a group share a part."""
    own = {code: random_adapter(10 + k) for k, code in enumerate(LAYOUT.others)}
    shared = {group: random_adapter(20 + k) for k, group in enumerate(LAYOUT.groups)}
    adapters = {}
    for code, adapter in own.items():
        other = shared[LAYOUT.group_of(code)].factors
        factors = {
            path: (other[path][0] + 0.3 * a, other[path][1] + 0.3 * b) for path, (a, b) in adapter.factors.items()
        }
        adapters[f"{code}-en"] = LoraAdapter(adapter.settings, factors)
    return adapters


def test_the_section_shows_relatives(tmp_path: Path, relatives: dict[str, LoraAdapter]) -> None:
    section = geometry_section(measure_pool(make_pool(tmp_path, "separate", adapters=relatives)))
    items = {item.name: item for item in section.items}
    assert len(items) == len(section.items)
    tree = items["geometry-separate-to-en-tree"]
    assert isinstance(tree, TreeChart)
    assert tree.leaves == ("de", "es", "nl", "pt", "uk")
    assert {merge[:2] for merge in tree.merges[:2]} == {(0, 2), (1, 3)}  # de with nl, es with pt
    matrix = items["geometry-separate-to-en-cosine"]
    assert isinstance(matrix, MatrixChart)
    assert matrix.rows == matrix.columns
    assert {frozenset(matrix.rows[k : k + 2]) for k in range(4)} >= {frozenset({"de", "nl"}), frozenset({"es", "pt"})}
    place = {label: k for k, label in enumerate(matrix.rows)}
    assert matrix.values[place["de"]][place["nl"]] == pytest.approx(explicit_cosine(relatives, "de-en", "nl-en"))
    assert matrix.values[0][0] is None
    groups = items["geometry-separate-to-en-groups"]
    assert isinstance(groups, Table)
    assert [row[:2] for row in groups.rows] == [("all", 5), ("germanic", 2), ("romance", 2)]
    within, across = groups.rows[1][2:4]
    assert within == pytest.approx(explicit_cosine(relatives, "de-en", "nl-en"))
    others = [explicit_cosine(relatives, a, b) for a in ("de-en", "nl-en") for b in ("es-en", "pt-en", "uk-en")]
    assert across == pytest.approx(sum(others) / 6)


def test_curves_and_tables_of_the_section(tmp_path: Path, relatives: dict[str, LoraAdapter]) -> None:
    section = geometry_section(measure_pool(make_pool(tmp_path, "separate", adapters=relatives)))
    items = {item.name: item for item in section.items}
    curve = items["geometry-separate-to-en-cosine-by-layer"]
    assert isinstance(curve, LineChart)
    assert {series.name: [point.x for point in series.points] for series in curve.series} == {
        "of one group": [0, 1],
        "of different groups": [0, 1],
    }
    assert all(a.y > b.y for a, b in zip(*(series.points for series in curve.series), strict=True))
    adapters = items["geometry-separate-to-en-adapters"]
    assert isinstance(adapters, Table)
    uk = next(row for row in adapters.rows if row[0] == "uk")
    assert uk[1] == "other"
    assert uk[5] is None  # alone in its group: missing, not zero
    assert next(row for row in adapters.rows if row[0] == "de")[3] == "nl"
    kinds = items["geometry-separate-to-en-modules"]
    assert isinstance(kinds, Table)
    assert [row[:2] for row in kinds.rows] == [("all", 4), ("down_proj", 2), ("q_proj", 2)]


def test_zero_updates_are_told_and_have_no_place_in_the_tree(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, "separate", adapters={"nl-en": changed(random_adapter(0), 0.0)})
    section = geometry_section(measure_pool(pool))
    trees = {item.name: item for item in section.items if isinstance(item, TreeChart)}
    assert trees["geometry-separate-to-en-tree"].leaves == ("de", "es", "pt", "uk")
    assert "The updates of nl-en are zero" in section.notes[0]
    matrix = next(item for item in section.items if item.name == "geometry-separate-to-en-cosine")
    assert isinstance(matrix, MatrixChart)
    assert matrix.rows[-1] == "nl"
    assert set(matrix.values[-1]) == {None}


def test_features_are_of_directions_with_an_adapter_of_their_own(
    tmp_path: Path, relatives: dict[str, LoraAdapter]
) -> None:
    features = {
        f.name: f for f in geometry_features(measure_pool(make_pool(tmp_path, "direction-aware", adapters=relatives)))
    }
    cosine, group = features["cosine"].values, features["cosine-group"].values
    own = {Direction(code, "en") for code in LAYOUT.others}
    assert set(cosine) == own | {Direction("en", "uk")}  # uk is alone in its group, so that it has one from en too
    expected = [explicit_cosine(relatives, "de-en", other) for other in relatives if other != "de-en"]
    assert cosine[Direction("de", "en")] == pytest.approx(sum(expected) / 4)
    assert group[Direction("de", "en")] == pytest.approx(explicit_cosine(relatives, "de-en", "nl-en"))
    assert group[Direction("uk", "en")] is None
