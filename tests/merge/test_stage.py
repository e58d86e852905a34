"""Pool → pool on a tiny Qwen3: which adapters are merged, where directions go, what is carried, what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla import prompts
from hexapla.adapter import LoraAdapter, read_adapter, write_adapter
from hexapla.base import Base
from hexapla.common.artifacts import MANIFEST, read_json
from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.merge import stage
from hexapla.merge.merging import merge_experts
from hexapla.merge.sets import merge_sets
from hexapla.merge.spec import MergeSpec
from hexapla.merge.stage import merge_pool, merge_report, remove_leftovers
from hexapla.plan import Layout, make_plan
from hexapla.pool import Pool, describe_base, write_pool
from tests.tiny_models import random_adapter

GROUPS = {"germanic": ("de", "nl"), "romance": ("fr", "es"), "slavic": ("uk",)}
ONE_HUB = Layout(("en", "de", "nl", "fr", "es", "uk"), ("en",), GROUPS)
TWO_HUBS = Layout(("en", "zh", "de", "nl"), ("en", "zh"), {"germanic": ("de", "nl")})

MakePool = Callable[..., Pool]


@pytest.fixture(scope="module")
def make_pool(qwen3_base: Path, tmp_path_factory: pytest.TempPathFactory) -> MakePool:
    """Makes the pool of a strategy with random adapters; the same job has the same weights everywhere."""
    shapes = read_adapter(random_adapter(qwen3_base, "shapes", 4, 0, tmp_path_factory.mktemp("shapes")))

    def make(layout: Layout, strategy: str) -> Pool:
        folder = tmp_path_factory.mktemp(strategy)
        plan = make_plan(layout, [strategy])
        folders = {}
        for job in plan.jobs:
            generator = torch.Generator().manual_seed(sum(job.name.encode()))
            factors = {
                path: (torch.randn(a.shape, generator=generator) / 9, torch.randn(b.shape, generator=generator) / 9)
                for path, (a, b) in shapes.factors.items()
            }
            folders[job.name] = folder / "jobs" / job.name
            write_adapter(folders[job.name], LoraAdapter(shapes.settings, factors), card=job.name)
        template = prompts.get_template("alma")
        bare = describe_base(
            name=strategy, base=Base(str(qwen3_base)), tokenizer=None, template=template, layout=layout
        )
        description = dataclasses.replace(bare, routes=dict(plan.routes[strategy]), provenance={"made": "by a test"})
        return write_pool(folder / "pool", description, folders)

    return make


def routes(pool: Pool) -> dict[str, str | None]:
    return {str(direction): adapter for direction, adapter in pool.description.routes.items()}


def test_datm(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(ONE_HUB, "direction-aware")
    merged = merge_pool(pool, MergeSpec(), tmp_path / "datm", name="datm", seed=0)
    assert merged.description.name == "datm"
    assert routes(merged) == {
        "en-de": "en-germanic",
        "en-nl": "en-germanic",
        "en-fr": "en-romance",
        "en-es": "en-romance",
        "en-uk": "en-uk",
        "de-en": "germanic-en",
        "nl-en": "germanic-en",
        "fr-en": "romance-en",
        "es-en": "romance-en",
        "uk-en": "uk-en",
    }
    assert set(merged.adapters) == {"en-germanic", "en-romance", "en-uk", "germanic-en", "romance-en", "uk-en"}
    for name in ("en-germanic", "en-romance", "en-uk", "uk-en"):  # a group of one is carried with the same bytes
        assert merged.adapters[name] == pool.adapters[name]
    report = read_json(merged.folder / "merge-report.json")
    assert set(report) == {"germanic-en", "romance-en"}
    assert report["germanic-en"]["experts"] == {"de-en": 1.0, "nl-en": 1.0}
    assert len(report["germanic-en"]["modules"]) == 14
    totals = report["germanic-en"]["total"]
    assert 0.2 < totals["relative_error"] < 0.9
    assert 0 < totals["sign_conflict_share"] < 0.5
    assert 0.3 < totals["kept_mass"] < 0.7
    assert "germanic-en" in merge_report(merged)
    provenance = merged.description.provenance
    assert provenance["settings"]["dialect"] == "reference"
    assert provenance["from"] == {"name": "direction-aware", "digest": pool.digest}
    assert provenance["trained"] == {"made": "by a test"}
    assert provenance["merged"]["romance-en"]["total"] == report["romance-en"]["total"]
    card = (merged.adapter_folder("germanic-en") / "README.md").read_text(encoding="utf-8")
    for words in (
        "arxiv.org/abs/2306.01708",
        "dialect reference",
        "de-en",
        '"density": 0.2',
        "not used by this dialect",
    ):
        assert words in card
    assert list(tmp_path.iterdir()) == [tmp_path / "datm"]


def test_merged_pool_in_peft_adds_the_merged_update(make_pool: MakePool, qwen3_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    pool = make_pool(ONE_HUB, "direction-aware")
    merged = merge_pool(pool, MergeSpec(rank="full"), tmp_path / "datm", name="datm", seed=0)
    tokens = torch.arange(5, 40).view(1, -1)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(qwen3_base), merged.adapter_folder("germanic-en")
    )
    bare = AutoModelForCausalLM.from_pretrained(qwen3_base).eval()
    adapter = merged.read_adapter("germanic-en")
    with torch.no_grad():
        for path, (a, b) in adapter.factors.items():
            bare.get_submodule(path).weight += (b @ a) * adapter.settings.scale(path)
        expected = bare(input_ids=tokens).logits
        found = model.eval()(input_ids=tokens).logits
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_same_bytes_twice_and_after_an_interruption(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(ONE_HUB, "direction-aware")
    spec = MergeSpec(operator="dare-ties", density=0.5)
    first = merge_pool(pool, spec, tmp_path / "one" / "datm", name="datm", seed=3)
    merged_sets = []

    def interrupted(*args: Any, **options: Any) -> Any:
        merged_sets.append(args[0].names)
        if len(merged_sets) == 2:
            raise KeyboardInterrupt
        return merge_experts(*args, **options)

    monkeypatch.setattr(stage, "merge_experts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge_pool(pool, spec, tmp_path / "two" / "datm", name="datm", seed=3)
    assert not (tmp_path / "two" / "datm").exists()
    second = merge_pool(pool, spec, tmp_path / "two" / "datm", name="datm", seed=3)
    assert merged_sets == [("de-en", "nl-en"), ("es-en", "fr-en"), ("es-en", "fr-en")]
    assert second.digest == first.digest
    third = merge_pool(pool, spec, tmp_path / "three", name="datm", seed=4)
    assert third.adapters["germanic-en"].weights_digest != first.adapters["germanic-en"].weights_digest


def test_killed_when_the_pool_was_whole(make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(ONE_HUB, "direction-aware")

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_pool(pool, MergeSpec(), tmp_path / "datm", name="datm", seed=0)
    leftover = tmp_path / ".datm.merging"
    assert sorted(tmp_path.iterdir()) == [leftover, tmp_path / "datm"]
    remove_leftovers(tmp_path / "other")
    assert leftover.exists()
    remove_leftovers(tmp_path / "datm")
    assert list(tmp_path.iterdir()) == [tmp_path / "datm"]
    unfinished = tmp_path / ".next.merging"
    unfinished.mkdir()
    remove_leftovers(tmp_path / "next")  # not whole, so what is there will be used
    assert unfinished.exists()


@pytest.mark.parametrize("changed", ["density", "seed", "experts"])
def test_what_was_left_by_another_merge_is_not_used(
    changed: str, make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(ONE_HUB, "direction-aware")
    spec = MergeSpec(operator="dare", density=0.5)
    monkeypatch.setattr(stage, "write_pool", lambda *args, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        merge_pool(pool, spec, tmp_path / "datm", name="datm", seed=0)
    monkeypatch.undo()
    if changed == "density":
        spec = MergeSpec(operator="dare", density=0.9)
    if changed == "experts":  # the same names with other weights: those of nl-en also for de-en
        folders = {name: pool.adapter_folder("nl-en" if name == "de-en" else name) for name in pool.adapters}
        pool = write_pool(tmp_path / "other", pool.description, folders)
    seed = 1 if changed == "seed" else 0
    found = merge_pool(pool, spec, tmp_path / "datm", name="datm", seed=seed)
    fresh = merge_pool(pool, spec, tmp_path / "fresh", name="datm", seed=seed)
    assert found.adapters == fresh.adapters


@pytest.mark.parametrize(
    ("layout", "strategy", "settings", "expected"),
    [
        (ONE_HUB, "separate", {"scope": "to-hub"}, {"germanic-en": "de-en nl-en", "romance-en": "es-en fr-en"}),
        (ONE_HUB, "separate", {"scope": "from-hub"}, {"en-germanic": "en-de en-nl", "en-romance": "en-es en-fr"}),
        (
            ONE_HUB,
            "separate",
            {"scope": "all", "by": "all"},
            {
                "en-germanic+romance+slavic": "en-de en-es en-fr en-nl en-uk",
                "germanic+romance+slavic-en": "de-en es-en fr-en nl-en uk-en",
            },
        ),
        (
            ONE_HUB,
            "direction-aware",
            {"scope": "from-hub", "by": "all"},
            {"en-germanic+romance+slavic": "en-germanic en-romance en-uk"},
        ),
        (TWO_HUBS, "direction-aware", {}, {"germanic-en": "de-en nl-en", "germanic-zh": "de-zh nl-zh"}),
        (TWO_HUBS, "separate", {"by": "all"}, {"germanic-en": "de-en nl-en", "germanic-zh": "de-zh nl-zh"}),
        # one adapter a group serves both sides; merged once, for both
        (ONE_HUB, "group", {"scope": "all", "by": "all"}, {"all": "germanic romance slavic"}),
    ],
)
def test_merge_sets(
    layout: Layout, strategy: str, settings: dict[str, Any], expected: dict[str, str], make_pool: MakePool
) -> None:
    pool = make_pool(layout, strategy)
    found = merge_sets(pool.description.layout, pool.description.routes, MergeSpec.model_validate(settings), pool="p")
    assert {merge_set.name: " ".join(merge_set.experts) for merge_set in found} == expected


def test_an_adapter_that_serves_other_directions_stays(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(ONE_HUB, "group")
    merged = merge_pool(pool, MergeSpec(by="all"), tmp_path / "merged", name="merged", seed=0)
    name = "germanic+romance+slavic-en"
    assert set(merged.adapters) == {"germanic", "romance", "slavic", name}
    assert merged.route(Direction("de", "en")) == name
    assert merged.route(Direction("en", "de")) == "germanic"
    assert merged.adapters["germanic"] == pool.adapters["germanic"]


def test_hub_to_hub_is_left_alone(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(TWO_HUBS, "separate")
    merged = merge_pool(pool, MergeSpec(scope="all"), tmp_path / "merged", name="merged", seed=0)
    assert merged.route(Direction("en", "zh")) == "en-zh"
    assert set(merged.adapters) == {"germanic-en", "germanic-zh", "en-germanic", "zh-germanic", "en-zh", "zh-en"}


def test_weights_by_name(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(ONE_HUB, "direction-aware")
    spec = MergeSpec(operator="linear", weights={"de-en": 3}, rank=8)
    merged = merge_pool(pool, spec, tmp_path / "merged", name="merged", seed=0)
    found = read_adapter(merged.adapter_folder("germanic-en"))
    path = "model.layers.0.mlp.down_proj"
    de, nl = (read_adapter(pool.adapter_folder(name)) for name in ("de-en", "nl-en"))
    products = [b @ a for a, b in (adapter.factors[path] for adapter in (found, de, nl))]
    torch.testing.assert_close(products[0], 2 * (0.75 * products[1] + 0.25 * products[2]), rtol=1e-4, atol=1e-5)
    assert "normalized to sum 1" in (merged.adapter_folder("germanic-en") / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("strategy", "settings", "words"),
    [
        ("multilingual", {}, "share one adapter already"),
        ("multilingual", {"by": "all"}, "share one adapter already"),
        ("direction-aware", {"scope": "from-hub"}, "merge across groups with by: all"),
        ("direction-aware", {"operator": "linear", "weights": {"de-em": 2}}, "Did you mean 'de-en'"),
        ("direction-aware", {"operator": "linear", "weights": {"de-en": -1}}, "sum to zero"),
    ],
)
def test_nothing_to_merge_or_wrong_weights(
    strategy: str, settings: dict[str, Any], words: str, make_pool: MakePool, tmp_path: Path
) -> None:
    pool = make_pool(ONE_HUB, strategy)
    with pytest.raises(UserError, match=words):
        merge_pool(pool, MergeSpec.model_validate(settings), tmp_path / "merged", name="merged", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_bare_base_has_nothing_to_merge(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(ONE_HUB, "separate")
    bare = dataclasses.replace(pool.description, routes=dict.fromkeys(ONE_HUB.directions))
    with pytest.raises(UserError, match="no adapters on the side to-hub"):
        merge_sets(bare.layout, bare.routes, MergeSpec(), pool=bare.name)


def test_not_into_its_own_folder(make_pool: MakePool) -> None:
    pool = make_pool(ONE_HUB, "direction-aware")
    with pytest.raises(UserError, match="own folder"):
        merge_pool(pool, MergeSpec(), pool.folder, name="x", seed=0)
    assert (pool.folder / MANIFEST).is_file()
