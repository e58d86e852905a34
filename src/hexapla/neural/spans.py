"""Errors in a translation: where, how severe, how sure; made of the tags of its tokens.

Shapes: T tokens of a translation, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from torch import Tensor

Severity = Literal["minor", "major", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
# As MQM counts errors (Freitag et al., 2021); xCOMET's authors add the critical ones.
_WEIGHTS: dict[Severity, int] = {"minor": 1, "major": 5, "critical": 10}
WORST = 25


@dataclass(frozen=True, slots=True)
class ErrorSpan:
    """An error in a translation, as unbabel-comet's `error_spans` describe it.

    Attributes:
        text: its tokens decoded: not always the characters from start to end, for what the tokenizer normalises is
            normalised, the letter that follows is counted where a space is the last token, and `<s>` stands where the
            error begins before the first word.
        severity: that of its first token.
        start, end: characters of the translation, the first that belongs to it and the first that does not; both 0
            where only `<s>` is tagged.
        confidence: mean probability of the tags of its tokens, 0 to 1.
    """

    text: str
    severity: Severity
    start: int
    end: int
    confidence: float


class TaggedTokens(NamedTuple):
    """An error in tokens: from `first` up to `end`, which does not belong to it."""

    first: int
    end: int
    severity: Severity
    confidence: float


def join_tags(tags_TL: Tensor) -> list[TaggedTokens]:
    """The errors in a sequence whose tokens are tagged one by one.

    Neighbouring tagged tokens are one error, as severe as its first. As in unbabel-comet, one that reaches to the end
    of the tokens is not counted.

    Args:
        tags_TL: probabilities of no error, minor, major and critical.
    """
    found: list[TaggedTokens] = []
    confidence_T, label_T = tags_TL.max(1)
    labels = label_T.tolist()
    first: int | None = None
    for token, label in enumerate(labels):
        if label and first is None:
            first = token
        elif not label and first is not None:
            sure = float(confidence_T[first:token].mean())
            found.append(TaggedTokens(first, token, SEVERITIES[labels[first] - 1], sure))
            first = None
    return found


def weigh(severities: Iterable[Severity]) -> int:
    """The weight of a translation's errors: minor, major and critical ones count 1, 5 and 10, `WORST` at most."""
    return min(sum(_WEIGHTS[severity] for severity in severities), WORST)
