"""Items of a text that every translation of it holds too: addresses, tags, placeholders, numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MIN_NUMBER = 13  # smaller ones may be written out as words: ten, noon, December
PATTERNS = {
    "address": r"https?://[^\s<>\"]+[^\s<>\".,;:!?)\]'”»]|www\.[^\s<>\"]+[^\s<>\".,;:!?)\]'”»]|[\w.+-]+@[\w-]+\.[\w.-]*\w",
    "tag": r"</?[A-Za-z][^<>]*>|&(?:[a-z]+|#\d+);",
    "placeholder": (
        r"\$?\{\{?[^{}\s]{0,40}\}?\}|%\([A-Za-z_]\w*\)[sdif]"
        r"|(?<![\d%])%(?:\d+\$)?[+0#-]?\d*(?:\.\d+)?[sdifgxc@](?![A-Za-z])"
    ),
}
# A number may hold separators; a plain space stands before groups of three only.
_NUMBER = r"\d+(?:[.,'’٫٬\u00a0\u202f\u2009]\d+|\x20\d{3}(?!\d))*"
# What is in every item of a kind: to look for it takes less time than to look for the items.
_MARKS = {"address": ("://", "www.", "@"), "tag": ("<", "&"), "placeholder": ("{", "%")}
_MARK = re.compile(r"[\d@&<{%]|://|www\.")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
_HOUR = r"\b\d{1,2}:(?=[0-5]\d\b)"  # 19:45 is 7.45 p.m.; the minutes are the same


def items_in(text: str) -> dict[str, str]:
    """Every item of `text` → its kind; numbers in ASCII digits with their separators."""
    if _MARK.search(text) is None:
        return {}
    items: dict[str, str] = {}
    rest = text
    for kind in PATTERNS:
        if not any(mark in rest for mark in _MARKS[kind]):
            continue
        items |= dict.fromkeys(_compiled()[kind].findall(rest), kind)
        rest = _compiled()[kind].sub(" \n ", rest)
    numbers = _compiled()["number"].findall(_compiled()["hour"].sub("", _with_ascii_digits(rest)))
    return items | dict.fromkeys(filter(_is_large, numbers), "number")


def found_in(wanted: Mapping[str, str], text: str) -> dict[str, str]:
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
    return len(digits) > 1 if len(_parts(number)) > 1 else digits != "" and int(digits[:9]) >= MIN_NUMBER


def _significant(number: str) -> str:
    """Its digits without the zeros at the end, as long as two are left."""
    digits = "".join(_parts(number))
    return digits[:2] + digits[2:].rstrip("0")


def _parts(number: str) -> list[str]:
    return "".join(character if character.isdigit() else " " for character in number).split()


def _with_ascii_digits(text: str) -> str:
    """`text` with the decimal digits of all scripts as 0 to 9."""
    return text if text.isascii() else _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


@lru_cache(maxsize=1)
def _compiled() -> dict[str, Any]:
    import regex

    patterns = {**PATTERNS, "number": _NUMBER, "hour": _HOUR}
    return {name: regex.compile(pattern) for name, pattern in patterns.items()}
