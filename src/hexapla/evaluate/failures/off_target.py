"""Translations in another language than the one that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexapla.evaluate.failures.identified import LanguageRate
from hexapla.evaluate.metrics.metric import Segments

if TYPE_CHECKING:
    import numpy as np

UNKNOWN = "unknown"


class OffTarget(LanguageRate):
    """The share of translations in another language, of those whose language could be identified.

    A close relative of the target is not off-target; `related` counts those. What cannot be identified (short, not
    sure enough, a target that the identifier does not cover) is unknown and counts nowhere.

    Statistics are [off-target, counted, related, unknown, off-target references, counted references]: identifying
    the references shows how often the identifier errs; `companions` turns the sums into rates.
    """

    title = "off-target"

    def describe(self) -> str:
        """The identifier with its version and limits."""
        return f"rule:other-language|{self.identifier.signature}|relatives:apart|excused-by:reference"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether the translation is in a language that is neither the target nor a close relative."""
        return [None if found is None else self.is_other(found) for found in self.languages(segments)]

    def statistics(self, segments: Segments) -> list[list[float]]:
        """Six columns, see the class; those of the references are 0 where there are none."""
        references = segments.references
        of_references = self.identify(references) if references is not None else [None] * len(segments.hypotheses)
        return [
            [
                float(found is not None and self.is_other(found)),
                float(found is not None),
                float(found is not None and self.is_relative(found)),
                float(found is None),
                float(of_reference is not None and self.is_other(of_reference)),
                float(of_reference is not None),
            ]
            for found, of_reference in zip(self.languages(segments), of_references, strict=True)
        ]

    def notes(self, segments: Segments) -> list[str | None]:
        """The language of each translation that is off-target; `unknown` where it could not be identified."""
        return [
            UNKNOWN if found is None else found.code if self.is_other(found) else None
            for found in self.languages(segments)
        ]

    @classmethod
    def companions(cls, sums: np.ndarray) -> dict[str, np.ndarray]:
        """What belongs beside the rate, in percent, from [S, 6], sums of the statistics of S sets.

        Returns:
            [S] each, NaN where there is nothing: `related`, the share of close relatives among the identified;
            `unknown`, of all translations; `references`, the share of references identified as another language,
            which is the identifier's own error.
        """
        import numpy as np

        def rate(column: int, total: np.ndarray) -> np.ndarray:
            return np.where(total > 0, cls.scale * sums[:, column] / np.maximum(total, 1.0), np.nan)

        return {
            "related": rate(2, sums[:, 1]),
            "unknown": rate(3, sums[:, 1] + sums[:, 3]),
            "references": rate(4, sums[:, 5]),
        }
