"""What happened in a step of a whole model, by source of the text."""

from __future__ import annotations

from dataclasses import dataclass, field

from hexapla.train.result import StepRecord


@dataclass(frozen=True)
class SourcedRecord(StepRecord):
    """A line of `log.jsonl`.

    Attributes:
        losses: source → mean loss of its learned tokens, for the sources that the step had tokens of.
        tokens: source → its learned tokens.
    """

    losses: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
