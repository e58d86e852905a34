"""What several tests of the bank need around them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.threads import torch_threads
from tests.train.bank.terminal import Watch


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Equal bytes need an equal number of threads in parent and children."""
    with torch_threads(1):
        yield


@pytest.fixture
def watch() -> Watch:
    return Watch()
