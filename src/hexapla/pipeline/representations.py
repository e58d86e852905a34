"""Look inside models: profiles of pools and bases as artifacts, for `hexapla run` and on its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexapla import languages
from hexapla.analyze.exports import write_analysis
from hexapla.analyze.present import Table
from hexapla.analyze.representations.profile import RepresentationProfile
from hexapla.analyze.representations.section import representations_section
from hexapla.analyze.representations.spec import RepresentationsSpec
from hexapla.analyze.representations.stage import System, profile_system, reading_adapters
from hexapla.analyze.representations.storage import load_profile, save_profile
from hexapla.analyze.tables import file_stem, to_text
from hexapla.base import Base, fingerprint
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.data.readers.base import Reader
from hexapla.data.readers.ntrex import NtrexReader
from hexapla.data.readers.phrasebook import PhrasebookReader
from hexapla.data.rows import Row
from hexapla.data.spec import HELD_OUT
from hexapla.data.splits import hold_out
from hexapla.data.stage import read_corpus_rows
from hexapla.pipeline.data import file_reader, is_recipe
from hexapla.pipeline.evaluation import parse_corpus
from hexapla.pipeline.finished import RUN_FILE, FinishedRun
from hexapla.pipeline.workspace import MADE_BY_RUN, Workspace
from hexapla.pool import POOL_FILE, Pool
from hexapla.recipe import Recipe
from hexapla.representations.layers import resolve_layer
from hexapla.train.align.objectives import AlignmentSpec

OUT = "representations"
"""The folder of the results where none is named."""
_PRINTED = "representations-summary"


@dataclass(frozen=True)
class LookInside:
    """What to look into, as the command line says it.

    Attributes:
        names: folders of pools, and bases.
        data: recipes, folders of finished runs or of NTREX, files, prefixes, `phrasebook`, or corpora as in a recipe.
        languages: in any spelling; None: those of the data that all pools have.
    """

    names: tuple[str, ...]
    data: tuple[str, ...]
    languages: tuple[str, ...] | None
    spec: RepresentationsSpec


def look_inside(request: LookInside, out: Path | None) -> str:
    """Measure every model on the same rows, write page, tables and figures, and return the summary.

    Interrupted, the same call finds what was measured of the models before.

    Raises:
        UserError: a name is neither pool nor base, or given twice; the data cannot be read, lack a language or have
            fewer than two that share rows.
    """
    systems = find_systems(request.names)
    rows, codes = _read_data(request.data, request.languages, systems)
    for system in systems:
        reading_adapters(system.pool, codes)  # refuses what cannot be read, before anything is
    folder = out if out is not None else Path(OUT)
    with Workspace.open(folder) as workspace:
        profiles = [
            load_profile(profile_artifact(system, rows, codes, request.spec, workspace, seed=0)) for system in systems
        ]
    section = representations_section(profiles, aligned_layer=aligned_layer(systems, profiles))
    write_analysis(folder, " and ".join(system.name for system in systems), [section])
    shown = [to_text(item) for item in section.items if isinstance(item, Table) and item.name == _PRINTED]
    return "\n\n".join([*shown, *section.notes, f"analysis  {folder}"])


def profiles_of(
    pools: Mapping[str, Pool],
    tests: Mapping[str, Sequence[Row]],
    codes: Sequence[str],
    spec: RepresentationsSpec,
    workspace: Workspace,
    *,
    seed: int,
) -> dict[str, Path]:
    """Name of a pool → folder of its profile, on the rows of all test sets together.

    Args:
        pools: the bare base among them.

    Raises:
        UserError: as `profile_system`.
    """
    rows = [row for test in tests.values() for row in test]
    return {
        name: profile_artifact(System(name, pool.description.base, pool), rows, codes, spec, workspace, seed=seed)
        for name, pool in pools.items()
    }


def profile_artifact(
    system: System,
    rows: Sequence[Row],
    codes: Sequence[str],
    spec: RepresentationsSpec,
    workspace: Workspace,
    *,
    seed: int,
) -> Path:
    """The folder of a system's profile, measured once for the same weights, rows, languages and settings.

    Raises:
        UserError: as `profile_system`.
    """
    pool = system.pool
    adapters = reading_adapters(pool, codes)
    entries = {} if pool is None else pool.adapters
    key: dict[str, Any] = {
        "base": fingerprint(system.base) if pool is None else pool.description.base_fingerprint,
        "adapters": {
            code: None if name is None else [name, entries[name].weights_digest, entries[name].config_digest]
            for code, name in adapters.items()
        },
        "rows": digest_of([row.to_record() for row in rows]),
        "representations": spec.resolved(),
        "seed": seed,
    }

    def build(aside: Path, work: Path) -> None:
        save_profile(aside, profile_system(system, rows, codes, spec, work=work, seed=seed))

    return workspace.make("representations", file_stem(system.name), key, build)


def read_profiles(folders: Mapping[str, Path]) -> list[RepresentationProfile]:
    """The profiles in folders that `profiles_of` gave, in their order.

    Raises:
        CorruptArtifactError: one is damaged.
    """
    return [load_profile(folder) for folder in folders.values()]


def aligned_layer(systems: Sequence[System], profiles: Sequence[RepresentationProfile]) -> int | None:
    """The layer that the models were aligned at, as their pools say; of several, or of another depth than the first
    model's, none.
    """
    found = {
        (resolve_layer(objectives.layer, profile.depth, where=system.name), profile.depth)
        for system, profile in zip(systems, profiles, strict=True)
        if system.pool is not None
        for objectives in _acting_objectives(system.pool)
    }
    [(layer, depth)] = found if len(found) == 1 else [(None, 0)]
    return layer if depth == profiles[0].depth else None


def _acting_objectives(pool: Pool) -> Iterator[AlignmentSpec]:
    """The losses that aligned the base and the adapters of a pool, by the recipe of the run that trained it."""
    provenance = pool.description.provenance
    while "trained" in provenance:  # merged
        provenance = provenance["trained"]
    if provenance.get("made_by") != MADE_BY_RUN:
        return
    for stage in ("align", "train"):
        objectives = (provenance["recipe"].get(stage) or {}).get("objectives")
        if objectives is not None:
            known = {name: objectives[name] for name in ("layer", "semantic", "matching")}
            if (spec := AlignmentSpec(**known)).acts:
                yield spec


def find_systems(names: Sequence[str]) -> list[System]:
    """The pools and bases of these names; where two pools have one name, their folders tell them apart.

    Raises:
        UserError: one is neither a pool nor a base, or given twice.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{twice} is given twice.", hint="Give every pool or base once.")
    systems = [_system(name) for name in names]
    own = [system.name for system in systems]
    return [
        System(name if own.count(system.name) > 1 else system.name, system.base, system.pool)
        for name, system in zip(names, systems, strict=True)
    ]


def _system(name: str) -> System:
    folder = Path(name)
    if (folder / POOL_FILE).is_file():
        pool = Pool.load(folder)
        return System(pool.description.name, pool.description.base, pool)
    if (folder / RUN_FILE).is_file():
        there = ", ".join(sorted(str(each) for each in (folder / "pools").iterdir()))
        raise UserError("This is a run, with several pools.", where=name, hint=f"Give some of: {there}.")
    base = Base(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            "This folder is neither a pool (it holds no pool.json) nor a base (no config.json).",
            where=name,
            hint="Give the folder of a pool, such as runs/NAME/pools/STRATEGY, or a base: a folder or a hub id.",
        )
    base.location  # noqa: B018 - refuses what is neither a folder nor a hub id, before anything is read
    return System(folder.name if folder.is_dir() else name, base)


def _codes(spellings: Sequence[str]) -> tuple[str, ...]:
    codes = tuple(dict.fromkeys(languages.get(spelling).code for spelling in spellings))
    if len(codes) < 2:
        raise UserError(f"Only {codes[0]} is named.", where="--languages", hint="Translations need two languages.")
    return codes


def _read_data(
    names: Sequence[str], spellings: Sequence[str] | None, systems: Sequence[System]
) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of all corpora, and the languages to compare on them."""
    asked = None if spellings is None else _codes(spellings)
    sets: dict[str, list[Row]] = {}
    for name in names:
        for corpus, rows in _corpora(name, asked):
            if corpus in sets:
                raise UserError(f"Two corpora are called {corpus!r}.", where="--data", hint="Give each of them once.")
            sets[corpus] = rows
    rows = [row for found in sets.values() for row in found]
    there = {code for row in rows for code in row.texts}
    if asked is not None:
        if missing := [code for code in asked if code not in there]:
            raise UserError(
                f"The data have no sentence in {' or '.join(missing)}.",
                where="--languages",
                hint=f"They have: {', '.join(sorted(there))}.",
            )
        codes = asked
    else:
        layouts = [set(each.pool.description.layout.languages) for each in systems if each.pool is not None]
        codes = tuple(sorted(there.intersection(*layouts)))
    if len(codes) < 2:
        raise UserError(
            "At least two languages are needed, "
            + (f"the data share only {codes[0]} with the pools." if codes else "the data share none with the pools."),
            where="--data",
            hint="Give multi-way rows in languages of the pools.",
        )
    return rows, codes


def _corpora(name: str, asked: tuple[str, ...] | None) -> Iterator[tuple[str, list[Row]]]:
    """Name and rows of every corpus that one `--data` names."""
    if (Path(name) / RUN_FILE).is_file():
        run = FinishedRun.load(Path(name))
        yield from next(iter(run.parts.values())).corpus.tests.items()
    elif is_recipe(name):
        recipe = Recipe.load(name)
        codes = asked if asked is not None else recipe.languages
        if not recipe.data.test:
            yield HELD_OUT, hold_out(recipe.data, recipe.languages, seed=recipe.seed).test
        for reader in recipe.data.test:
            yield reader.corpus, read_corpus_rows(reader, codes)
    else:
        corpus = _reader(name)
        yield corpus.corpus, read_corpus_rows(corpus, asked if asked is not None else _held(corpus))


def _reader(name: str) -> Reader:
    if re.match(r"\w+=", name):
        return parse_corpus(name)
    if name == "phrasebook":
        return PhrasebookReader(split="test")
    if Path(name).is_dir():
        return NtrexReader(path=Path(name))
    return file_reader(name)


def _held(reader: Reader) -> tuple[str, ...]:
    """The languages that a corpus may have: of one in a file all, of one with a file a language those with a file."""
    if isinstance(reader, PhrasebookReader):
        from hexapla.phrasebook.language import codes

        return tuple(codes())
    if reader.explicit:
        return reader.explicit
    everything = tuple(language.code for language in languages.all_languages())
    return tuple(code for code in everything if _has(reader, code)) or everything


def _has(reader: Reader, code: str) -> bool:
    try:
        reader.files((code,))
    except UserError:
        return False
    return True
