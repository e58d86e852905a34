"""Where the figures come from: test sets, signatures, pools, recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hexapla.analyze.present import Column, Table, Value
from hexapla.evaluate.comparison import metric_signatures
from hexapla.evaluate.scores import ScoreTable


def tests_table(tables: Sequence[ScoreTable]) -> Table:
    """The test sets with their sizes and the directions in which they have no rows."""
    first = tables[0]
    rows: list[tuple[Value, ...]] = []
    for name in first.tests:
        entries = [entry for entry in first.entries if entry.test == name]
        missing = ", ".join(str(entry.direction) for entry in entries if entry.num_segments == 0)
        num_directions = sum(entry.num_segments > 0 for entry in entries)
        rows.append((name, num_directions, sum(entry.num_segments for entry in entries), missing or "none"))
    columns = (Column("test set"), Column("directions", 0), Column("sentences", 0), Column("without rows"))
    return Table("tests", "Test sets", columns, tuple(rows))


def signatures_table(tables: Sequence[ScoreTable]) -> Table:
    """Every different signature, with the languages that it was used for."""
    columns = (Column("metric"), Column("signature"), Column("into"))
    return Table("signatures", "Metric signatures", columns, tuple(metric_signatures(tables)))


def texts(recipe: Mapping[str, Any], corpus: Mapping[str, Any], tables: Sequence[ScoreTable]) -> dict[str, Any]:
    """What is shown as it is: digests of the pools, decoder, corpus and recipe."""
    import yaml

    decoder = tables[0].identity.get("translate") or {}
    return {
        "digests": [(table.pool, table.identity.get("pool")) for table in tables],
        "decoder": ", ".join(f"{key} {value}" for key, value in decoder.items()),
        "corpus": yaml.safe_dump(dict(corpus), allow_unicode=True, sort_keys=False),
        "recipe": yaml.safe_dump(dict(recipe), allow_unicode=True, sort_keys=False),
    }
