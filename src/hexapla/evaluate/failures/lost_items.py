"""Numbers, addresses and placeholders of the source that the translation lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from hexapla.evaluate.failures.failure import FailureRate, references_or_none
from hexapla.evaluate.metrics.metric import Segments

_MIN_NUMBER = 13  # smaller ones may be written out as words: ten, noon, December
_PATTERNS = {
    "address": r"https?://[^\s<>\"]+[^\s<>\".,;:!?)\]'”»]|www\.[^\s<>\"]+[^\s<>\".,;:!?)\]'”»]|[\w.+-]+@[\w-]+\.[\w.-]*\w",
    "tag": r"</?[A-Za-z][^<>]*>|&(?:[a-z]+|#\d+);",
    "placeholder": (
        r"\$?\{\{?[^{}\s]{0,40}\}?\}|%\([A-Za-z_]\w*\)[sdif]"
        r"|(?<![\d%])%(?:\d+\$)?[+0#-]?\d*(?:\.\d+)?[sdifgxc@](?![A-Za-z])"
    ),
}
# A number may hold separators; a plain space stands before groups of three only.
_NUMBER = r"\d+(?:[.,'’٫٬\u00a0\u202f\u2009]\d+|\x20\d{3}(?!\d))*"
_HOUR = r"\b\d{1,2}:(?=[0-5]\d\b)"  # 19:45 is 7.45 p.m.; the minutes are the same


class LostItems(FailureRate):
    """An item of the source is missing. Only segments with items count; what the reference lacks too is no item.

    Numbers are compared by their digits, in whatever script, with whatever separators and power of ten (5.7 thousand
    is 5,700), those up to twelve left out. Numbers in words (`eighteen`) and converted units count as lost.
    """

    title = "lost items"
    needs = ("sources",)

    def describe(self) -> str:
        """The kinds of items and what excuses."""
        return f"rule:absent|items:number>={_MIN_NUMBER},{','.join(_PATTERNS)}|excused-by:reference|version:1"

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
            wanted = _items(source)
            if wanted and reference is not None:
                wanted = _found(wanted, reference)
            kept = _found(wanted, hypothesis) if wanted else {}
            yield sorted({kind for item, kind in wanted.items() if item not in kept}) if wanted else None


def _items(text: str) -> dict[str, str]:
    """Every item of `text` → its kind; numbers in ASCII digits with their separators."""
    if not any(character.isdigit() or character in "@&<{%/." for character in text):
        return {}
    items: dict[str, str] = {}
    rest = text
    for kind in _PATTERNS:
        items |= dict.fromkeys(_compiled()[kind].findall(rest), kind)
        rest = _compiled()[kind].sub(" \n ", rest)
    numbers = _compiled()["number"].findall(_compiled()["hour"].sub("", _with_ascii_digits(rest)))
    return items | dict.fromkeys(filter(_is_large, numbers), "number")


def _found(wanted: Mapping[str, str], text: str) -> dict[str, str]:
    """Those of `wanted` that are in `text`."""
    numbers = _numbers(text) if "number" in wanted.values() else set()
    return {
        item: kind
        for item, kind in wanted.items()
        if (item in text if kind != "number" else _has_number(numbers, item))
    }


def _numbers(text: str) -> set[str]:
    """Every number in `text`, with and without its separators taken for a part of it; years also as `20` of 1920."""
    found = _compiled()["number"].findall(_with_ascii_digits(text))
    parts = [part for number in found for part in _parts(number)]
    return {_significant(number) for number in (*found, *parts)} | {part[2:] for part in parts if len(part) == 4}


def _has_number(numbers: set[str], item: str) -> bool:
    """Whether a number is there as a whole, or all of its large parts are (dates, versions)."""
    if _significant(item) in numbers:
        return True
    parts = list(filter(_is_large, _parts(item)))
    return len(_parts(item)) > 1 and bool(parts) and all(_significant(part) in numbers for part in parts)


def _is_large(number: str) -> bool:
    """Whether a number is so large, or has so many digits behind its separator, that it will not be said in words."""
    digits = "".join(_parts(number)).lstrip("0")
    return len(digits) > 1 if len(_parts(number)) > 1 else digits != "" and int(digits[:9]) >= _MIN_NUMBER


def _significant(number: str) -> str:
    """Its digits without the zeros at the end, as long as two are left."""
    digits = "".join(_parts(number))
    return digits[:2] + digits[2:].rstrip("0")


def _parts(number: str) -> list[str]:
    return "".join(character if character.isdigit() else " " for character in number).split()


def _with_ascii_digits(text: str) -> str:
    """`text` with the decimal digits of all scripts as 0 to 9."""
    import unicodedata

    if text.isascii():
        return text
    return "".join(
        character if (digit := unicodedata.decimal(character, None)) is None else str(digit) for character in text
    )


@lru_cache(maxsize=1)
def _compiled() -> dict[str, Any]:
    import regex

    return {name: regex.compile(pattern) for name, pattern in {**_PATTERNS, "number": _NUMBER, "hour": _HOUR}.items()}
