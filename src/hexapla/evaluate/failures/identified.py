"""What the failure rates that identify languages have in common."""

from __future__ import annotations

from collections.abc import Sequence

from hexapla.evaluate.failures.failure import FailureRate
from hexapla.evaluate.metrics.metric import Segments
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.identification import Identified, are_relatives, language_of, make_identifier


class LanguageRate(FailureRate):
    """Knows the language of each text, and how it is related to the target.

    Languages are compared without script and region: `wrong-script` is for scripts, and no identifier tells pt from
    pt_BR well. Identifiers remember texts, so that several rates and the notes cost one identification.
    """

    def __init__(self, target: str, settings: MetricSettings) -> None:
        self.identifier = make_identifier(settings.identification)
        self.language = language_of(target)
        super().__init__(target, settings)

    def languages(self, segments: Segments) -> list[Identified | None]:
        """The language of each translation; None where it is unknown.

        It is unknown as well where the reference is taken for the same wrong language: names, mostly, led astray.
        """
        found = self.identify(segments.hypotheses)
        if segments.references is None:
            return found
        return [
            None
            if of_hypothesis is not None
            and of_reference is not None
            and of_hypothesis.code == of_reference.code != self.language
            else of_hypothesis
            for of_hypothesis, of_reference in zip(found, self.identify(segments.references), strict=True)
        ]

    def identify(self, texts: Sequence[str]) -> list[Identified | None]:
        """The language of each text; None where it is unknown, as everything is if the target is not covered."""
        if not self.identifier.covers(self.target):
            return [None] * len(texts)
        return self.identifier.identify(texts)

    def is_relative(self, found: Identified) -> bool:
        """Whether this is a close relative of the target."""
        return are_relatives(found.code, self.language)

    def is_other(self, found: Identified) -> bool:
        """Whether this is neither the target nor a close relative."""
        return found.code != self.language and not self.is_relative(found)
