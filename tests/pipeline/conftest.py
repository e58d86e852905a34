"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.world import Finished, finished_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, qwen3_base: Path) -> Finished:
    """A finished run, to look at."""
    return finished_run(tmp_path_factory, qwen3_base)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of a finished run, to change."""
    return finished.copied(tmp_path / "copied")
