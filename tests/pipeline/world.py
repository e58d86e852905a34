"""A small whole run for the tests of the command line and the pipeline: three languages, a random base, two corpora.

Sentences are made of words and numbers, different in training and test; the base is that of `tests/tiny_models.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hexapla.cli.main import main

WORDS = {
    "en": ("The red house has {} doors.", "We see {} birds today."),
    "de": ("Das rote Haus hat {} Türen.", "Wir sehen heute {} Vögel."),
    "nl": ("Het rode huis heeft {} deuren.", "Wij zien vandaag {} vogels."),
    "fr": ("La maison rouge a {} portes.", "Nous voyons {} oiseaux aujourd'hui."),
}
NUM_TRAIN, NUM_TEST = 12, 4
Edit = Callable[[dict[str, Any]], object]


def sentences(code: str, numbers: range) -> list[str]:
    """One sentence a number; equal numbers correspond across languages."""
    return [WORDS[code][number % 2].format(number) for number in numbers]


def write_lines(path: Path, lines: list[str]) -> None:
    """UTF-8, LF."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_corpora(folder: Path) -> None:
    """`train.XX` side by side (Moses) and `test.tsv`, in every language of `WORDS`."""
    for code in WORDS:
        write_lines(folder / f"train.{code}", sentences(code, range(100, 100 + NUM_TRAIN)))
    columns = [sentences(code, range(200, 200 + NUM_TEST)) for code in WORDS]
    write_lines(folder / "test.tsv", ["\t".join(WORDS), *("\t".join(row) for row in zip(*columns, strict=True))])


def recipe_document(folder: Path, base: Path) -> dict[str, Any]:
    """A recipe on the corpora in `folder` that runs in a few seconds: DAT, separate experts, and their merges."""
    return {
        "name": "small",
        "base": str(base),
        "languages": ["en", "de", "nl"],
        "groups": {"west": ["de", "nl"]},
        "data": {
            "train": [{"reader": "moses", "path": str(folder / "train")}],
            "test": [{"reader": "tsv", "path": str(folder / "test.tsv")}],
        },
        "train": {
            "strategy": ["direction-aware", "separate"],
            "lora": {"rank": 2},
            "batch": 4,
            "precision": "fp32",
        },
        "merge": {"operator": "ties"},
        "translate": {"beams": 1, "max_length_ratio": 0.1, "max_extra_tokens": 6, "precision": "fp32"},
    }


def write_recipe(folder: Path, base: Path, edit: Edit | None = None, name: str = "recipe.yaml") -> Path:
    """Write corpora and recipe into `folder`; `edit` changes the document first. Returns the recipe's file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_corpora(folder)
    document = recipe_document(folder, base)
    if edit is not None:
        edit(document)
    path = folder / name
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative path → content of every file below `folder`; links are not followed."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def results(out: Path) -> dict[str, bytes]:
    """Adapters, pools, scores and hypotheses of a run by readable names; no manifests."""
    return {
        f"{kind}/{folder.name}/{name}": content
        for kind in ("pools", "scores")
        for folder in sorted((out / kind).iterdir())
        for name, content in files_of(folder).items()
        if name != "artifact.json"
    }


def run(recipe: Path, out: Path, *more: str) -> None:
    """`hexapla run`, which must succeed."""
    assert main(["run", str(recipe), "--out", str(out), *more]) == 0


@dataclass(frozen=True)
class Finished:
    """A run that went through: its recipe's file, its folder, and the base."""

    recipe: Path
    out: Path
    base: Path

    def copied(self, out: Path) -> Finished:
        """The same in another folder, for a test that changes something."""
        shutil.copytree(self.out, out, symlinks=True)
        return Finished(self.recipe, out, self.base)

    def pool(self, name: str) -> Path:
        """The folder of a pool."""
        return self.out / "pools" / name

    def artifacts(self) -> dict[str, bytes]:
        """Every file of every finished stage."""
        return files_of(self.out / "artifacts")


_finished: list[Finished] = []


def finished_run(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Finished:
    """A finished run of the small recipe, made once a session; tests leave it as it is, or copy it."""
    if not _finished:
        folder = tmp_path_factory.mktemp("finished")
        recipe = write_recipe(folder, base)
        run(recipe, folder / "out")
        _finished.append(Finished(recipe, folder / "out", base))
    return _finished[0]
