"""What the documents show is true: recipes validate, commands parse, paths exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hexapla.cli.main import build_parser
from hexapla.common.documents import parse_yaml
from hexapla.recipe import Recipe, bundled_recipes

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[str]:
    """Fenced blocks of one language in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_shows_a_valid_recipe() -> None:
    [text] = blocks("yaml")
    recipe = Recipe.parse(parse_yaml(text, where="README.md"))
    assert recipe.name == "europe-datm"
    assert len(recipe.plan.jobs) == 13  # nine to-hub experts, and one a group: 1, 2, 3, and French alone in 4


def test_the_readme_names_every_command_and_recipe() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [commands] = [action.choices for action in build_parser()._actions if action.dest == "command"]
    for command in commands:
        assert f"hexapla {command}" in text, command
    for recipe in bundled_recipes():
        assert f"`{recipe}`" in text, recipe


def test_the_python_block_is_python() -> None:
    [code] = blocks("python")
    compile(code, "README.md", "exec")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    paths = re.findall(r"`((?:src|docs|tests|recipes|benchmarks|examples)/[\w./-]+)`", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert not missing
