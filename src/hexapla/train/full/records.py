"""What happened in a step of a whole model, by source of the text."""

from __future__ import annotations

from dataclasses import dataclass, field

from hexapla.train.result import StepRecord

_SHOWN = ("semantic", "matching")  # objectives that a line of progress has room for


@dataclass(frozen=True)
class SourcedRecord(StepRecord):
    """A line of `log.jsonl`.

    Attributes:
        losses: source → mean loss of its learned tokens, for the sources that the step had tokens of.
        tokens: source → its learned tokens.
    """

    losses: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The losses, for people who watch."""
        shown = {"loss": self.loss, **{name: self.objectives[name] for name in _SHOWN if name in self.objectives}}
        return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())


@dataclass
class Diverged(Exception):  # noqa: N818  no error: an outcome
    """A loss or gradient is not finite; `record` is of the step that could not be made."""

    record: SourcedRecord
