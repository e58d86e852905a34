"""A recipe's data before anything is trained: what cleaning takes, which examples are made, what corpora hold."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hexapla import languages
from hexapla.analyze.present import Column, Table, Value
from hexapla.analyze.repetition import Training
from hexapla.analyze.tables import to_text
from hexapla.common.artifacts import digest_of, read_json
from hexapla.common.errors import UserError, nearest
from hexapla.common.progress import Progress
from hexapla.data.auxiliaries import Auxiliaries, Coverage, choose_auxiliaries, coverage
from hexapla.data.cleaning import rows_of
from hexapla.data.examples import ExampleMaker, Tally, add_up
from hexapla.data.funnel import funnel_table
from hexapla.data.inspect import CorpusRecord, inspect_rows
from hexapla.data.readers.base import COMPRESSIONS, Reader
from hexapla.data.readers.jsonl import JsonlReader
from hexapla.data.readers.moses import MosesReader
from hexapla.data.readers.tmx import TmxReader
from hexapla.data.readers.tsv import TsvReader
from hexapla.data.records import SetAside
from hexapla.data.rows import Row
from hexapla.data.stage import build_corpus, stream_rows
from hexapla.data.storage import SUMMARY_FILE, TRAIN_FILE
from hexapla.pipeline.corpora import corpus_settings
from hexapla.pipeline.examples import example_maker
from hexapla.plan import Side
from hexapla.recipe import Recipe, bundled_recipes

_READERS: dict[str, type[JsonlReader] | type[TmxReader] | type[TsvReader]] = {
    ".jsonl": JsonlReader,
    ".json": JsonlReader,
    ".tmx": TmxReader,
    ".tsv": TsvReader,
    ".csv": TsvReader,
}
_BINS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, None))
_ROWS_AT_ONCE = 1_000  # between two steps of the progress
_NOT_MEASURED = "PMP chooses auxiliary languages by distance, which needs the base: they are chosen when it runs."
_NOT_MADE = "Corpora that `synthesize` makes are not there before the run, and not counted here."


@dataclass(frozen=True)
class ExamplesMade:
    """The training examples of one part of a recipe.

    Attributes:
        sides: what downsampling and PMP make of the examples of each side.
        before: target repetition without downsampling; `after`: with it.
        coverage: of the auxiliary languages; None without PMP, or where they are not known yet.
    """

    sides: Mapping[Side, Tally]
    before: Training
    after: Training
    coverage: tuple[Coverage, ...] | None


@dataclass(frozen=True)
class DataReport:
    """The data of the parts of a recipe that share their rows.

    Attributes:
        summary: of the corpus stage.
        examples: part (the empty name: the recipe itself) → its examples.
    """

    summary: dict[str, Any]
    examples: Mapping[str, ExamplesMade]
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """The funnel, then the examples, for the terminal."""
        tables = [_examples_table(self.examples), _repetition_table(self.examples), _coverage_table(self.examples)]
        shown = [to_text(table) for table in tables if table.rows]
        parts = [] if "" in self.examples else [f"Parts: {', '.join(self.examples)}"]
        return "\n\n".join([*parts, funnel_table(self.summary), *shown, *self.notes])

    def to_record(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "corpus": self.summary,
            "examples": {name: _made_record(made) for name, made in self.examples.items()},
            "notes": list(self.notes),
        }


def measure_data(recipe: Recipe) -> list[DataReport]:
    """Read, check and clean the corpora of a recipe and count its training examples; nothing is left on the disk.

    Returns:
        One report for all parts of the recipe that have the same rows; most often one.

    Raises:
        UserError: as the corpus stage; or no row has a direction's auxiliary language.
    """
    shared: dict[str, list[str]] = {}
    for name, part in recipe.parts.items():
        shared.setdefault(digest_of(corpus_settings(part)), []).append(name)
    return [_measure({name: recipe.parts[name] for name in names}) for names in shared.values()]


def _measure(parts: Mapping[str, Recipe]) -> DataReport:
    first = next(iter(parts.values()))
    with tempfile.TemporaryDirectory(prefix="hexapla-data-") as name:
        folder = Path(name)
        build_corpus(
            first.data,
            first.languages,
            folder,
            seed=first.seed,
            hubs=first.hubs,
            directions=first.layout.directions,
        )
        summary = read_json(folder / SUMMARY_FILE)
        made: dict[str, ExamplesMade] = {}
        by_settings: dict[str, ExamplesMade] = {}
        before = _training(replace(example_maker(first), downsample=None), first, folder / TRAIN_FILE)
        for part_name, part in parts.items():
            settings = part.data.model_dump_json(include={"downsample", "pmp"})
            if settings not in by_settings:
                by_settings[settings] = _make(part, folder / TRAIN_FILE, before)
            made[part_name] = by_settings[settings]
    notes = []
    if any(part.data.pmp is not None and part.data.pmp.auxiliary == "distance" for part in parts.values()):
        notes.append(_NOT_MEASURED)
    if any(part.synthesize for part in parts.values()):
        notes.append(_NOT_MADE)
    return DataReport(summary, made, tuple(notes))


def _make(recipe: Recipe, train: Path, before: Training) -> ExamplesMade:
    """The examples of the cleaned rows in a file."""
    auxiliaries: Auxiliaries | None = None
    if recipe.data.pmp is not None and recipe.data.pmp.auxiliary != "distance":
        auxiliaries = choose_auxiliaries(recipe.data.pmp, recipe.languages, recipe.hubs, seed=recipe.seed)
    maker = example_maker(recipe, auxiliaries)
    return ExamplesMade(
        add_up(maker.tally(stream_rows(train), recipe.layout.directions), recipe.layout.side),
        before,
        before if recipe.data.downsample is None else _training(maker, recipe, train),
        None if auxiliaries is None else tuple(coverage(auxiliaries, stream_rows(train))),
    )


def _training(maker: ExampleMaker, recipe: Recipe, train: Path) -> Training:
    examples = maker.training(stream_rows(train), recipe.layout.directions)
    return Training.of(((example.direction, example.target) for example in examples), recipe.layout)


def _examples_table(made: Mapping[str, ExamplesMade]) -> Table:
    columns = (
        Column("part"),
        Column("side"),
        Column("possible", 0),
        Column("trained on", 0),
        Column("%", 1),
        Column("to show an auxiliary", 0),
        Column("show it", 0),
    )
    rows: list[tuple[Value, ...]] = [
        (
            name,
            side.value,
            tally.available,
            tally.kept,
            100 * tally.kept / tally.available if tally.available else None,
            tally.wanted,
            tally.shown,
        )
        for name, one in made.items()
        for side, tally in sorted(one.sides.items(), key=lambda item: list(Side).index(item[0]))
    ]
    return _slim(Table("examples", "Training examples", columns, tuple(rows)))


def _repetition_table(made: Mapping[str, ExamplesMade]) -> Table:
    """Target repetition into the hubs before and after downsampling, which is once where nothing is downsampled."""
    found: list[tuple[list[str], str, Training]] = []
    for name, one in made.items():
        if not found:
            found.append(([""], "no", one.before))
        same = next((names for names, _, training in found[1:] if training == one.after), None)
        if same is not None:
            same.append(name)
        elif one.after is not one.before:
            found.append(([name], "yes", one.after))
    columns = (
        Column("part"),
        Column("downsampled"),
        Column("into"),
        Column("distinct targets", 0),
        Column("mean occurrences", 2),
        *(Column(_bin_name(low, high), 0) for low, high in _BINS),
        Column("most", 0),
    )
    rows: list[tuple[Value, ...]] = []
    for names, downsampled, training in found:
        name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        for hub, counted in training.repetition.items():
            if not hub and len(training.repetition) == 2:
                continue  # all hubs are the one
            bins = [
                sum(n for times, n in counted.histogram.items() if times >= low and (high is None or times <= high))
                for low, high in _BINS
            ]
            figures = (counted.num_distinct, counted.mean_occurrences, *bins, counted.max_occurrences)
            rows.append((name, downsampled, hub or "any hub", *figures))
    note = "Of the examples from other languages into a hub: distinct targets by how often they occur."
    return _slim(Table("repetition", "Target repetition", columns, tuple(rows), note))


def _coverage_table(made: Mapping[str, ExamplesMade]) -> Table:
    columns = (
        Column("part"),
        Column("hub"),
        Column("language"),
        Column("auxiliary"),
        Column("chosen by"),
        Column("rows", 0),
        Column("with it", 0),
        Column("%", 1),
    )
    different: dict[tuple[Coverage, ...], str] = {}
    for name, one in made.items():
        if one.coverage is not None:
            different.setdefault(one.coverage, name)
    rows: list[tuple[Value, ...]] = []
    for found, first in different.items():
        name = first if len(different) > 1 else ""
        for each in found:
            share = None if each.share is None or each.choice.code is None else 100 * each.share
            covered = None if each.choice.code is None else each.num_covered
            rows.append(
                (name, each.hub, each.other, each.choice.code, each.choice.found, each.num_rows, covered, share)
            )
    return _slim(Table("auxiliaries", "Auxiliary languages (PMP)", columns, tuple(rows)))


def _slim(table: Table) -> Table:
    """Without a column of parts where the recipe has none."""
    if any(row[0] for row in table.rows):
        return table
    return replace(table, columns=table.columns[1:], rows=tuple(row[1:] for row in table.rows))


def _bin_name(low: int, high: int | None) -> str:
    if low == high:
        return f"{low}×"
    return f"over {low - 1}×" if high is None else f"{low}–{high}×"


def _made_record(made: ExamplesMade) -> dict[str, Any]:
    def repetition(training: Training) -> dict[str, Any]:
        return {hub or "all": asdict(found) for hub, found in training.repetition.items()}

    return {
        "sides": {side.value: tally._asdict() for side, tally in made.sides.items()},
        "repetition_before": repetition(made.before),
        "repetition_after": repetition(made.after),
        "auxiliaries": None
        if made.coverage is None
        else [each._asdict() | {"choice": each.choice._asdict()} for each in made.coverage],
    }


def inspect_sources(
    names: Sequence[str], *, overrides: Sequence[str] = (), hubs: Sequence[str] = ("en",)
) -> Iterator[CorpusRecord]:
    """What the corpora of recipes, and files given as they are, hold; one record a corpus, as it is read.

    Args:
        names: recipes (files or bundled ones); files of JSON lines, TMX, TSV or CSV; prefixes of plain-text files.
        overrides: of the recipes.
        hubs: for the files, in any spelling; those of a recipe are its own.

    Raises:
        UserError: a name is none of these, or a corpus cannot be read.
    """
    codes = tuple(languages.get(hub).code for hub in hubs)
    everything = tuple(language.code for language in languages.all_languages())
    for name in names:
        if is_recipe(name):
            recipe = Recipe.load(name, overrides)
            for section, reader in _corpora(recipe):
                fewest = 1 if section == "monolingual" else 2
                items = _items(reader, recipe.languages, fewest)
                yield inspect_rows(f"{section} {reader.corpus}", items, recipe.hubs)
        else:
            yield inspect_rows(name, _items(file_reader(name), everything, 1), codes)


def is_recipe(name: str) -> bool:
    """Whether a name is that of a recipe: a bundled one, or a YAML file."""
    return name in bundled_recipes() or Path(name).suffix in (".yaml", ".yml")


def _corpora(recipe: Recipe) -> Iterator[tuple[str, Reader]]:
    """Section and corpus, over all parts of the recipe, each once."""
    seen = set()
    for part in recipe.parts.values():
        for section, readers in part.data.sections:
            for reader in readers:
                key = (section, reader.model_dump_json())
                if key not in seen:
                    seen.add(key)
                    yield section, reader


def file_reader(name: str) -> Reader:
    """The reader of a file by its ending, or of plain-text files side by side by what stands before the languages.

    Raises:
        UserError: no such file is of a known format.
    """
    plain = Path(name)
    if plain.suffix in COMPRESSIONS[1:]:
        plain = plain.with_suffix("")
    if plain.suffix in _READERS:
        return _READERS[plain.suffix].model_validate({"path": name})
    path = Path(name)
    if not path.parent.is_dir() or not any(each.name.startswith(f"{path.name}.") for each in path.parent.iterdir()):
        raise UserError(
            f"There is no recipe {name!r}, and no file of a known format.",
            hint=f"{nearest(name, bundled_recipes())} Files end in {', '.join(_READERS)} (before .gz or .zst); of "
            "plain-text files side by side give what stands before the languages (data/Europarl.de-en).",
        )
    return MosesReader.model_validate({"path": name})


def _items(reader: Reader, codes: tuple[str, ...], min_languages: int) -> Iterator[Row | SetAside]:
    progress = Progress(f"read {reader.corpus}", None, unit="records")
    number = 0
    for number, (_, item) in enumerate(rows_of(reader, codes, min_languages=min_languages), start=1):
        if number % _ROWS_AT_ONCE == 0:
            progress.advance(_ROWS_AT_ONCE)
        yield item
    progress.advance(number % _ROWS_AT_ONCE)
    progress.close()


def records_json(records: Iterable[dict[str, Any]]) -> str:
    """Records as one JSON array."""
    return json.dumps(list(records), ensure_ascii=False, indent=2)
