"""Merging adapters of a tiny Qwen3: against peft's own program, against closed forms, and what must not matter."""

from __future__ import annotations

import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.adapter import LoraAdapter, LoraSettings, read_adapter, write_adapter
from hexapla.common.errors import UserError
from hexapla.merge import experts as experts_module
from hexapla.merge import lowrank, merging
from hexapla.merge.experts import Experts
from hexapla.merge.factorwise import merge_one_factor
from hexapla.merge.lowrank import truncate, truncate_product
from hexapla.merge.merging import merge_experts, merged_update
from hexapla.merge.operators.ties import num_kept
from hexapla.merge.report import table
from hexapla.merge.spec import MergeSpec
from tests.tiny_models import random_adapter

RANK = 4
NAMES = ("a", "b", "c")
WEIGHTS = (0.6, -0.3, 1.7)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"lora_alpha": RANK},
    "alpha is not r": {"lora_alpha": 3 * RANK},
    "rslora": {"lora_alpha": 2 * RANK, "use_rslora": True},
    "rank_pattern": {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 5, "down_proj": 7}},
}


@pytest.fixture(scope="module", params=list(VARIANTS))
def folders(
    request: pytest.FixtureRequest, qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Three adapters of one variant of LoRA."""
    folder = tmp_path_factory.mktemp("adapters")
    variant = VARIANTS[request.param]
    return {name: random_adapter(qwen3_base, name, RANK, seed, folder, **variant) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def plain(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three adapters with alpha = 2 r."""
    folder = tmp_path_factory.mktemp("plain")
    return {name: random_adapter(qwen3_base, name, RANK, seed, folder) for seed, name in enumerate(NAMES)}


def merge(folders: dict[str, Path], spec: MergeSpec, weights: tuple[float, ...] | None = None, seed: int = 0) -> Any:
    weights_K = torch.tensor(weights if weights is not None else (1.0,) * len(folders))
    return merge_experts(Experts(folders), spec, weights_K, seed=seed)


def update(adapter: LoraAdapter, path: str) -> torch.Tensor:
    a, b = adapter.factors[path]
    return (b.double() @ a.double()) * adapter.settings.scale(path)


def peft_model(base: Path, folders: dict[str, Path]) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    first, *others = sorted(folders)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folders[first], adapter_name=first)
    for name in others:
        model.load_adapter(folders[name], adapter_name=name)
    return model


def peft_factors(model: Any, name: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {
        path.removeprefix("base_model.model."): (module.lora_A[name].weight, module.lora_B[name].weight)
        for path, module in model.named_modules()
        if hasattr(module, "lora_A") and name in module.lora_A
    }


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("linear", {}),
        ("ties", {"majority_sign_method": "total"}),
        ("ties", {"majority_sign_method": "frequency"}),
    ],
)
def test_factors_equal_peft(operator: str, options: dict[str, str], folders: dict[str, Path], qwen3_base: Path) -> None:
    model = peft_model(qwen3_base, folders)
    density = None if operator == "linear" else 0.4
    model.add_weighted_adapter(list(NAMES), list(WEIGHTS), "merged", operator, density=density, **options)
    settings: dict[str, Any] = {"operator": operator, "space": "factors", "density": density, "normalize": False}
    if options:
        settings["ties"] = {"majority_sign": options["majority_sign_method"]}
    adapter, report = merge(folders, MergeSpec.model_validate(settings), WEIGHTS)
    theirs = peft_factors(model, "merged")
    assert set(theirs) == set(adapter.factors)
    for path, (a, b) in adapter.factors.items():
        rank = len(a)  # where a module's rank is below the largest, peft fills up with zeros
        torch.testing.assert_close(a, theirs[path][0][:rank], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(b, theirs[path][1][:, :rank], rtol=1e-6, atol=1e-7)
        assert not theirs[path][0][rank:].any()
    assert report.total.relative_error is not None
    assert report.total.relative_error > 0.3  # the cross terms: what the caveat in the docs says


@pytest.mark.parametrize(("operator", "peft_name"), [("dare", "dare_linear"), ("dare-ties", "dare_ties")])
@pytest.mark.parametrize("method", ["total", "frequency"])
def test_dare_factors_equal_peft_given_its_masks(
    operator: str,
    peft_name: str,
    method: str,
    plain: dict[str, Path],
    qwen3_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = peft_model(qwen3_base, plain)
    masks: list[torch.Tensor] = []
    bernoulli = torch.bernoulli

    def recorded(probabilities: torch.Tensor) -> torch.Tensor:
        masks.append(bernoulli(probabilities))
        return masks[-1]

    monkeypatch.setattr(torch, "bernoulli", recorded)
    model.add_weighted_adapter(
        list(NAMES), list(WEIGHTS), "merged", peft_name, density=0.6, majority_sign_method=method
    )
    settings: dict[str, Any] = {"operator": operator, "space": "factors", "density": 0.6}
    if operator == "dare-ties":
        settings["ties"] = {"majority_sign": method}
    spec = MergeSpec.model_validate(settings)
    adapters = {name: read_adapter(folder) for name, folder in plain.items()}
    theirs = peft_factors(model, "merged")
    assert len(masks) == 2 * len(theirs) * len(NAMES)  # A then B, module by module
    for path in theirs:
        scaled = [weight * adapters[name].settings.scale(path) for name, weight in zip(NAMES, WEIGHTS, strict=True)]
        for side in (0, 1):
            tensors = torch.stack([adapters[name].factors[path][side] for name in NAMES])
            mask = torch.stack([masks.pop(0) for _ in NAMES])
            roots = [math.sqrt(abs(s)) * (math.copysign(1, s) if side == 0 else 1) for s in scaled]
            ours = merge_one_factor(tensors, torch.tensor(roots), spec, mask)
            torch.testing.assert_close(ours, theirs[path][side], rtol=1e-6, atol=1e-7)


def slow_ties_factor(tensors: list[torch.Tensor], roots: list[float], density: float) -> torch.Tensor:
    """peft's TIES of one factor in float64, entry by entry."""
    flat = [tensor.double().flatten().tolist() for tensor in tensors]
    count = num_kept(len(flat[0]), density, "floor")
    merged = []
    thresholds = [sorted(map(abs, vector), reverse=True)[count - 1] for vector in flat]
    for column in zip(*flat, strict=True):
        kept = [v if abs(v) >= threshold else 0.0 for v, threshold in zip(column, thresholds, strict=True)]
        sign = 1 if math.fsum(kept) >= 0 else -1
        agreeing = [v * root for v, root in zip(kept, roots, strict=True) if v * sign > 0]
        merged.append(math.fsum(agreeing) / max(1, len(agreeing)))
    return torch.tensor(merged, dtype=torch.float64).view_as(tensors[0])


def test_factors_equal_the_written_out_closed_form(folders: dict[str, Path]) -> None:
    adapters = {name: read_adapter(folder) for name, folder in folders.items()}
    adapter, _ = merge(folders, MergeSpec(space="factors", density=0.3), WEIGHTS)
    for path, merged in adapter.factors.items():
        scaled = [weight * adapters[name].settings.scale(path) for name, weight in zip(NAMES, WEIGHTS, strict=True)]
        for side in (0, 1):
            roots = [math.sqrt(abs(s)) * (math.copysign(1, s) if side == 0 else 1) for s in scaled]
            expected = slow_ties_factor([adapters[name].factors[path][side] for name in NAMES], roots, 0.3)
            torch.testing.assert_close(merged[side].double(), expected, rtol=1e-5, atol=1e-8)
        assert adapter.settings.scale(path) == 1


def test_linear_delta_is_exact(folders: dict[str, Path]) -> None:
    adapters = {name: read_adapter(folder) for name, folder in folders.items()}
    spec = MergeSpec(operator="linear", normalize=False, scale=0.5, rank=3 * RANK)
    adapter, report = merge(folders, spec, WEIGHTS)
    for path in adapter.factors:
        expected = 0.5 * sum(w * update(adapters[name], path) for name, w in zip(NAMES, WEIGHTS, strict=True))
        torch.testing.assert_close(update(adapter, path), expected, rtol=1e-4, atol=1e-6)
    assert report.total.relative_error is not None
    assert report.total.relative_error < 1e-6
    assert report.total.kept_mass == 1


@pytest.mark.parametrize("dialect", ["reference", "peft", "mergekit"])
def test_full_rank_delta_is_the_exact_operator(dialect: Any, folders: dict[str, Path]) -> None:
    """Flattened, in float64, with sorting instead of streamed selection."""
    spec = MergeSpec(dialect=dialect, density=0.3, scale=1.5, rank="full")
    adapters = [read_adapter(folders[name]) for name in NAMES]
    weights = WEIGHTS if dialect != "reference" else (1.0, 1.0, 1.0)
    adapter, report = merge(folders, spec, weights)
    deltas = {path: torch.stack([update(expert, path) for expert in adapters]) for path in adapter.factors}
    kept = spec.choices.kept or ""
    whole = torch.cat([delta.flatten(1) for delta in deltas.values()], dim=1).abs().sort(dim=1, descending=True).values
    weights_K = torch.tensor(weights, dtype=torch.float64).view(-1, 1, 1)
    for path, delta in deltas.items():
        values = whole if dialect == "reference" else delta.flatten(1).abs().sort(dim=1, descending=True).values
        count = num_kept(values.shape[1], 0.3, kept)
        middle = values[:, count - 1 : count + 1].mean(dim=1)  # between the last kept and the first trimmed
        trimmed = torch.where(delta.abs() > middle.view(-1, 1, 1), delta, 0.0)
        ballots = trimmed * weights_K if dialect == "mergekit" else trimmed
        sign = torch.where(ballots.sum(dim=0) >= 0, 1, -1)
        agrees = (ballots.sign() == sign) & (trimmed != 0)
        divisor = agrees.sum(dim=0).double() if dialect != "mergekit" else (weights_K * agrees).sum(dim=0)
        expected = 1.5 * (trimmed * weights_K * agrees).sum(dim=0) / torch.where(divisor == 0, 1, divisor)
        torch.testing.assert_close(update(adapter, path), expected, rtol=1e-4, atol=3e-6)
    assert report.total.relative_error is not None
    assert report.total.relative_error < 1e-6


def test_low_rank_is_the_best_and_its_error_is_reported(plain: dict[str, Path]) -> None:
    spec = MergeSpec(density=0.2)
    adapter, report = merge(plain, spec)
    assert adapter.settings.rank == RANK
    assert set(report.modules) == set(adapter.factors)
    squared_error = squared_norm = 0.0
    experts = Experts(plain)
    for path in adapter.factors:
        exact = merged_update(experts, spec, torch.ones(3), path, seed=0)
        singular = torch.linalg.svdvals(exact.double())
        expected = math.sqrt(float(singular[RANK:].square().sum() / singular.square().sum()))
        assert report.modules[path].relative_error == pytest.approx(expected, rel=1e-5)
        squared_error += float((exact.double() - update(adapter, path)).square().sum())
        squared_norm += float(exact.double().square().sum())
    assert report.total.relative_error == pytest.approx(math.sqrt(squared_error / squared_norm), rel=1e-5)
    assert "merged" in table({"merged": report.record()})


def test_rotated_factors_change_nothing_in_delta_but_do_in_factors(plain: dict[str, Path], tmp_path: Path) -> None:
    rotated = {}
    for seed, (name, folder) in enumerate(plain.items()):
        adapter = read_adapter(folder)
        q, _ = torch.linalg.qr(
            torch.randn(RANK, RANK, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        )
        factors = {
            path: ((q @ a.double()).float(), (b.double() @ q.T).float()) for path, (a, b) in adapter.factors.items()
        }
        write_adapter(tmp_path / name, LoraAdapter(adapter.settings, factors), card="")
        rotated[name] = tmp_path / name
    for space, same in (("delta", True), ("factors", False)):
        spec = MergeSpec(space=space, dialect="peft", rank="full" if same else None)
        left, right = merge(plain, spec)[0], merge(rotated, spec)[0]
        distance = sum(float((update(left, path) - update(right, path)).square().sum()) for path in left.factors)
        norm = sum(float(update(left, path).square().sum()) for path in left.factors)
        share = math.sqrt(distance / norm)
        # rounding can carry an entry over a threshold or turn an election; a handful of 30,000 entries
        assert share < 0.02 if same else share > 0.5


def test_one_adapter_at_density_one_is_itself(plain: dict[str, Path]) -> None:
    one = {"a": plain["a"]}
    expected = read_adapter(plain["a"])
    for spec in (MergeSpec(density=1), MergeSpec(operator="linear"), MergeSpec(operator="dare", density=1)):
        adapter, report = merge(one, spec)
        for path in adapter.factors:
            torch.testing.assert_close(update(adapter, path), update(expected, path), rtol=1e-4, atol=1e-6)
        assert report.total.kept_mass == 1
        assert report.total.num_conflicts == 0


def test_conflicts_and_kept_mass(plain: dict[str, Path]) -> None:
    adapters = [read_adapter(plain[name]) for name in NAMES]
    path = "model.layers.1.mlp.up_proj"
    deltas = torch.stack([update(adapter, path).float() for adapter in adapters])
    spec = MergeSpec(dialect="peft", density=0.3)
    _, report = merge(plain, spec)
    flat = deltas.abs().flatten(1)
    thresholds = flat.sort(dim=1, descending=True).values[:, num_kept(flat.shape[1], 0.3, "floor") - 1]
    kept = deltas * (deltas.abs() >= thresholds.view(-1, 1, 1) * (1 - 1e-6))
    both = ((kept > 0).any(dim=0) & (kept < 0).any(dim=0)).sum()
    measures = report.modules[path]
    assert measures.num_conflicts == int(both)
    assert measures.num_voted == int((kept != 0).any(dim=0).sum())
    assert measures.kept_mass == pytest.approx(float(kept.abs().sum() / deltas.abs().sum()), rel=1e-5)


def test_draws_of_the_reference_take_the_majority_of_all_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rank-1 adapters: a small module where they cancel, a large one where both are negative."""
    settings = LoraSettings(1, 1, ("x", "y"), "base")
    ones = torch.ones(1, 3)
    column = torch.ones(2, 1)
    for name, sign in (("a", 1.0), ("b", -1.0)):
        factors = {"m.x": (ones, sign * column), "m.y": (torch.ones(1, 5), torch.full((4, 1), -2.0))}
        write_adapter(tmp_path / name, LoraAdapter(settings, factors), card="")
    folders = {name: tmp_path / name for name in ("a", "b")}
    adapter, _ = merge(folders, MergeSpec(density=1))
    torch.testing.assert_close(update(adapter, "m.x"), torch.full((2, 3), -1.0, dtype=torch.float64))
    torch.testing.assert_close(update(adapter, "m.y"), torch.full((4, 5), -2.0, dtype=torch.float64))
    plus, _ = merge(folders, MergeSpec(density=1, dialect="peft"))
    torch.testing.assert_close(update(plus, "m.x"), torch.full((2, 3), 1.0, dtype=torch.float64))
    exact = merged_update(Experts(folders), MergeSpec(density=1), torch.ones(2), "m.x", seed=0)
    assert torch.equal(exact, torch.full((2, 3), -1.0))
    monkeypatch.setattr(experts_module, "_TILE_ENTRIES", 2)  # draws come up between elections
    tiled, report = merge(folders, MergeSpec(density=1))
    for path, (a, b) in adapter.factors.items():
        assert torch.equal(tiled.factors[path][0], a)
        assert torch.equal(tiled.factors[path][1], b)
    assert report.modules["m.x"].num_conflicts == report.modules["m.x"].num_voted == 6
    assert report.modules["m.y"].num_conflicts == 0


def test_dare_depends_on_seed_and_adapter_only(plain: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MergeSpec(operator="dare", density=0.5, rank="full", normalize=False)
    first, again, other = (merge(plain, spec, seed=seed)[0] for seed in (1, 1, 2))
    path = "model.layers.0.self_attn.q_proj"
    assert torch.equal(update(first, path), update(again, path))
    assert not torch.allclose(update(first, path), update(other, path))
    alone = sum(update(merge({name: folder}, spec, seed=1)[0], path) for name, folder in plain.items())
    torch.testing.assert_close(alone, update(first, path), rtol=1e-4, atol=1e-5)


def test_tiles_do_not_change_the_result(plain: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MergeSpec(density=0.2, rank="full")
    whole, _ = merge(plain, spec)
    largest_seen = []
    original = Experts.tiles

    def watched(self: Experts, path: str) -> Any:
        for tile, values in original(self, path):
            largest_seen.append(values.numel())
            yield tile, values

    monkeypatch.setattr(experts_module, "_TILE_ENTRIES", 100)
    monkeypatch.setattr(experts_module, "_TILE_COLUMNS", 24)
    monkeypatch.setattr(Experts, "tiles", watched)
    streamed, _ = merge(plain, spec)
    assert max(largest_seen) <= 3 * 100
    for path in whole.factors:
        torch.testing.assert_close(update(streamed, path), update(whole, path), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [(100, 24), (37, 1024), (1 << 16, 1 << 10), (64, 7)])
def test_tiles_cover_every_entry_once(
    sizes: tuple[int, int], plain: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experts_module, "_TILE_ENTRIES", sizes[0])
    monkeypatch.setattr(experts_module, "_TILE_COLUMNS", sizes[1])
    adapters = [read_adapter(plain[name]) for name in NAMES]
    experts = Experts(plain)
    for path, shape in experts.shapes.items():
        found = torch.full((3, shape.d_out, shape.d_in), math.nan)
        for (rows, columns), values in experts.tiles(path):
            assert found[:, rows, columns].isnan().all()
            found[:, rows, columns] = values
        expected = torch.stack([update(adapter, path) for adapter in adapters])
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        sample = experts.sample(path, 500).double()
        distances = (sample[:, :, None] - expected.flatten(1)[:, None, :]).abs().amin(dim=2)
        assert float(distances.max()) < 1e-6
        flat = expected.flatten(1)
        assert float((sample.std(dim=1) / flat.std(dim=1) - 1).abs().max()) < 0.3


@pytest.mark.parametrize("dialect", ["reference", "peft"])
def test_a_sample_does_not_change_the_result(
    dialect: Any, plain: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    without, _ = merge(plain, MergeSpec(dialect=dialect))
    monkeypatch.setattr(merging, "_MIN_ENTRIES_TO_SAMPLE", 1)
    monkeypatch.setattr(merging, "_MIN_SAMPLED", 300)
    samples = []
    original = Experts.sample

    def watched(self: Experts, path: str, num_entries: int) -> torch.Tensor:
        samples.append(num_entries)
        return original(self, path, num_entries)

    monkeypatch.setattr(Experts, "sample", watched)
    sampled, _ = merge(plain, MergeSpec(dialect=dialect))
    assert len(samples) == 14
    assert sum(samples) == 14 * 300 if dialect == "peft" else 280 < sum(samples) <= 300
    for path, (a, b) in without.factors.items():
        assert torch.equal(a, sampled.factors[path][0])
        assert torch.equal(b, sampled.factors[path][1])


@pytest.mark.parametrize("space", ["delta", "factors"])
def test_one_module_is_held_at_a_time(space: Any, plain: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """When a module's update is computed, those of the modules before are gone."""
    updates: list[weakref.ref[torch.Tensor]] = []
    original = merging._ModuleMerge.update

    def watched(self: Any, path: str, *, majority: int) -> Any:
        assert not [update for update in updates if update() is not None]
        merged = original(self, path, majority=majority)
        updates.append(weakref.ref(merged.full))
        return merged

    monkeypatch.setattr(merging._ModuleMerge, "update", watched)
    merge(plain, MergeSpec(space=space))
    assert len(updates) == 14


def test_merged_adapter_in_peft_equals_base_plus_update(
    plain: dict[str, Path], qwen3_base: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    spec = MergeSpec(density=0.2, rank="full")
    adapter, _ = merge(plain, spec)
    write_adapter(tmp_path / "merged", adapter, card="# merged")
    tokens = torch.arange(3, 40).view(1, -1)
    model = AutoModelForCausalLM.from_pretrained(qwen3_base).eval()
    bare = AutoModelForCausalLM.from_pretrained(qwen3_base).eval()
    experts = Experts(plain)
    with torch.no_grad():
        for path in adapter.factors:
            bare.get_submodule(path).weight += merged_update(experts, spec, torch.ones(3), path, seed=0)
        theirs = PeftModel.from_pretrained(model, tmp_path / "merged").eval()(input_ids=tokens).logits
        expected = bare(input_ids=tokens).logits
    assert float((theirs - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (32, 32), (24, 2100)])
def test_truncate_equals_a_full_decomposition(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    for rank in (1, 5, 24):
        a, b = truncate(matrix, rank)
        torch.testing.assert_close(b @ a, (u[:, :rank] * s[:rank]) @ vh[:rank], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(a.norm(dim=1), b.norm(dim=0))  # balanced
        assert torch.equal(truncate(matrix, rank)[0], a)
    a, b = truncate(matrix, 50)
    assert a.shape == (50, shape[1])
    torch.testing.assert_close(b @ a, matrix.double(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(400, 700), (700, 400)])
@pytest.mark.parametrize("decay", [1.0, 0.8])
def test_iteration_finds_the_best_rank(shape: tuple[int, int], decay: float) -> None:
    generator = torch.Generator().manual_seed(1)
    scales = decay ** torch.arange(8.0)
    matrix = (torch.randn(shape[0], 8, generator=generator) * scales) @ torch.randn(8, shape[1], generator=generator)
    matrix = 1e-4 * (matrix + 0.5 * torch.randn(shape, generator=generator))
    wide = matrix if shape[0] < shape[1] else matrix.T
    assert lowrank._leading_by_iteration(wide, 8) is not None
    a, b = truncate(matrix, 8)
    found = float((matrix.double() - b @ a).norm())
    best = float(torch.linalg.svdvals(matrix.double())[8:].norm())
    assert found / best - 1 < 1e-7
    assert (
        lowrank._leading_by_iteration(torch.randn(400, 400, generator=generator), 80) is None
    )  # then decomposed directly


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e20])
def test_truncate_of_wide_extremes(size: float) -> None:
    left, right = torch.randn(390, 1), torch.randn(1, 400)
    matrix = size * (left @ right)
    a, b = truncate(matrix, 2)
    assert torch.isfinite(a).all()
    assert float((b @ a - matrix.double()).norm()) <= 1e-6 * float(matrix.double().norm())


def test_truncate_handles_zero_and_low_rank() -> None:
    a, b = truncate(torch.zeros(6, 4), 2)
    assert torch.equal(b @ a, torch.zeros(6, 4, dtype=torch.float64))
    rank_one = torch.outer(torch.arange(1.0, 7), torch.arange(1.0, 5))
    a, b = truncate(rank_one, 3)
    torch.testing.assert_close(b @ a, rank_one.double(), rtol=1e-6, atol=1e-6)
    left, right = torch.randn(6, 2), torch.randn(2, 4)
    a, b = truncate_product(left, right, 3)
    assert a.shape == (3, 4)
    torch.testing.assert_close(b @ a, left.double() @ right.double())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("base", "different bases"),
        ("targets", r"only in 'a'"),
        ("shape", "is 64×32 in one and 64×30 in the other"),
        ("nan", "holds NaN or infinity in model.layers.0.mlp.up_proj"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: str, words: str, plain: dict[str, Path], tmp_path: Path) -> None:
    adapter = read_adapter(plain["b"])
    settings, factors = adapter.settings, dict(adapter.factors)
    path = "model.layers.0.mlp.up_proj"
    a, b = factors[path]
    if change == "base":
        settings = LoraSettings(settings.rank, settings.alpha, settings.target_modules, "another")
    elif change == "targets":
        del factors[path]
    elif change == "shape":
        factors[path] = (a[:, :30], b)
    else:
        a = a.clone()
        a[1, 2] = float("nan")
        factors[path] = (a, b)
    write_adapter(tmp_path / "odd", LoraAdapter(settings, factors), card="")
    with pytest.raises(UserError, match=words) as caught:
        Experts({"a": plain["a"], "odd": tmp_path / "odd"})
    assert "odd" in str(caught.value)


def test_different_ranks_merge_in_delta_only(plain: dict[str, Path], qwen3_base: Path, tmp_path: Path) -> None:
    folders = {"a": plain["a"], "wide": random_adapter(qwen3_base, "wide", 6, 9, tmp_path)}
    adapter, _ = merge(folders, MergeSpec())
    assert adapter.settings.rank == 6
    with pytest.raises(UserError, match="ranks differ"):
        merge(folders, MergeSpec(space="factors"))


def test_dora_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    folder = random_adapter(qwen3_base, "dora", 4, 0, tmp_path, use_dora=True)
    with pytest.raises(UserError, match="DoRA"):
        Experts({"a": folder})
