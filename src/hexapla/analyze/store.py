"""Sections of an analysis on disk: `sections.json`, so that a report can be written again without measuring again."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hexapla.analyze import present
from hexapla.common.artifacts import read_json, write_json
from hexapla.common.errors import CorruptArtifactError

SECTIONS_FILE = "sections.json"
_KINDS = {kind.__name__: kind for kind in get_args(present.Item)}


def write_sections(folder: Path, sections: Iterable[present.Section]) -> None:
    """Write them, in their order."""
    records = []
    for section in sections:
        record = dataclasses.asdict(section)
        record["items"] = [
            {"kind": type(item).__name__, **values} for item, values in zip(section.items, record["items"], strict=True)
        ]
        records.append(record)
    write_json(folder / SECTIONS_FILE, records)


def read_sections(folder: Path) -> list[present.Section]:
    """Read what `write_sections` wrote.

    Raises:
        CorruptArtifactError: it is missing or damaged.
    """
    where = folder / SECTIONS_FILE
    records = read_json(where)
    try:
        return [_section(record) for record in records]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptArtifactError(f"A field is missing or of the wrong kind ({error}).", where=str(where)) from error


def _section(record: dict[str, Any]) -> present.Section:
    items = tuple(
        _build(_KINDS[item["kind"]], {key: value for key, value in item.items() if key != "kind"})
        for item in record["items"]
    )
    return present.Section(record["anchor"], record["title"], record["intro"], items, tuple(record["notes"]))


def _build(kind: Any, value: Any) -> Any:
    """JSON data as the type that a field of `present` is declared to have."""
    if value is None:
        return None
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _build(hints[name], field) for name, field in value.items()})
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_build(each, field) for each, field in zip(inner, value, strict=True))
    if get_origin(kind) is dict:
        return {name: _build(arguments[1], field) for name, field in value.items()}
    if get_origin(kind) in (Union, types.UnionType):
        containers = [each for each in arguments if get_origin(each) is tuple]
        return _build(containers[0], value) if containers and isinstance(value, list) else value
    return value
