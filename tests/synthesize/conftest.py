"""The world of synthesis in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.synthesize.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty one."""
    return World(tmp_path)
