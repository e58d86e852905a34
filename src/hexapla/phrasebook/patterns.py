"""The little language of sentence patterns, compiled to closures because the corpus realizes 170,000 of them at once.

    {slot}                    the first form of the concept in `slot`
    {slot.form}               the form called `form`
    {slot.form@other.name}    `form` + the value of other's form `name`: `{adjective.acc-@item.gender}` reads `acc-f`
    [slot.form: a=x | b=y]    the pattern `x` where that form is `a`, `y` where `b`; `a,b=` for both, `*=` for others

Several references may follow each other: `{activity.@tense.name-@person.agr}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Forms = Mapping[str, str]
"""The forms of one concept in one language, by form name; the empty name is the first form."""

Render = Callable[[Mapping[str, Forms]], str]
"""A compiled pattern: from the forms in each slot to the text."""

_FIELD = re.compile(r"\{([a-z_]+)(?:\.([a-z0-9_@.-]+))?\}")
_REFERENCE = re.compile(r"@([a-z_]+)\.([a-z0-9_]+)")


class PatternError(ValueError):
    """A pattern that cannot be read."""


def compile_pattern(pattern: str) -> Render:
    """Compile `pattern`.

    Raises:
        PatternError: unbalanced brackets or a malformed field.
    """
    parts: list[str | Render] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "{":
            match = _FIELD.match(pattern, position)
            if match is None:
                raise PatternError(f"malformed field at {pattern[position : position + 25]!r}")
            parts.append(_field(match[1], match[2] or ""))
            position = match.end()
        elif character == "[":
            end = _closing(pattern, position)
            parts.append(_choice(pattern[position + 1 : end]))
            position = end + 1
        elif character in "}]":
            raise PatternError(f"unexpected {character!r} at {pattern[position:]!r}")
        else:
            end = min((i for mark in "{[}]" if (i := pattern.find(mark, position)) >= 0), default=len(pattern))
            parts.append(pattern[position:end])
            position = end
    return _joined(parts)


def _joined(parts: list[str | Render]) -> Render:
    texts = [part if isinstance(part, str) else None for part in parts]
    renders = [None if isinstance(part, str) else part for part in parts]

    def render(slots: Mapping[str, Forms]) -> str:
        pieces = []
        for text, inner in zip(texts, renders, strict=True):
            pieces.append(inner(slots) if inner is not None else text or "")
        return "".join(pieces)

    return render


def _field(slot: str, form: str) -> Render:
    if "@" not in form:
        return lambda slots: slots[slot][form]
    stem, *references = _split_references(form)

    def render(slots: Mapping[str, Forms]) -> str:
        name = stem
        for other, key, tail in references:
            name += slots[other][key] + tail
        return slots[slot][name]

    return render


def _split_references(form: str) -> tuple[str, *tuple[tuple[str, str, str], ...]]:
    matches = list(_REFERENCE.finditer(form))
    if not matches:
        raise PatternError(f"malformed reference in {form!r}")
    ends = [match.start() for match in matches[1:]] + [len(form)]
    references = [(m[1], m[2], form[m.end() : end]) for m, end in zip(matches, ends, strict=True)]
    return (form[: matches[0].start()], *references)


def _closing(pattern: str, start: int) -> int:
    depth = 0
    for position in range(start, len(pattern)):
        depth += {"[": 1, "]": -1}.get(pattern[position], 0)
        if depth == 0:
            return position
    raise PatternError(f"no closing ] for {pattern[start:]!r}")


def _choice(body: str) -> Render:
    head, colon, rest = body.partition(":")
    slot, dot, form = head.strip().partition(".")
    if not colon or not dot:
        raise PatternError(f"a choice reads [slot.form: a=x | b=y], not [{body}]")
    branches: dict[str, Render] = {}
    for branch in _split_bars(rest):
        value, equals, text = branch.strip().partition("=")
        if not equals:
            raise PatternError(f"no = in the branch {branch!r}")
        for one in value.split(","):
            branches[one.strip()] = compile_pattern(text)
    otherwise = branches.get("*")

    def render(slots: Mapping[str, Forms]) -> str:
        branch = branches.get(slots[slot][form], otherwise)
        if branch is None:
            raise KeyError(f"{slot}.{form}: no branch for {slots[slot][form]!r}")
        return branch(slots)

    return render


def _split_bars(text: str) -> list[str]:
    """Split at the bars that are outside inner brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "|" and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]
