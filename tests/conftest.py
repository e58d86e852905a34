"""Fixtures that tests of several domains share: tiny random bases and a finished run, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.world import Finished, finished_run
from tests.tiny_models import tiny_base


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what peft 0.21 does to transformers 5.23: it reads a property that was renamed there."""
    config.addinivalue_line("filterwarnings", "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="session")
def qwen3_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 with random weights and its tokenizer."""
    return tiny_base(tmp_path_factory, "qwen3")


@pytest.fixture(scope="session")
def llama_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights and its tokenizer."""
    return tiny_base(tmp_path_factory, "llama")


@pytest.fixture(scope="session")
def gemma_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma with random weights and its tokenizer."""
    return tiny_base(tmp_path_factory, "gemma")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, qwen3_base: Path) -> Finished:
    """A finished run of the command line, to look at."""
    return finished_run(tmp_path_factory, qwen3_base)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of a finished run, to change."""
    return finished.copied(tmp_path / "copied")
