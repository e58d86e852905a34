"""Fixtures of the evaluation tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.world import Evaluation


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    """An evaluation in a fresh folder."""
    return Evaluation(tmp_path)
