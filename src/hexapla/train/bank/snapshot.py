"""Copy-on-write of a bank's rows: one moment of them is read by one thread while another goes on changing them.

Device tensors are read by both threads. The training thread copies on its current stream, between the work given
before `keep` and the change given after it. The writer copies on a stream of its own, which waits for all work given
before the snapshot, and lets the row go when the copy has arrived. CUDA graphs must not be captured while a snapshot is
drained.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes; a multiple of every element's size


@dataclass(frozen=True)
class RowSource:
    """A live row of the bank.

    Attributes:
        name: of the adapter, unique in the bank.
        version: number of changes so far, counted on after a restart; equal to the one in the generation before, the
            row is taken to be unchanged.
        tensors: gives the live tensors by name, without computing anything; called by either thread.
    """

    name: str
    version: int
    tensors: Callable[[], Mapping[str, Tensor]]


class RowBuffer:
    """Memory on the CPU for the tensors of one row, used again and again: fresh pages cost more than the copy."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._tensors: dict[str, Tensor] = {}
        self._event: torch.cuda.Event | None = None

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors, behind the work that the current stream has so far, instead of those held before."""
        ends = list(accumulate(-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors.values()))
        on_device = any(tensor.is_cuda for tensor in tensors.values())
        self._tensors = {}
        if ends and self._memory.numel() < ends[-1]:
            self._memory = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=on_device)
        for (name, tensor), start in zip(tensors.items(), [0, *ends], strict=False):
            place = self._memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            self._tensors[name] = place.copy_(tensor.detach(), non_blocking=True)
        self._event = torch.cuda.Event() if on_device else None
        if self._event is not None:
            self._event.record()

    def arrived(self) -> Mapping[str, Tensor]:
        """The tensors, once the device has delivered them."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensors


class Snapshot:
    """Rows as they are now, to be read by one other thread while this one goes on changing them.

    A row is either pending (to be written from the bank), busy (being read by one of the threads), among the copies, or
    done. As a context it ends, even by an error, all waiting in `keep`.

    Args:
        unchanged: rows that need not be read again, as far as is known.
        buffers: all memory that is used: one for the row being written, the others for copies.
    """

    def __init__(self, rows: Sequence[RowSource], unchanged: Sequence[bool], buffers: Sequence[RowBuffer]) -> None:
        self._rows, self._unchanged = rows, unchanged
        self._own, *self._free = buffers
        self._turn = threading.Condition()
        # Unchanged rows come first: they cost the writer nothing.
        self._pending = deque(sorted(range(len(rows)), key=lambda row: not unchanged[row]))
        self._busy: set[int] = set()
        self._copies: deque[tuple[int, RowBuffer]] = deque()
        self._ended = False
        self._stream: torch.cuda.Stream | None = None
        if torch.cuda.is_initialized():
            self._stream = torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._ended = True
            self._pending.clear()
            self._copies.clear()
            self._turn.notify_all()

    def keep(self, row: int) -> None:
        """Copy a row if it is pending."""

        def free() -> bool:
            return self._ended or (row not in self._busy and (row not in self._pending or bool(self._free)))

        with self._turn:
            self._turn.wait_for(free)
            if self._ended or row not in self._pending:
                return
            self._pending.remove(row)
            self._busy.add(row)
            buffer = self._free.pop()
        try:
            buffer.fill(self._rows[row].tensors())
        except BaseException:
            with self._turn:
                self._pending.append(row)
                self._busy.remove(row)
                self._free.append(buffer)
                self._turn.notify_all()
            raise
        with self._turn:
            self._copies.append((row, buffer))
            self._busy.remove(row)
            self._turn.notify_all()

    def drain(self, link: Callable[[int], bool], write: Callable[[int, Mapping[str, Tensor]], None]) -> None:
        """Hand every row to `write` once; an unchanged one only if `link` answers False. For the writer's thread."""
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._copies or self._pending or not self._busy)
                if not self._copies and not self._pending:
                    return
                is_copy = bool(self._copies)  # first, because the training thread may wait for room
                if not is_copy:
                    row = self._pending.popleft()
                    self._busy.add(row)
            if is_copy:
                self._write_copy(write)
            else:
                self._write_live(row, link, write)

    def _write_copy(self, write: Callable[[int, Mapping[str, Tensor]], None]) -> None:
        row, buffer = self._copies.popleft()
        write(row, buffer.arrived())
        with self._turn:
            self._free.append(buffer)
            self._turn.notify_all()

    def _write_live(
        self, row: int, link: Callable[[int], bool], write: Callable[[int, Mapping[str, Tensor]], None]
    ) -> None:
        try:
            if self._unchanged[row] and link(row):
                return
            with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
                self._own.fill(self._rows[row].tensors())
            tensors = self._own.arrived()
        finally:
            with self._turn:
                self._busy.remove(row)
                self._turn.notify_all()
        # From the buffer, not from the bank: who wants to change this row waits for memory, not for the disk.
        write(row, tensors)
