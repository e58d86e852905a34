"""What several tests of the bank need around them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.train.bank.terminal import Watch


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Equal bytes need an equal number of threads in parent and children."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def watch() -> Watch:
    return Watch()
