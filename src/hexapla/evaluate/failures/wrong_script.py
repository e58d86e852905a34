"""Translations in another script than the target's."""

from __future__ import annotations

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.text.characters import script_widths, scripts_of

_MIN_OWN = 0.25
_MAX_THIRD = 0.25
_OF_NAMES = "Latin"  # names and terms stand in Latin letters within every script, but in no other


class WrongScript(FailureRate):
    """Too little in the target's script, or much in a script that is neither that nor Latin; the reference is better.

    Shares are of widths, in which a Chinese character counts as the three letters that it replaces. It cannot tell
    simplified from traditional characters, nor Chinese from a Japanese text without kana.
    """

    title = "wrong script"

    def __init__(self, target: str, settings: MetricSettings) -> None:
        self.scripts = scripts_of(target)
        super().__init__(target, settings)

    def describe(self) -> str:
        """The limits and the scripts."""
        return f"rule:own<{_MIN_OWN:g},third>{_MAX_THIRD:g}|scripts:{','.join(self.scripts)}|excused-by:reference"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the script is wrong; None of texts without letters."""
        failed = map(self._is_wrong, segments.hypotheses)
        if segments.references is None:
            return list(failed)
        return [wrong and not self._is_wrong(text) for wrong, text in zip(failed, segments.references, strict=True)]

    def notes(self, segments: Segments) -> list[str | None]:
        """The widest wrong script of each translation that failed."""
        return [
            self._foreign(text) if failed else None
            for text, failed in zip(segments.hypotheses, self.judge(segments), strict=True)
        ]

    def _is_wrong(self, text: str) -> bool | None:
        widths = script_widths(text)
        total = sum(widths.values())
        if not total:
            return None
        own = sum(widths.get(script, 0.0) for script in self.scripts)
        latin = 0.0 if _OF_NAMES in self.scripts else widths.get(_OF_NAMES, 0.0)
        return own < _MIN_OWN * total or total - own - latin > _MAX_THIRD * total

    def _foreign(self, text: str) -> str:
        widths = {script: width for script, width in script_widths(text).items() if script not in self.scripts}
        return max(widths, key=lambda script: widths[script])
