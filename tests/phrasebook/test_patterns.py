"""The pattern language: fields, references, choices, and malformed patterns."""

from __future__ import annotations

import pytest

from hexapla.common.errors import UserError
from hexapla.phrasebook.language import Grammar, read_forms
from hexapla.phrasebook.patterns import PatternError, compile_pattern

SLOTS = {
    "item": {"": "kniha", "g": "f", "acc-f": "knihu"},
    "number": {"": "dva", "class": "few", "few-f": "dvě", "f": "dvě"},
}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("plain", "plain"),
        ("a {item} b", "a kniha b"),
        ("{item.acc-@item.g}", "knihu"),
        ("{number.@number.class-@item.g}!", "dvě!"),
        ("[item.g: m=on | f=ona {number}]", "ona dva"),
        ("x[item.g: m=y | *=z]", "xz"),
        ("[item.g: m,f=[number.class: few=2 | *=5] | n=0]", "2"),
        ("[item.g: f= | *=x]", ""),
    ],
)
def test_renders(pattern: str, text: str) -> None:
    assert compile_pattern(pattern)(SLOTS) == text


@pytest.mark.parametrize("pattern", ["{", "{Item}", "}", "[item.g: a=b", "[item: a=b]", "[item.g a=b]", "[item.g: ab]"])
def test_malformed(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_no_branch() -> None:
    with pytest.raises(KeyError, match="no branch for 'f'"):
        compile_pattern("[item.g: m=on]")(SLOTS)


def test_forms() -> None:
    assert read_forms(["a", "b", "c"], "x | = | ~", "here") == {"": "x", "a": "x", "b": "x", "c": ""}
    with pytest.raises(UserError, match="2 forms where 3"):
        read_forms(["a", "b", "c"], "x | y", "here")


def test_finish() -> None:
    grammar = Grammar("en", {}, {})
    assert grammar.finish("it rains  in .") == "It rains in."
    assert grammar.finish("¿dónde?") == "¿Dónde?"
