"""Profiles on disk: `profile.json` and, beside it, the arrays in `arrays.npz`."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hexapla.analyze.representations.profile import PairMeasures, RepresentationProfile
from hexapla.common.artifacts import read_json, write_bytes, write_json
from hexapla.common.errors import CorruptArtifactError

PROFILE_FILE, ARRAYS_FILE = "profile.json", "arrays.npz"
_MEASURES = tuple(field.name for field in fields(PairMeasures))
_ARRAYS = ("num_shared", *_MEASURES, "probe", "probe_by_language", "anisotropy")


def save_profile(folder: Path, profile: RepresentationProfile) -> None:
    """Write both files; `profile.json` last."""
    arrays = {name: getattr(profile, name) for name in _ARRAYS}
    arrays |= {f"projection-{layer}": points for layer, points in profile.projection.items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(folder / ARRAYS_FILE, content.getvalue())
    write_json(
        folder / PROFILE_FILE,
        {
            "name": profile.name,
            "depth": profile.depth,
            "layers": list(profile.layers),
            "languages": list(profile.languages),
            "num_rows": profile.num_rows,
            "probe_chance": None if math.isnan(profile.probe_chance) else profile.probe_chance,
            "projection_method": profile.projection_method,
            "projection_layers": list(profile.projection),
            "projected": [list(place) for place in profile.projected],
            "explained": {str(layer): list(shares) for layer, shares in profile.explained.items()},
            "adapters": profile.adapters,
            "seconds": profile.seconds,
        },
    )


def load_profile(folder: Path) -> RepresentationProfile:
    """Read what `save_profile` wrote.

    Raises:
        CorruptArtifactError: a file is missing or damaged.
    """
    record = read_json(folder / PROFILE_FILE)
    where = folder / ARRAYS_FILE
    try:
        with np.load(where, allow_pickle=False) as arrays:
            return _profile(record, {name: arrays[name] for name in arrays.files})
    except FileNotFoundError as error:
        raise CorruptArtifactError("This file does not exist.", where=str(where)) from error
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CorruptArtifactError(f"These are not the arrays of a profile ({error}).", where=str(where)) from error


def _profile(record: Any, arrays: dict[str, np.ndarray]) -> RepresentationProfile:
    chance = record["probe_chance"]
    return RepresentationProfile(
        name=record["name"],
        depth=record["depth"],
        layers=tuple(record["layers"]),
        languages=tuple(record["languages"]),
        num_rows=record["num_rows"],
        probe_chance=float("nan") if chance is None else chance,
        projection={layer: arrays[f"projection-{layer}"] for layer in record["projection_layers"]},
        projected=tuple((row, code) for row, code in record["projected"]),
        projection_method=record["projection_method"],
        explained={int(layer): (shares[0], shares[1]) for layer, shares in record["explained"].items()},
        adapters=record["adapters"],
        seconds=record["seconds"],
        **{name: arrays[name] for name in _ARRAYS},
    )
