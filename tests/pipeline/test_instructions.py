"""What the parts of a run share of their instructions: files are read no more often than they must be."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hexapla.common.artifacts import read_jsonl
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.data import instructions as module
from hexapla.data.examples import Example
from hexapla.languages import Direction
from hexapla.pipeline.instructions import InstructionStore, takes_instructions
from hexapla.plan import Job
from hexapla.recipe import Recipe
from tests.pipeline.world import run, write_recipe

EXAMPLES = [Example(f"row:{number} de-en", Direction("de", "en"), "Haus", "house") for number in range(8)]


def write_tasks(folder: Path, name: str, number: int) -> str:
    records = [{"instruction": f"Do {each}.", "output": "Done."} for each in range(number)]
    (folder / name).write_text(json.dumps(records), encoding="utf-8")
    return str(folder / name)


@pytest.fixture
def path(tmp_path: Path, qwen3_base: Path) -> Path:
    """A recipe of one model with twice as many translations as instructions of either file."""
    sources = [{"path": write_tasks(tmp_path, name, 20)} for name in ("a.json", "b.json")]

    def edit(document: dict[str, Any]) -> None:
        mix = {"unit": "rows", "weights": {"translation": 2, "a": 1, "b": 1}}
        document["data"]["instructions"] = {"sources": sources, "mix": mix}
        document["train"]["strategy"] = ["multilingual", "separate"]
        del document["merge"]

    return write_recipe(tmp_path, qwen3_base, edit)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was gone through."""
    found: Counter[str] = Counter()
    reading = module._read

    def counting(source: module.InstructionSource) -> Iterator[Any]:
        found[source.source] += 1
        return reading(source)

    monkeypatch.setattr(module, "_read", counting)
    return found


def mixed(store: InstructionStore, recipe: Recipe, examples: list[Example] = EXAMPLES) -> list[str]:
    kept, instructions = store.mixed_in(recipe, recipe.plan.jobs[0], examples, EventLog(None))
    assert list(kept) == examples
    return [each.id for each in instructions]


def test_a_file_is_surveyed_once_and_read_once_a_choice(path: Path, reads: Counter[str]) -> None:
    store, recipe = InstructionStore(), Recipe.load(path, [])
    spec = recipe.data.instructions
    assert spec is not None
    assert {name: len(found) for name, found in store.survey(spec).items()} == {"a": 20, "b": 20}
    assert reads == {"a": 1, "b": 1}
    first = mixed(store, recipe)
    assert Counter(name[0] for name in first) == {"a": 4, "b": 4}
    assert mixed(store, Recipe.load(path, ["train.optimizer.lr=1e-3"])) == first  # a variant
    assert reads == {"a": 2, "b": 2}
    assert mixed(store, Recipe.load(path, ["seed=5"])) != first
    assert len(mixed(store, recipe, EXAMPLES[:4])) == 4
    assert reads == {"a": 4, "b": 4}


def test_a_source_without_a_share_is_not_read_again(path: Path, reads: Counter[str]) -> None:
    names = mixed(InstructionStore(), Recipe.load(path, ["data.instructions.mix.weights.b=0"]))
    assert {name[0] for name in names} == {"a"}
    assert reads == {"a": 2, "b": 1}


def test_a_file_that_was_changed_is_surveyed_again(path: Path, tmp_path: Path, reads: Counter[str]) -> None:
    store, recipe = InstructionStore(), Recipe.load(path, [])
    mixed(store, recipe)
    write_tasks(tmp_path, "a.json", 21)
    assert len(mixed(store, recipe)) == 8
    assert reads == {"a": 4, "b": 3}
    status = (tmp_path / "b.json").stat()
    os.utime(tmp_path / "b.json", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    mixed(store, recipe)
    assert reads == {"a": 5, "b": 5}
    (tmp_path / "b.json").unlink()
    with pytest.raises(UserError, match=r"b\.json|does not exist"):
        mixed(store, recipe)


def test_only_the_job_of_all_directions_takes_them(path: Path, reads: Counter[str]) -> None:
    recipe = Recipe.load(path, [])
    taking = [job for job in recipe.plan.jobs if takes_instructions(recipe, job)]
    assert [set(job.directions) for job in taking] == [set(recipe.layout.directions)]
    one = Job("de-en", (Direction("de", "en"),))
    assert InstructionStore().mixed_in(recipe, one, EXAMPLES, EventLog(None)) == (EXAMPLES, ())
    assert not reads


def test_a_run_of_variants_surveys_once_and_mixes_once(path: Path, tmp_path: Path, reads: Counter[str]) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["train"]["strategy"] = "multilingual"
    document["evaluate"] = {"metrics": ["chrf"], "limit": 1, "baseline": False}
    document["variants"] = {"slow": {}, "fast": {"train.optimizer.lr": 1e-3}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    run(path, tmp_path / "out")
    assert reads == {"a": 2, "b": 2}
    mixes = [event for event in read_jsonl(tmp_path / "out" / "run.jsonl") if event["event"] == "instructions"]
    assert [event["instructions"] for event in mixes] == [48, 48]
