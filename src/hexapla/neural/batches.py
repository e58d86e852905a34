"""Sequences in batches, and batches beside each other: how an encoder is kept busy.

On a CPU every batch is computed by one thread, and several batches at once. Products of a batch's size gain less from
several threads, which wait for each other after each of them: on a machine that does other things too, for most of the
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

_MOST_WORKERS = 8  # each holds the states of all layers of a batch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def default_batch_tokens(device: torch.device) -> int:
    """Tokens a batch: on a GPU enough to keep it busy, on a CPU so few that a layer's numbers stay in its cache."""
    return 16_384 if device.type == "cuda" else 1024


def num_workers(device: torch.device) -> int:
    """Batches that are computed beside each other."""
    import torch

    return min(torch.get_num_threads(), _MOST_WORKERS) if device.type == "cpu" else 1


def batches(lengths: Sequence[int], budget: int, multiple: int = 1) -> list[list[int]]:
    """Numbers of sequences in batches of similar length, the longest first, all batches of about the same size.

    Args:
        lengths: tokens of each sequence.
        budget: tokens a batch; one sequence may reach over it.
        multiple: of which their number is one, where there are sequences enough.
    """
    total = sum(lengths)
    num_batches = -(-total // budget)
    num_batches = -(-num_batches // multiple) * multiple
    found: dict[int, list[int]] = {}
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    for number, end in zip(order, accumulate(lengths[number] for number in order), strict=True):
        found.setdefault((end - lengths[number]) * num_batches // total, []).append(number)
    return list(found.values())


def computed(
    compute: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Iterator[tuple[_Item, _Result]]:
    """Every item with what is computed of it, in order, by so many workers with as many of torch's threads together."""
    import torch

    workers = min(workers, len(items))
    if workers < 2:
        yield from ((item, compute(item)) for item in items)
        return
    num_threads = torch.get_num_threads()
    own_threads = num_threads // workers

    def share_threads() -> None:
        torch.set_num_threads(own_threads)  # a thread's own setting, and that of threads yet to come

    pool = ThreadPoolExecutor(workers, thread_name_prefix="encoder", initializer=share_threads)
    try:
        yield from zip(items, pool.map(compute, items), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)
