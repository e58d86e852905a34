"""Settings as people write them: YAML documents, and `a.b=value` words over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from hexapla.common.errors import UserError
from hexapla.common.spec import Spec, validation_message

_S = TypeVar("_S", bound=Spec)


class _Loader(yaml.SafeLoader):
    """As YAML 1.2: `no` is Norwegian, not false; `2e-3` is a number; 0:1500 is no time; a key may not stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, *, where: str) -> Any:
    """The value of a YAML document.

    Raises:
        UserError: it is no YAML; the message has line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise UserError(f"This is not valid YAML: {error.problem}.", where=place) from error
    except yaml.YAMLError as error:
        raise UserError(f"This is not valid YAML: {error}.", where=where) from error


def apply_override(document: dict[str, Any], override: str) -> None:
    """Set what `a.b=value` says, the value in YAML."""
    key, separator, text = override.partition("=")
    where = f"--set {override}"
    if not separator or not key:
        raise UserError("A setting is written a.b=value.", where=where)
    set_value(document, key, parse_yaml(text, where=where), where=where)


def set_value(document: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    """Set one value in the document, making maps on the way where nothing stands yet.

    Args:
        key: `a.b.c`; items of lists by position.
        where: what to name in an error.
    """
    *parents, last = key.split(".")
    current: Any = document
    for depth, part in enumerate(parents):
        if isinstance(current, list):
            current = current[_position(part, current, where)]
        elif isinstance(current, dict):
            if current.get(part) is None:
                current[part] = {}
            current = current[part]
        else:
            raise UserError(f"{'.'.join(parents[:depth])} is a single value, it has no keys.", where=where)
    if isinstance(current, list):
        current[_position(last, current, where)] = value
    elif isinstance(current, dict):
        current[last] = value
    else:
        raise UserError(f"{'.'.join(parents)} is a single value, it has no keys.", where=where)


def parse_settings(spec: type[_S], overrides: Sequence[str]) -> _S:
    """Settings given as `a.b=value` words, over the defaults.

    Raises:
        UserError: a word without `=`, an unknown key, a wrong value.
    """
    document: dict[str, Any] = {}
    for override in overrides:
        apply_override(document, override)
    try:
        return spec.model_validate(document)
    except ValidationError as error:
        raise validation_message(error, spec, "--set") from error


def _position(part: str, items: list[Any], where: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise UserError(f"{part!r} is no position in a list of {len(items)} (counting from 0).", where=where)
    return int(part)
