"""COMET's models on plain torch: published checkpoints in, scores out, without unbabel-comet and its pinned packages.

Files of the checkpoint and the encoder are found and read first, the weights last. Importing is light.
`docs/measurement.md` says what equals what.
"""

from hexapla.neural.scorer import Scorer, load_scorer

__all__ = ["Scorer", "load_scorer"]
