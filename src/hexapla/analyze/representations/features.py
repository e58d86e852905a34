"""Sentence vectors of many layers on disk, so that one layer at a time is in memory.

A model reads all sentences once, layer after layer; the measures want all sentences of one layer. Between the two the
vectors lie in one file a layer.

Shapes: N sentences, D width.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hexapla.common.artifacts import explain_os_errors
from hexapla.common.errors import UserError

_BYTES = np.dtype(np.float32).itemsize


class FeatureFiles:
    """Vectors [N, D] in float32 of some layers, in a folder that exists while `with` lasts.

    Written row by row and not mapped into memory: pages of mapped files would count as the program's own.

    Raises:
        UserError: the disk has no room for them.
    """

    def __init__(self, folder: Path, layers: Sequence[int], num_sentences: int, width: int) -> None:
        self._folder, self._layers = folder, tuple(layers)
        self._shape = (num_sentences, width)
        self._files: dict[int, int] = {}

    def __enter__(self) -> Self:
        with explain_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._require_room()
            for layer in self._layers:
                self._files[layer] = os.open(self._path(layer), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return self

    def __exit__(self, *_: object) -> None:
        for layer, file in self._files.items():
            os.close(file)
            self._path(layer).unlink(missing_ok=True)
        self._files.clear()

    def write(self, layer: int, places: Sequence[int], vectors: Tensor) -> None:
        """Put vectors [n, D] at n places of a layer."""
        width = self._shape[1] * _BYTES
        rows = np.ascontiguousarray(vectors.numpy(), dtype=np.float32)
        with explain_os_errors(self._folder):
            for place, row in zip(places, rows, strict=True):
                os.pwrite(self._files[layer], row.data, place * width)

    def take(self, layer: int) -> Tensor:
        """All vectors of a layer [N, D]; its file is gone afterwards."""
        vectors = np.fromfile(self._path(layer), dtype=np.float32).reshape(self._shape)
        os.close(self._files.pop(layer))
        self._path(layer).unlink()
        return torch.from_numpy(vectors)

    def _path(self, layer: int) -> Path:
        return self._folder / f"layer-{layer}.f32"

    def _require_room(self) -> None:
        needed = len(self._layers) * self._shape[0] * self._shape[1] * _BYTES
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise UserError(
                f"The vectors of {self._shape[0]:,} sentences in {len(self._layers)} layers need {_size(needed)} on "
                f"the disk while they are measured; {_size(free)} are free.",
                where=str(self._folder),
                hint="Take fewer rows or languages, or another folder with --out.",
            )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
