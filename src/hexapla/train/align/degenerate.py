"""Losses that align and had nothing to tell apart: a user is told of each once for a model or adapter."""

from __future__ import annotations

from hexapla.common.progress import EventLog
from hexapla.train.align.objective import AlignmentValues


def tell_degenerate(values: AlignmentValues, told: list[str], log: EventLog, *, adapter: str, step: int) -> None:
    """Log the losses of a step that had nothing to tell apart and add them to those told of, which are passed over.

    Args:
        told: kept in checkpoints, so that it stays at once when a run is taken up again.
    """
    for part in values.degenerate:
        if part not in told:
            log.write("train-degenerate", adapter=adapter, part=part, step=step)
            told.append(part)
