"""Checkpoints of unbabel-comet's making, and what it scores with them (see make_fixtures.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants

from tests.threads import torch_threads

FIXTURES = Path(__file__).parent / "fixtures"
ENCODER = str(FIXTURES / "encoder")


@dataclass(frozen=True)
class Samples:
    """The texts of the recorded scores."""

    sources: list[str]
    hypotheses: list[str]
    references: list[str]


@pytest.fixture(scope="session")
def samples() -> Samples:
    """The texts of the recorded scores."""
    found = json.loads((FIXTURES / "samples.json").read_text(encoding="utf-8"))
    return Samples(*([sample[side] for sample in found] for side in ("source", "hypothesis", "reference")))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def three_threads() -> Iterator[None]:
    """As on a machine of three cores."""
    with torch_threads(3):
        yield


@pytest.fixture
def copy(tmp_path: Path) -> Any:
    """Makes a copy of a checkpoint that a test may spoil; keywords change hparams.yaml, None takes a key away."""

    def make(name: str, **changes: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(FIXTURES / name, folder)
        written = {**yaml.safe_load((folder / "hparams.yaml").read_text()), **changes}
        kept = {key: value for key, value in written.items() if changes.get(key, "") is not None}
        (folder / "hparams.yaml").write_text(yaml.safe_dump(kept))
        return folder

    return make


def rewrite_weights(folder: Path, change: Any) -> None:
    """Write a checkpoint anew after `change(content)`."""
    path = folder / "checkpoints" / "model.ckpt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
