"""What memory there is, and what a micro-batch takes of it: measured, by doing one before training begins.

A room is one kind of memory (the device's; the host's, where Adam's moments are kept there) with what it must hold
beside the base: something fixed, and something for every adapter that is trained at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hexapla.languages import Direction
from hexapla.train.align.objective import PairLabels, PairStates, cached_alignment, surrogate
from hexapla.train.bank.factors import FactorBank
from hexapla.train.bank.objectives import head_shape, pair_states
from hexapla.train.bank.packing import Piece, pack
from hexapla.train.encoding import EncodedExample

if TYPE_CHECKING:
    from torch import Tensor

    from hexapla.train.align.objectives import AlignmentSpec
    from hexapla.train.bank.model import BankedModel, States

_RESERVE_SHARE = 0.1  # of what is free, for allocators' fragments and other programs; assumption
_ANY_DIRECTION = Direction("de", "en")
_UNLIMITED = 2**62  # cgroup v1 writes "no limit" as the largest number of whole pages


@dataclass(frozen=True)
class Room:
    """Memory of one kind, in bytes.

    Attributes:
        name: for people, as in "8 GiB of GPU memory".
        free_bytes: what training may use beside the base; None where the system does not say.
        fixed_bytes: what it needs whatever the number of adapters.
        row_bytes: what it needs for every adapter trained at once.
        activation_bytes: what of `fixed_bytes` grows with the tokens of a micro-batch.
    """

    name: str
    free_bytes: int | None
    fixed_bytes: int
    row_bytes: int
    activation_bytes: int = 0

    def needed_bytes(self, num_adapters: int) -> int:
        """What so many adapters need."""
        return self.fixed_bytes + num_adapters * self.row_bytes

    def num_adapters(self) -> int | None:
        """How many adapters fit; None where the free memory is not known."""
        if self.free_bytes is None:
            return None
        return max(0, (self.free_bytes - self.fixed_bytes) // self.row_bytes)


@dataclass(frozen=True)
class DryStep:
    """A worst-case micro-batch.

    Attributes:
        num_tokens: of the micro-batch.
        longest: tokens of the longest sequence that may occur.
        num_adapters: that may share the micro-batch.
        rank: the largest of them.
        has_dropout: whether inputs are dropped.
        objectives: the losses beside the language model's, if any; `num_pairs` is the largest global batch.
    """

    num_tokens: int
    longest: int
    num_adapters: int
    rank: int
    has_dropout: bool
    objectives: AlignmentSpec | None = None
    num_pairs: int = 0

    def measure(self, model: BankedModel) -> int | None:
        """Bytes that it needs beside base and bank, at the peak; None where the system does not say.

        It is done twice, with as long sequences and with as many adapters as there may be, in a bank of one row whose
        gradients are thrown away.

        Raises:
            torch.OutOfMemoryError: it does not fit.
        """
        head = head_shape(self.objectives, model.width)
        bank = FactorBank(model.groups, [self.rank], [1.0], model.device, head)
        model.load(bank, [0.5 if self.has_dropout else 0.0])
        shortest = min(self.longest, max(1, self.num_tokens // self.num_adapters))
        needs = [peak_growth(model.device, partial(self._step, model, bank, n)) for n in {self.longest, shortest}]
        model.unload()
        return None if None in needs else max(need for need in needs if need is not None)

    def _step(self, model: BankedModel, bank: FactorBank, length: int) -> None:
        """All tokens but the first of every sequence are targets; every sequence is an adapter's of its own.

        Objectives have a whole batch to contrast while the activations are there, and all tokens in their spans.
        """
        whole, rest = divmod(self.num_tokens, length)
        lengths = [length] * whole + [rest] * (rest > 0)
        examples = [_full_example(number, size) for number, size in enumerate(lengths)]
        pieces = [Piece(0, (example,), example.num_target_tokens, ends_batch=True) for example in examples]
        batch = pack(pieces, model.device, list(range(len(pieces))) if self.has_dropout else None)
        model.backward(batch, None if self.objectives is None else partial(self._beside, bank, pieces))

    def _beside(self, bank: FactorBank, pieces: Sequence[Piece], states: States) -> Tensor:
        assert self.objectives is not None
        pairs = pair_states(pieces, states)
        num_pairs = max(self.num_pairs, len(pairs))
        zeros = torch.zeros(num_pairs, states[1].shape[1], device=states[1].device)
        names = tuple(map(str, range(num_pairs)))
        aligned = cached_alignment(
            PairStates(zeros, zeros, zeros, zeros), PairLabels(names, names, names), self.objectives, bank.heads[0]
        )
        return surrogate(pairs, aligned.states[: len(pairs)])


def _full_example(number: int, num_input_tokens: int) -> EncodedExample:
    """Of input tokens that all but the first belong to both sentences, where there is more than that one."""
    ids = np.zeros(num_input_tokens + 1, dtype=np.int32)
    direction = _ANY_DIRECTION if num_input_tokens > 1 else None
    return EncodedExample(str(number), ids, 1, direction, (1, num_input_tokens))


def free_bytes(device: torch.device) -> int | None:
    """Memory of a device that may be used from now on, a tenth of it held in reserve; None where it cannot be known."""
    found = _cuda_free_bytes(device) if device.type == "cuda" else _host_free_bytes()
    return None if found is None else int(found * (1 - _RESERVE_SHARE))


def peak_growth(device: torch.device, work: Callable[[], None]) -> int | None:
    """Bytes that are used at the peak of some work beyond those used before it; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    _give_back()
    if not _reset_peak():
        work()
        return None
    status = _status_bytes()
    work()
    return max(0, _status_bytes()["VmHWM"] - status["VmRSS"])


def gibibytes(num_bytes: int) -> str:
    """For people: `3.2 GiB`, or `0.42 MiB` where that is less than a tenth of a GiB."""
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{num_bytes / 2**20:.2f} MiB"


def _cuda_free_bytes(device: torch.device) -> int:
    """What the driver has and what torch holds without using it."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def _host_free_bytes(root: Path = Path("/")) -> int | None:
    """What the machine has, or a control group around this process where that is less."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    machine = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    found = [number for number in (machine, *_group_free_bytes(root)) if number is not None]
    return min(found, default=None)


def _group_free_bytes(root: Path) -> list[int]:
    """What the control groups of this process leave, version 2 and 1, from its own group up to the uppermost.

    Inside a container the path of the own group may not exist; its uppermost folder then is the container's group.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        limit, used = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        )
        own = top / path.lstrip("/")
        for folder in [own, *own.parents]:
            if folder.is_relative_to(top):
                left = _limit_left(folder, limit, used)
                found += [] if left is None else [left]
    return found


def _limit_left(folder: Path, limit: str, used: str) -> int | None:
    """What one group leaves; files that the system holds in memory and would give up do not count as used."""
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        now = int((folder / used).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    if most == "max" or int(most) >= _UNLIMITED:
        return None
    given_up = dict(zip(stat[::2], stat[1::2], strict=False)).get("inactive_file", "0")
    return max(0, int(most) - now + int(given_up))


def _give_back() -> None:
    """Hand memory that was freed back to the system, where the C library can (glibc): used again it would go unseen."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    """Let this process's peak begin anew, where Linux permits it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return os.path.exists("/proc/self/status")


def _status_bytes() -> dict[str, int]:
    """Sizes of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Vm")}
