"""TMX 1.4 translation memories (LISA/GALA OSCAR): streamed unit by unit, with no entity, DTD or network access.

Inline elements: `hi` marks text, which is kept; `bpt ept ph it ut` hold native codes and `sub` a separate flow inside
them, which are left out, as a level-1 reader does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hexapla.common.errors import UserError
from hexapla.common.textfiles import open_binary
from hexapla.data.codes import find_code
from hexapla.data.readers.base import PathReader, existing, require_file
from hexapla.data.records import Flaw, Reason, Record

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut", "sub"})


class TmxReader(PathReader):
    """A TMX file; a unit with several languages gives one row."""

    reader: Literal["tmx"] = Field("tmx", description="TMX 1.4 translation memory.")

    def records(self, languages: tuple[str, ...]) -> Iterator[Record]:
        """One record a unit; memory does not grow with the file.

        Raises:
            UserError: the file is missing or is no sound XML.
        """
        from lxml import etree

        path = existing(self.path)
        codes = self._spellings()
        named = frozenset(codes.values())
        wanted = set(self.wanted(languages))
        with open_binary(path) as file:
            units = etree.iterparse(
                file,
                events=("end",),
                tag="{*}tu",
                resolve_entities=False,
                load_dtd=False,
                no_network=True,
                huge_tree=False,
            )
            try:
                for number, (_, unit) in enumerate(units, 1):
                    yield _record(unit, number, codes, named, wanted)
                    _forget(unit)
            except etree.XMLSyntaxError as error:
                raise UserError(f"This is not sound XML ({error.msg}).", where=f"{path}:{error.lineno}") from error

    def files(self, languages: tuple[str, ...]) -> tuple[Path, ...]:
        """The file."""
        require_file(existing(self.path))
        return (existing(self.path),)

    def _spellings(self) -> dict[str, str | None]:
        """Spelling in lower case → canonical code, as far as the recipe says; the rest is looked up when met."""
        if not isinstance(self.languages, dict):
            return {}
        return {str(spelling).lower(): code for code, spelling in self.languages.items()}


def _record(
    unit: Any, number: int, codes: dict[str, str | None], named: frozenset[str | None], wanted: set[str]
) -> Record:
    """The record of a unit; spellings met for the first time are added to `codes`."""
    texts: dict[str, str | Flaw] = {}
    alternatives: list[tuple[str, str]] = []
    for variant in unit:
        if not _is(variant, "tuv"):
            continue
        spelling = (variant.get(_XML_LANG) or variant.get("lang") or "").strip().lower()
        if spelling not in codes:
            code = find_code(_tag_case(spelling), wanted) if spelling else None
            codes[spelling] = None if code in named else code
        code = codes[spelling]
        segment = next((child for child in variant if _is(child, "seg")), None)
        if code is None or code not in wanted or segment is None:
            continue
        text = _text(segment)
        if code not in texts:
            texts[code] = text
        else:
            alternatives.append((code, text.text if isinstance(text, Flaw) else text))
    return Record(number, texts, alternatives=tuple(alternatives))


def _tag_case(spelling: str) -> str:
    """A BCP 47 tag in its usual case, which TMX files do not keep: `pt-br` becomes `pt-BR`."""
    language, *rest = spelling.replace("_", "-").split("-")
    cased = {4: str.title, 2: str.upper}
    return "-".join([language, *(cased.get(len(part), str)(part) for part in rest)])


def _is(element: Any, name: str) -> bool:
    """Whether an element has this local name; comments and entities have no name."""
    tag = element.tag
    return isinstance(tag, str) and (tag == name or tag.endswith(f"}}{name}"))


def _text(segment: Any) -> str | Flaw:
    """The translatable text of a segment."""
    if not len(segment):
        return segment.text or ""
    parts: list[str] = []
    if not _gather(segment, parts):
        return Flaw(Reason.ENTITY, "".join(parts))
    return "".join(parts)


def _gather(element: Any, parts: list[str]) -> bool:
    """Append the text of an element in document order; False when an unresolved entity stands in it."""
    from lxml import etree

    parts.append(element.text or "")
    for child in element:
        if child.tag is etree.Entity:
            return False
        is_markup = isinstance(child.tag, str)
        if is_markup and etree.QName(child).localname not in _CODES and not _gather(child, parts):
            return False
        parts.append(child.tail or "")
    return True


def _forget(unit: Any) -> None:
    """Free a unit and what stands before it, so that the tree stays small."""
    unit.clear(keep_tail=False)
    parent = unit.getparent()
    while parent is not None and unit.getprevious() is not None:
        del parent[0]
