"""Continued pre-training as a report shows it: what went in, how its loss fell by source, and the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hexapla import languages
from hexapla.analyze.present import Column, Section, Table, Value

_MIX = (
    "Shares and rows are those of the mix; a source is passed through again when it ends. Losses are means a learned "
    "token over the first and the last tenth of the steps that had any of the source."
)
_VOCABULARY = (
    "On a sample of the text for pre-training. ÷: tokens over those of the same sentences in that language. Split: "
    "share of tokens that hold a part of a character. Languages that put no spaces have no words to count."
)


def pretraining_section(record: Mapping[str, Any], vocabulary: Sequence[Mapping[str, Any]], hub: str) -> Section:
    """The section on one pre-trained base.

    Args:
        record: its `training.json`.
        vocabulary: fertility of every language, as JSON data.
        hub: code of the language that tokens are compared with.
    """
    items = [_sources(record)]
    if vocabulary:
        items.append(vocabulary_table(vocabulary, hub))
    text = record["text"]
    rate = record.get("tokens_per_s")
    intro = (
        f"{text['tokens']:,} tokens in {text['sequences']:,} packed sequences, {text['fill']:.1%} filled; "
        f"{record['num_steps']:,} steps" + (f", {rate:,.0f} tokens a second." if rate else ".")
    )
    return Section("pretraining", "Continued pre-training", intro, tuple(items))


def _sources(record: Mapping[str, Any]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for source in record["text"]["mix"]:
        losses = record["sources"].get(source["source"], {})
        rows.append(
            (
                source["source"],
                100 * source["share"],
                100 * source["taken_share"],
                source["tokens"],
                source["rows"],
                source["passes"],
                losses.get("first_loss"),
                losses.get("final_loss"),
            )
        )
    columns = (
        Column("source"),
        Column("asked %", 1),
        Column("taken %", 1),
        Column("tokens", 0),
        Column("rows", 0),
        Column("passes", 2),
        Column("first loss", 3),
        Column("final loss", 3),
    )
    return Table("pretraining-sources", "Sources of the mix", columns, tuple(rows), _MIX)


def vocabulary_table(records: Sequence[Mapping[str, Any]], hub: str) -> Table:
    """What the vocabulary makes of each language, those that take the most tokens for the same content first.

    Args:
        records: fertility of every language, as JSON data.
        hub: code of the language that tokens are compared with.
    """
    ordered = sorted(records, key=lambda each: (-(each["premium"] or 0.0), each["language"]))
    rows: list[tuple[Value, ...]] = [
        (
            languages.get(each["language"]).name,
            each["sentences"],
            each["tokens_per_word"],
            each["tokens_per_character"],
            each["bytes_per_token"],
            each["premium"],
            100 * each["split"],
            100 * each["unknown"],
        )
        for each in ordered
    ]
    columns = (
        Column("language"),
        Column("sentences", 0),
        Column("tokens/word", 2),
        Column("tokens/char", 2),
        Column("bytes/token", 2),
        Column(f"tokens ÷ {languages.get(hub).name}", 2),
        Column("split %", 1),
        Column("unknown %", 1),
    )
    title = "What the vocabulary makes of each language"
    return Table("vocabulary", title, columns, tuple(rows), _VOCABULARY)
