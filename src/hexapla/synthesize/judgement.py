"""Translations that are no sentence pairs, whatever a score would say of them: each is dropped with a named reason.

The rules are those of the failure rates that `hexapla evaluate` measures, so that a failure is the same thing there and
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from hexapla.data.cleaning import check_text
from hexapla.data.records import Flaw
from hexapla.evaluate.failures.copied import Copied
from hexapla.evaluate.failures.looping import Looping
from hexapla.evaluate.failures.off_target import OffTarget
from hexapla.evaluate.failures.over_long import OverLong
from hexapla.evaluate.failures.wrong_script import WrongScript
from hexapla.evaluate.hypotheses import Hypothesis
from hexapla.evaluate.metrics import MetricSettings, Segments
from hexapla.languages import Direction

_REPLACEMENT = "\ufffd"


class Drop(StrEnum):
    """Why a translation does not go into the corpus."""

    SOURCE_TOO_LONG = "source-too-long"
    CUT_OFF = "cut-off"
    EMPTY = "empty"
    DAMAGED = "damaged-characters"
    LOOPING = "looping"
    COPIED = "copied"
    OVER_LONG = "over-long"
    OVER_SHORT = "over-short"
    WRONG_SCRIPT = "wrong-script"
    OFF_TARGET = "off-target"
    NO_PIVOT = "no-pivot"
    LOW_SCORE = "low-score"
    NOT_BEST = "not-among-the-best"


_BY_FINISH = {"too-long": Drop.SOURCE_TOO_LONG, "length": Drop.CUT_OFF, "loop": Drop.LOOPING}


class Judge:
    """Judges translations of one direction."""

    def __init__(self, direction: Direction, settings: MetricSettings) -> None:
        self._looping = Looping(direction.target, settings)
        self._copied = Copied(direction.target, settings)
        self._over_long = OverLong(direction.target, settings)
        self._wrong_script = WrongScript(direction.target, settings)
        self._off_target = OffTarget(direction.target, settings)

    @property
    def signatures(self) -> list[str]:
        """The rules with their limits."""
        rules = (self._looping, self._copied, self._over_long, self._wrong_script, self._off_target)
        return [rule.signature for rule in rules]

    def judge(self, sources: Sequence[str], hypotheses: Sequence[Hypothesis]) -> list[Drop | None]:
        """Why each translation is dropped; None of those that are not."""
        drops = [_fault_of_form(source, each) for source, each in zip(sources, hypotheses, strict=True)]
        return self.compare(sources, hypotheses, drops)

    def compare(
        self, sources: Sequence[str], hypotheses: Sequence[Hypothesis], drops: Sequence[Drop | None]
    ) -> list[Drop | None]:
        """The drops, and those that cannot be translations of these sources among them."""
        there = [position for position, drop in enumerate(drops) if drop is None]
        texts = [hypotheses[position].text for position in there]
        of_them = [sources[position] for position in there]
        pairs, turned = Segments(texts, None, of_them), Segments(of_them, None, texts)
        found = (
            (Drop.LOOPING, self._looping.judge(pairs)),
            (Drop.COPIED, self._copied.judge(pairs)),
            (Drop.OVER_LONG, self._over_long.judge(pairs)),
            (Drop.OVER_SHORT, self._over_long.judge(turned)),
            (Drop.WRONG_SCRIPT, self._wrong_script.judge(pairs)),
            (Drop.OFF_TARGET, self._off_target.judge(pairs)),
        )
        judged = list(drops)
        for number, position in enumerate(there):
            judged[position] = next((drop for drop, failed in found if failed[number]), None)
        return judged


def _fault_of_form(source: str, hypothesis: Hypothesis) -> Drop | None:
    """Why a translation cannot stand in a row, whatever it says."""
    if hypothesis.finish in _BY_FINISH:
        return _BY_FINISH[hypothesis.finish]
    if not hypothesis.text.strip():
        return Drop.EMPTY
    is_damaged = isinstance(check_text(hypothesis.text), Flaw)
    is_damaged |= _REPLACEMENT in hypothesis.text and _REPLACEMENT not in source
    return Drop.DAMAGED if is_damaged else None
