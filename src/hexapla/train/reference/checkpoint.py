"""A running adapter's state on disk: one safetensors file, replaced atomically.

The file's metadata holds the digest of everything that the run depends on; a checkpoint of another run is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import write_bytes
from hexapla.common.errors import CorruptArtifactError, UserError

if TYPE_CHECKING:
    import torch

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` updates.

    Attributes:
        run: digest of what the run depends on.
        step: updates made.
        history: one record a step, as in `log.jsonl`.
        seconds: time spent so far.
        tensors: the optimiser's state by name.
        degenerate: parts of the objectives that once had nothing to tell apart.
    """

    run: str
    step: int
    history: list[dict[str, Any]]
    seconds: float
    tensors: dict[str, torch.Tensor]
    degenerate: list[str] = field(default_factory=list)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder`; a kill at any moment leaves the old or the new one, whole.

    Raises:
        UserError: the disk refuses.
    """
    from safetensors.torch import save

    progress = {
        "step": checkpoint.step,
        "history": checkpoint.history,
        "seconds": checkpoint.seconds,
        "degenerate": checkpoint.degenerate,
    }
    metadata = {"run": checkpoint.run, "progress": json.dumps(progress)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_bytes(folder / CHECKPOINT_FILE, save(tensors, metadata=metadata))


def load_checkpoint(folder: Path, run: str) -> Checkpoint | None:
    """The checkpoint in `folder`, on the CPU; None when there is none.

    Raises:
        UserError: it is of a run with other settings, examples or base than `run`.
        CorruptArtifactError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            progress = json.loads(metadata["progress"])
            found = metadata["run"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            checkpoint = Checkpoint(
                found,
                progress["step"],
                progress["history"],
                progress["seconds"],
                tensors,
                progress.get("degenerate", []),  # which older checkpoints lack
            )
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CorruptArtifactError(
            f"This checkpoint is damaged ({error}).", where=str(path), hint="Delete it to train the adapter anew."
        ) from error
    if found != run:
        raise UserError(
            f"This checkpoint is of another run ({found[:12]}, now {run[:12]}): settings, examples or base changed.",
            where=str(path),
            hint="Give back the old recipe to go on with it, or delete the file to train the adapter anew.",
        )
    return checkpoint
