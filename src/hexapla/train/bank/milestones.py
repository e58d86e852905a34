"""Values of an adapter at steps that it may go back to: after a divergence, or to the best of its measurements."""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch

from hexapla.common.artifacts import explain_os_errors, write_bytes
from hexapla.common.errors import CorruptArtifactError

_COPIES = 2  # of rows at most that wait to be written

References = Mapping[str, set[int]]
"""The steps of every adapter, by name, that it may go back to."""


class Milestones:
    """Files of one vector each, named by adapter and step.

    Args:
        keep: complete checkpoints that stay: what they, or one that is being written, refer to is kept.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder = folder
        self._executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="bank-milestones")
        self._writing: deque[concurrent.futures.Future[None]] = deque()
        self._references: deque[References] = deque(maxlen=keep + 1)

    def save(self, adapter: str, step: int, values: torch.Tensor) -> None:
        """Write a copy of the values [P] of an adapter at a step, while training goes on; see `settle`.

        Raises:
            UserError: the disk refused one of the files before it.
        """
        if len(self._writing) == _COPIES:
            self._writing.popleft().result()
        copied = values.detach().to("cpu", copy=True)
        self._writing.append(self._executor.submit(_write, self._file(adapter, step), copied))

    def settle(self) -> None:
        """Wait until all is on disk.

        Raises:
            UserError: the disk refuses.
        """
        concurrent.futures.wait(self._writing)
        while self._writing:
            self._writing.popleft().result()

    def load(self, adapter: str, step: int) -> torch.Tensor:
        """The values [P] that `save` wrote, on the CPU.

        Raises:
            CorruptArtifactError: the file is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        self.settle()
        path = self._file(adapter, step)
        try:
            with safe_open(path, framework="pt") as file:
                values: torch.Tensor = file.get_tensor("values")
        except (OSError, SafetensorError) as error:
            raise CorruptArtifactError(
                f"This state of {adapter!r} is missing or damaged ({error}).",
                where=str(path),
                hint=f"Delete {self._folder.parent} to train its adapters anew.",
            ) from error
        return values

    def require(self, references: References) -> None:
        """See to it that a checkpoint can be taken up.

        Raises:
            CorruptArtifactError: a file that it refers to is missing or damaged.
        """
        for adapter, steps in references.items():
            for step in sorted(steps):
                self.load(adapter, step)

    def checkpointed(self, references: References) -> None:
        """A checkpoint with these references is being written, the one before is complete; others' files are removed.

        All files must have settled.

        Raises:
            UserError: the disk refuses.
        """
        self._references.append(references)
        if len(self._references) < (self._references.maxlen or 0) or not self._folder.is_dir():
            return
        wanted = {
            self._file(adapter, step).name
            for kept in self._references
            for adapter, steps in kept.items()
            for step in steps
        }
        with explain_os_errors(self._folder):
            for path in self._folder.iterdir():
                if path.name not in wanted:
                    path.unlink()

    def _file(self, adapter: str, step: int) -> Path:
        return self._folder / f"{adapter}-{step:07d}.safetensors"


def _write(path: Path, values: torch.Tensor) -> None:
    from safetensors.torch import save

    write_bytes(path, save({"values": values}))
