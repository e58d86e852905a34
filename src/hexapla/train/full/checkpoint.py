"""A running model's state on disk: a folder a checkpoint, whole or not there, the latest few kept.

Every tensor is saved whole, however many processes share it out, so that a run may go on with another number of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from hexapla.common.artifacts import explain_os_errors, is_complete, new_artifact, read_json
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.full.records import SourcedRecord

_PREFIX = "step-"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """What a checkpoint says beside its tensors.

    Attributes:
        run: digest of what the run depends on.
        records: one an update.
        seconds: time spent so far.
        degenerate: parts of the objectives that once had nothing to tell apart.
    """

    run: str
    records: list[SourcedRecord]
    seconds: float
    degenerate: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint and its folder."""

    folder: Path
    progress: Progress

    @property
    def step(self) -> int:
        """Updates made."""
        return len(self.progress.records)


def save_checkpoint(
    work: Path,
    progress: Progress,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
    is_main: bool,
) -> None:
    """Save a checkpoint and remove all but the latest `keep`. All processes call this; the main one writes.

    Raises:
        UserError: the disk refuses.
    """
    kinds = ("values", *_MOMENTS)
    if not is_main:
        for kind in kinds:
            for name in parameters:
                whole(_tensor(kind, parameters[name], optimizer))
        return
    manifest = {
        "run": progress.run,
        "seconds": progress.seconds,
        "records": [asdict(record) for record in progress.records],
        "degenerate": progress.degenerate,
    }
    with new_artifact(work / f"{_PREFIX}{len(progress.records):09d}", manifest) as folder:
        for kind in kinds:  # one after another: each is as large as the model
            tensors = {name: whole(_tensor(kind, parameter, optimizer)) for name, parameter in parameters.items()}
            save_file(tensors, folder / f"{kind}.safetensors")
    for old in _folders(work)[:-keep]:
        _remove(old)


def load_checkpoints(work: Path, run: str) -> list[Checkpoint]:
    """The complete checkpoints in `work`, oldest first.

    Raises:
        UserError: one is of a run with other settings, data or base than `run`.
    """
    found = []
    for folder in _folders(work):
        manifest = read_json(folder / "artifact.json")
        if manifest.get("run") != run:
            raise UserError(
                f"This checkpoint is of another run ({str(manifest.get('run'))[:12]}, now {run[:12]}): settings, data "
                "or base changed.",
                where=str(folder),
                hint="Give back the old recipe to go on with it, or delete the folder to train anew.",
            )
        records = [SourcedRecord(**record) for record in manifest["records"]]
        degenerate = manifest.get("degenerate", [])  # which older checkpoints lack
        found.append(Checkpoint(folder, Progress(run, records, manifest["seconds"], degenerate)))
    return found


def load_state(
    checkpoint: Checkpoint, parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Continue from what a checkpoint holds.

    Raises:
        CorruptArtifactError: it is damaged.
    """
    load_values(checkpoint, parameters)
    for parameter in parameters.values():
        optimizer.state[parameter] = {"step": torch.tensor(float(checkpoint.step), device=parameter.device)}
    for kind in _MOMENTS:
        for name, tensor in _read(checkpoint.folder / f"{kind}.safetensors", parameters):
            optimizer.state[parameters[name]][kind] = _as(tensor, parameters[name])


def load_values(checkpoint: Checkpoint, parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """Set parameters to what a checkpoint holds.

    Raises:
        CorruptArtifactError: it is damaged.
    """
    for name, tensor in _read(checkpoint.folder / "values.safetensors", parameters):
        with torch.no_grad():
            parameters[name].copy_(_as(tensor, parameters[name]))


def _folders(work: Path) -> list[Path]:
    return sorted(folder for folder in work.glob(f"{_PREFIX}*") if is_complete(folder))


def _remove(folder: Path) -> None:
    """A kill while files are removed must not leave a part that looks whole."""
    aside = folder.with_name(f".{folder.name}.old")
    with explain_os_errors(folder):
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside)


def _tensor(kind: str, parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> Tensor:
    tensor: Any = parameter.detach() if kind == "values" else optimizer.state[parameter][kind]
    assert isinstance(tensor, Tensor)
    return tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, gathered from all processes where they share it out."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu().contiguous()


def _as(tensor: Tensor, parameter: torch.nn.Parameter) -> Tensor:
    """A whole tensor on the parameter's device, shared out as the parameter is."""
    tensor = tensor.to(parameter.device)
    data = parameter.data
    return distribute_tensor(tensor, data.device_mesh, data.placements) if isinstance(data, DTensor) else tensor


def _read(path: Path, parameters: Mapping[str, torch.nn.Parameter]) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in parameters:
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise CorruptArtifactError(
            f"This checkpoint is damaged ({error}).", where=str(path), hint="Delete its folder to go on without it."
        ) from error
