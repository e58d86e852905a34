"""What is known of a recipe before it runs: sizes and memory by hand, on a base that is bundled as a shape only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hexapla.pipeline.check import check_recipe
from hexapla.pipeline.costing import Costing, cost_recipe
from hexapla.recipe import Recipe
from tests.pipeline.world import write_recipe

GIB = 2**30


def _recipe(folder: Path, base: Path, **train: Any) -> Recipe:
    path = write_recipe(folder, base)
    return Recipe.load(path, [f"train.{key}={json.dumps(value)}" for key, value in train.items()])


def _line(costing: Costing, name: str) -> str:
    [line] = [line for line in costing.to_text().splitlines() if line.startswith(name + " ")]
    return " ".join(line.split()[1:])


def test_memory_is_base_and_activations_and_every_adapter(qwen3_base: Path, tmp_path: Path) -> None:
    costing = cost_recipe(_recipe(tmp_path, qwen3_base))
    memory = costing.to_record()["memory"]
    assert memory["adapters_at_once"] == len(costing.jobs) == 5
    assert memory["base_bytes"] == 4 * costing.num_base_parameters
    assert memory["adapter_bytes"] == 16 * costing.num_adapter_parameters
    total = memory["base_bytes"] + memory["activation_bytes"] + 5 * memory["adapter_bytes"]
    assert memory["total_bytes"] == total == costing.memory.total
    assert _line(costing, "memory").endswith(f"; all 5 at once {total / GIB:.2g} GiB (estimate)")


@pytest.mark.parametrize(
    ("train", "at_once", "words"),
    [
        ({"method": "peft"}, 1, "; 1 at once"),
        ({"bank": {"adapters_at_once": 2}}, 2, "; 2 at once"),
        ({"bank": {"adapters_at_once": 99}}, 5, "; all 5 at once"),
    ],
)
def test_adapters_at_once(train: dict[str, Any], at_once: int, words: str, qwen3_base: Path, tmp_path: Path) -> None:
    costing = cost_recipe(_recipe(tmp_path, qwen3_base, **train))
    assert costing.memory.num_adapters == at_once
    assert words in _line(costing, "memory")


def test_fp32_takes_twice_the_memory_for_the_base(qwen3_base: Path, tmp_path: Path) -> None:
    half, full = (cost_recipe(_recipe(tmp_path, qwen3_base, precision=name)) for name in ("auto", "fp32"))
    assert full.memory.base == 2 * half.memory.base
    assert full.memory.adapter == half.memory.adapter


def test_own_ranks_count_for_sizes_and_the_largest_for_memory(qwen3_base: Path, tmp_path: Path) -> None:
    plain = cost_recipe(_recipe(tmp_path, qwen3_base))
    one = plain.num_adapter_parameters
    own = {"de-en": {"rank": 8, "epochs": 2}}
    costing = cost_recipe(_recipe(tmp_path, qwen3_base, adapters=own))
    assert _line(plain, "to").startswith("train 5 adapters of 2.0 K parameters")
    assert _line(costing, "to").startswith("train 5 adapters of 2.0 K to 8.2 K parameters")
    sizes = {cost.job.name: cost.num_parameters for cost in costing.jobs}
    assert sizes["de-en"] == 4 * one
    assert sorted(sizes.values()) == [one] * 4 + [4 * one]
    assert costing.memory.adapter == 4 * plain.memory.adapter
    before, after = ({pool.name: pool.num_parameters for pool in made.pools} for made in (plain, costing))
    assert after["separate"] == before["separate"] + 3 * one
    # nl-en and de-en are merged at the larger of their ranks
    assert after["direction-aware+ties"] == before["direction-aware+ties"] + 3 * one
    assert after["direction-aware"] == before["direction-aware"] + 3 * one
    [first], [second] = ([cost for cost in made.jobs if cost.job.name == "de-en"] for made in (plain, costing))
    assert first.num_steps is not None
    assert second.num_steps == 2 * first.num_steps
    assert second.num_examples == first.num_examples
    assert first.flops is not None
    assert second.flops is not None
    assert second.flops > 2 * first.flops  # two epochs of more parameters


def test_disk_is_for_adapters_and_all_checkpoints(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is asked for to the byte: five trained adapters and one merged, and three checkpoints of five rows."""
    recipe = _recipe(tmp_path, qwen3_base)
    one = cost_recipe(recipe).num_adapter_parameters
    pools = {pool.name: pool.num_adapters for pool in cost_recipe(recipe).pools}
    num_merged = sum(number for name, number in pools.items() if "+" in name)
    bank = 5 * one * (16 + 4) * 3
    adapters = (5 + num_merged) * one * 4

    def verdict(changed: Recipe, free: int) -> str:
        usage = shutil._ntuple_diskusage(10 * GIB, 10 * GIB - free, free)
        monkeypatch.setattr("hexapla.pipeline.check.shutil.disk_usage", lambda _: usage)
        [found] = [finding for finding in check_recipe(changed, tmp_path / "out") if finding.subject == "disk"]
        return found.verdict

    assert verdict(recipe, adapters + bank + 1) == "ok"
    assert verdict(recipe, adapters + bank) == "fail"
    two = _recipe(tmp_path, qwen3_base, bank={"adapters_at_once": 2, "keep_checkpoints": 1})
    assert verdict(two, adapters + 2 * one * 20 * 2 + 1) == "ok"
    assert verdict(two, adapters + 2 * one * 20 * 2) == "fail"
    reference = _recipe(tmp_path, qwen3_base, method="peft")
    assert verdict(reference, adapters + one * 16 * 2 + 1) == "ok"
    assert verdict(reference, adapters + one * 16 * 2) == "fail"


def test_check_reads_the_training_corpora_whole_only_once(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hexapla.data.cleaning
    import hexapla.data.stage
    import hexapla.pipeline.check

    read: dict[str, int] = {}

    def counting(reader: Any, languages: tuple[str, ...], **settings: Any) -> Any:
        for item in hexapla.data.cleaning.rows_of(reader, languages, **settings):
            read[reader.corpus] = read.get(reader.corpus, 0) + 1
            yield item

    recipe = _recipe(tmp_path, qwen3_base)
    for module in (hexapla.data.stage, hexapla.pipeline.check):
        monkeypatch.setattr(module, "rows_of", counting)
    monkeypatch.setattr(hexapla.pipeline.check, "_SAMPLED_ROWS", 3)
    findings = list(check_recipe(recipe, tmp_path / "out"))
    assert all(finding.verdict != "fail" for finding in findings)
    assert read["train"] == 12 + 3
