"""Score a pool on corpora named on the command line, outside any recipe."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hexapla.base import Base
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.common.spec import validation_message
from hexapla.data.rows import Row
from hexapla.data.stage import read_test_sets
from hexapla.evaluate.comparison import direction_table
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.evaluate.stage import evaluate_pool
from hexapla.pipeline.workspace import Workspace
from hexapla.pool import Pool
from hexapla.recipe import apply_override
from hexapla.translate.spec import TranslateSpec


@dataclass(frozen=True)
class Evaluation:
    """What to measure: test corpora as `key=value` words, and how."""

    corpora: tuple[str, ...]
    directions: tuple[str, ...] | None
    metrics: tuple[str, ...]
    limit: int | None
    seed: int
    decoding: TranslateSpec
