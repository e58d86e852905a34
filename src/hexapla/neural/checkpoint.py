"""COMET checkpoints: found, understood from `hparams.yaml`, and read without running anything that lies in them.

The published layout is `hparams.yaml` beside `checkpoints/model.ckpt`; `model.safetensors` in its place will do.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from hexapla.common.artifacts import update_with_sample
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.neural.places import Place, find_place

if TYPE_CHECKING:
    import torch

CLASSES = ("regression_metric", "unified_metric", "xcomet_metric")
# Written by training, or computed anew; no score depends on them.
_IGNORED = re.compile(
    r"encoder\.model\.(embeddings\.position_ids|pooler\..*)|layerwise_attention\.dropout_(mask|fill)"
    r"|hidden2tag\..*|(word|sent)?loss\..*|(train|val)_.*"
)
_PUBLISHED, _CONVERTED = "checkpoints/model.ckpt", "model.safetensors"
_LAYOUT = f"Give the folder that holds hparams.yaml and {_PUBLISHED}."


class Hyperparameters(BaseModel):
    """What of `hparams.yaml` the scores depend on, under its own names; the rest is about training.

    Attributes:
        layer: of regression metrics: `mix`, or the number of the layer whose states are pooled.
        sent_layer: the same of unified metrics, which always take the first token.
        layer_transformation: `sparsemax_patch` is softmax: so says unbabel-comet since 2.2.4 (its issue 244), whose
            unified metrics were trained with softmax although they asked for sparsemax.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    class_identifier: Literal["regression_metric", "unified_metric", "xcomet_metric"]
    encoder_model: Literal["XLM-RoBERTa", "XLM-RoBERTa-XL"]
    pretrained_model: str = Field(min_length=1)
    layer_transformation: Literal["softmax", "sparsemax", "sparsemax_patch"]
    layer_norm: bool
    hidden_sizes: tuple[PositiveInt, ...] = Field(min_length=1)
    activations: str
    final_activation: str | None = None
    pool: Literal["avg", "max", "cls", "default"] = "cls"
    layer: Literal["mix"] | int = "mix"
    sent_layer: Literal["mix"] | int = "mix"
    input_segments: tuple[Literal["mt", "src", "ref"], ...] = ("mt", "src", "ref")
    word_layer: int = 0
    error_labels: tuple[str, ...] = ("minor", "major", "critical")

    @property
    def is_regression(self) -> bool:
        """Whether sentences are encoded one by one."""
        return self.class_identifier == "regression_metric"

    @property
    def mix(self) -> Literal["softmax", "sparsemax"]:
        """How raw weights of layers become weights."""
        return "sparsemax" if self.layer_transformation == "sparsemax" else "softmax"

    @property
    def pooled_layer(self) -> str | int:
        """`mix`, or the layer whose states are pooled."""
        return self.layer if self.is_regression else self.sent_layer

    @property
    def pooling(self) -> str:
        """How token states become one vector."""
        return self.pool if self.is_regression else "cls"


# Must be in the file: unbabel-comet's defaults for them differ from class to class.
_REQUIRED = {
    "regression_metric": ("pool", "layer"),
    "unified_metric": ("sent_layer", "input_segments"),
    "xcomet_metric": ("sent_layer", "word_layer"),
}
_DECISIVE = ("encoder_model", "layer_transformation", "layer_norm", "hidden_sizes", "activations", "final_activation")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found; its weights may still have to be downloaded.

    Attributes:
        place: where it lies; a repository is held at one commit.
        hyperparameters: of the model.
        identity: `NAME@` and 12 digits of a digest (folders) or of the commit (hub), for signatures.
    """

    place: Place
    hyperparameters: Hyperparameters
    identity: str

    def weights(self) -> Path:
        """The file with the weights, downloaded if need be.

        Raises:
            UserError: there is none, or the hub does not give it.
        """
        return _find_weights(self.place)


def find_checkpoint(source: str, purpose: str = "The checkpoint") -> Checkpoint:
    """The checkpoint at `source`, without its weights.

    Args:
        source: a local folder, or a hub id (`OWNER/NAME`, `OWNER/NAME@REVISION`).
        purpose: the subject of errors.

    Raises:
        UserError: there is none, its class is not supported, or hparams.yaml is damaged or incomplete.
    """
    place = find_place(source, purpose, _LAYOUT)
    path = place.find("hparams.yaml")
    if path is None:
        raise UserError(f"{purpose} has no hparams.yaml, so it is no COMET model.", where=source)
    hyperparameters = read_hyperparameters(path)
    if place.folder is None:
        commit = path.parent.name
        return Checkpoint(place.at(commit), hyperparameters, f"{place.repository}@{commit[:12]}")
    digest = _fingerprint(path, _find_weights(place))
    return Checkpoint(place, hyperparameters, f"{place.folder.resolve().name}@{digest[:12]}")


def read_hyperparameters(path: Path) -> Hyperparameters:
    """The contents of an `hparams.yaml`.

    Raises:
        UserError: it is no plain YAML, the class of the model is not supported, or keys are missing or wrong.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"This is no plain YAML: {error}", where=str(path)) from error
    if not isinstance(found, dict) or "class_identifier" not in found:
        raise UserError("It does not say which class of model this is (class_identifier).", where=str(path))
    name = found["class_identifier"]
    if name not in CLASSES:
        raise UserError(
            f"Models of the class {name!r} are not supported.",
            where=str(path),
            hint=f"Supported: {', '.join(CLASSES)}.",
        )
    if missing := [key for key in _REQUIRED[name] if key not in found]:
        raise UserError(f"It does not say {', '.join(missing)}, which scores depend on.", where=str(path))
    try:
        return Hyperparameters.model_validate(found)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][:1]))}: {fault['msg']}" for fault in error.errors())
        raise UserError(f"The model cannot be built from it: {faults}.", where=str(path)) from error


def read_tensors(checkpoint: Checkpoint) -> Tensors:
    """All tensors of a checkpoint, mapped from the file rather than copied where it can be.

    Raises:
        CorruptArtifactError: the file is damaged, cut short, or of another kind.
        UserError: it holds more than plain data, which could run code; or it contradicts hparams.yaml.
    """
    path = checkpoint.weights()
    if path.suffix == ".safetensors":
        return Tensors(_read_safetensors(path), path)
    content = _read_pickled(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CorruptArtifactError("It holds no state_dict, so it is no checkpoint of COMET.", where=str(path))
    _compare(checkpoint.hyperparameters, content.get("hyper_parameters"), path)
    return Tensors(content["state_dict"], path)


class Tensors:
    """The tensors of a checkpoint, taken by name; what is missing, misshapen or left over is an error.

    Args:
        found: all tensors.
        path: the file, for errors.
    """

    def __init__(self, found: dict[str, torch.Tensor], path: Path) -> None:
        self._found, self._path = found, path
        self._used: set[str] = set()

    def take(self, name: str, *shape: int | None) -> torch.Tensor:
        """The tensor called `name`.

        Args:
            shape: what it must have; None: any size.

        Raises:
            CorruptArtifactError: it is not there, or has another shape.
        """
        if name not in self._found:
            raise CorruptArtifactError(f"The checkpoint has no tensor {name!r}.", where=str(self._path))
        tensor = self._found[name]
        sizes = tuple(tensor.shape)
        if len(sizes) != len(shape) or any(want not in (None, have) for want, have in zip(shape, sizes, strict=True)):
            expected = " × ".join("any" if size is None else str(size) for size in shape)
            raise CorruptArtifactError(
                f"The tensor {name!r} has the shape {' × '.join(map(str, sizes))}, expected {expected}: the "
                "checkpoint is not the model that hparams.yaml describes.",
                where=str(self._path),
            )
        self._used.add(name)
        return tensor

    def count(self, prefix: str) -> int:
        """How many numbers follow `prefix` in the names of tensors."""
        numbers = {name.removeprefix(prefix).split(".")[0] for name in self._found if name.startswith(prefix)}
        return len(numbers)

    def finish(self, *unused: str) -> None:
        """Make sure that every tensor was taken, is known to be idle, or begins with one of `unused`.

        Raises:
            CorruptArtifactError: something is left over.
        """
        left = [
            name
            for name in sorted(self._found.keys() - self._used)
            if not _IGNORED.fullmatch(name) and not name.startswith(unused)
        ]
        if left:
            raise CorruptArtifactError(
                f"{len(left)} tensors have no place in the model that hparams.yaml describes, such as {left[0]!r}.",
                where=str(self._path),
            )


def _find_weights(place: Place) -> Path:
    # A conversion in a folder was put there on purpose; of a repository only the published file may be in the cache.
    for name in (_PUBLISHED, _CONVERTED) if place.folder is None else (_CONVERTED, _PUBLISHED):
        if (path := place.find(name)) is not None:
            return path
    others = [] if place.folder is None else sorted((place.folder / "checkpoints").glob("*.ckpt"))
    if len(others) == 1:
        return others[0]
    raise UserError(
        f"There are no weights: neither {_PUBLISHED} nor {_CONVERTED}"
        + (f", but {len(others)} other checkpoints." if others else "."),
        where=place.source,
        hint=f"Call the one to be used {_PUBLISHED}." if others else _LAYOUT,
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CorruptArtifactError(f"The file is damaged or cut short ({error}).", where=str(path)) from error


def _read_pickled(path: Path) -> Any:
    import torch

    if not zipfile.is_zipfile(path):
        raise CorruptArtifactError(
            "This is no checkpoint of torch 1.6 or later: damaged, cut short, or of another kind. Bare pickles are "
            "never opened, they can run code.",
            where=str(path),
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named[1]})" if named else ""
        raise UserError(
            f"The checkpoint holds more than tensors and plain data{what}, which could run code; it was not opened.",
            where=str(path),
            hint="If you trust its origin, save its state_dict as model.safetensors beside hparams.yaml.",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        # the unpickler meets damaged files with whatever error comes first
        raise CorruptArtifactError("The checkpoint is damaged or cut short.", where=str(path)) from error


def _compare(written: Hyperparameters, inside: Any, path: Path) -> None:
    """unbabel-comet builds the model from what the checkpoint remembers, of hparams.yaml it takes class and patch."""
    if not isinstance(inside, dict):
        return
    for key in (*_DECISIVE, *_REQUIRED[written.class_identifier]):
        if key not in inside:
            continue
        ours, theirs = getattr(written, key), inside[key]
        theirs = tuple(theirs) if isinstance(theirs, list) else theirs
        if ours == theirs or (key, ours) == ("layer_transformation", "sparsemax_patch"):
            continue
        raise UserError(
            f"hparams.yaml says {key}: {ours}, the checkpoint itself says {theirs}.",
            where=str(path),
            hint="unbabel-comet follows the checkpoint: correct hparams.yaml.",
        )


def _fingerprint(hparams: Path, weights: Path) -> str:
    """sha256 over hparams.yaml and, of the weights, the size and 64 evenly spaced blocks of 4 KiB."""
    digest = hashlib.sha256(hparams.read_bytes())
    digest.update(f"{weights.suffix}:{weights.stat().st_size}".encode())
    update_with_sample(digest, weights)
    return digest.hexdigest()
