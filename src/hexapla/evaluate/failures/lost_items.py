"""Numbers, addresses and placeholders of the source that the translation lost."""

from __future__ import annotations

from collections.abc import Iterator

from hexapla.evaluate.failures.failure import FailureRate, references_or_none
from hexapla.evaluate.metrics.metric import Segments
from hexapla.text.items import MIN_NUMBER, PATTERNS, found_in, items_in


class LostItems(FailureRate):
    """An item of the source is missing. Only segments with items count; what the reference lacks too is no item.

    Numbers are compared by their digits, in whatever script, with whatever separators and power of ten (5.7 thousand
    is 5,700), those up to twelve left out. Numbers in words (`eighteen`) and converted units count as lost.
    """

    title = "lost items"
    needs = ("sources",)

    def describe(self) -> str:
        """The kinds of items and what excuses."""
        return f"rule:absent|items:number>={MIN_NUMBER},{','.join(PATTERNS)}|excused-by:reference|version:1"

    def judge(self, segments: Segments) -> list[bool | None]:
        """Whether an item was lost; None of segments without items."""
        return [None if lost is None else bool(lost) for lost in self._lost(segments)]

    def notes(self, segments: Segments) -> list[str | None]:
        """The kinds of the lost items."""
        return ["+".join(lost) if lost else None for lost in self._lost(segments)]

    def _lost(self, segments: Segments) -> Iterator[list[str] | None]:
        """Of each segment the kinds of which something was lost, sorted; None without items."""
        for hypothesis, source, reference in zip(
            segments.hypotheses, segments.required("sources"), references_or_none(segments), strict=True
        ):
            wanted = items_in(source)
            if wanted and reference is not None:
                wanted = found_in(wanted, reference)
            kept = found_in(wanted, hypothesis) if wanted else {}
            yield sorted({kind for item, kind in wanted.items() if item not in kept}) if wanted else None
