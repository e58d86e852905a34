"""The report as Markdown, its charts as files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from hexapla.analyze.present import Section, Table
from hexapla.analyze.tables import file_stem, markdown_text, to_markdown


def to_page(name: str, facts: Sequence[tuple[str, str]], warnings: Sequence[str], sections: Sequence[Section]) -> str:
    """Facts, warnings, then all tables and charts by section; `figures/` and `tables/` lie beside the file."""
    parts = [f"# {markdown_text(name)}"]
    parts.append("\n".join(f"* {markdown_text(title)}: {markdown_text(value)}" for title, value in facts))
    if warnings:
        parts.append("## Read this first")
        parts.append("\n".join(f"* {markdown_text(warning)}" for warning in warnings))
    for section in sections:
        parts.append(f"## {markdown_text(section.title)}")
        if section.intro:
            parts.append(markdown_text(section.intro))
        for item in section.items:
            parts.append(f"### {markdown_text(item.title)}")
            if isinstance(item, Table):
                if item.is_long:
                    parts.append(f"{len(item.rows):,} lines, too many for this page:")
                else:
                    parts.append(to_markdown(item).rstrip("\n"))
                parts.append(f"[CSV](tables/{quote(file_stem(item.name))}.csv)")
            else:
                parts.append(f"![{markdown_text(item.title)}](figures/{quote(file_stem(item.name))}.svg)")
                parts.append(
                    f"[SVG](figures/{quote(file_stem(item.name))}.svg), [CSV](tables/{quote(file_stem(item.name))}.csv)"
                )
            if item.note:
                parts.append(markdown_text(item.note))
        parts += [markdown_text(note) for note in section.notes]
    return "\n\n".join(parts) + "\n"
