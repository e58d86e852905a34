"""Vectors on disk: what is written at a place is read there, and nothing stays behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from hexapla.analyze.representations.features import FeatureFiles
from hexapla.common.errors import UserError


def test_layers_are_read_as_they_were_written(tmp_path: Path) -> None:
    vectors = torch.randn(2, 5, 3)
    with FeatureFiles(tmp_path / "work", [0, 4], 5, 3) as files:
        for places in ([4, 0], [2], [1, 3]):
            for layer, of_layer in zip([0, 4], vectors, strict=True):
                files.write(layer, places, of_layer[places])
        torch.testing.assert_close(files.take(4), vectors[1], rtol=0, atol=0)
        assert [path.name for path in (tmp_path / "work").iterdir()] == ["layer-0.f32"]
        torch.testing.assert_close(files.take(0), vectors[0], rtol=0, atol=0)


def test_nothing_stays_when_reading_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), FeatureFiles(tmp_path, [0, 1], 5, 3):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError, match=r"41 layers need [\d.]+ GiB on the disk .* are free") as error:
        FeatureFiles(tmp_path, range(41), free, 5120).__enter__()
    assert str(tmp_path) in error.value.paragraph()
    assert list(tmp_path.iterdir()) == []
