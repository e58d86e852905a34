"""What transformers' Trainer is given on its way, and how a process is kept as it was around it."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers.utils import logging

from hexapla.train.full.layout import StepWork


@dataclass
class Clock:
    """Times of this session; `before` are the seconds of earlier ones."""

    before: float = 0.0
    start: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)
    num_tokens: int = 0

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start


class Ahead:
    """Goes through an iterator, one item ahead in a thread of its own."""

    def __init__(self, make: Callable[[], Iterator[StepWork]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[dict[str, StepWork]]:
        items = self._make()
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = thread.submit(next, items, None)
                yield {"work": item}  # Trainer looks for known keys in what it is given


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Trainer sets what transformers prints and seeds every generator of the process; both are put back."""
    verbosity = logging.get_verbosity()
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.set_verbosity(verbosity)
        random.setstate(python)
        np.random.set_state(arrays)
