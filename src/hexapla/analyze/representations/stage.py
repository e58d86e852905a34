"""Look inside a model: read sentences in many languages once, then measure layer after layer.

Of a pool with several adapters each language is read with the adapter that translates it into the first hub, and the
hub with the bare base: those are the passes in which the pool meets a sentence of that language.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hexapla.adapter import LoraAdapter
from hexapla.analyze.representations.features import FeatureFiles
from hexapla.analyze.representations.measures import anisotropy, measure_pairs
from hexapla.analyze.representations.places import Places
from hexapla.analyze.representations.probe import Probe, probe_language
from hexapla.analyze.representations.profile import PairMeasures, RepresentationProfile
from hexapla.analyze.representations.projection import project, require_projection
from hexapla.analyze.representations.spec import RepresentationsSpec
from hexapla.base import Base, choose_device, choose_dtype, load_config, load_model, load_tokenizer
from hexapla.common.errors import UserError
from hexapla.common.progress import Progress
from hexapla.common.seeds import stable_order
from hexapla.data.representations import widest_rows
from hexapla.data.rows import Row
from hexapla.languages import Direction
from hexapla.pool import Pool
from hexapla.representations.sentences import (
    Sentence,
    batch_means,
    encode_sentences,
    length_batches,
    positions_a_pass,
)
from hexapla.translate.engines.lora_rows import RowAdapters, stack_adapters

_PURPOSE = "representations"
_HELD_OUT = 0.25  # of the rows, for the probe (assumption)
_PROJECTED_ROWS, _PROJECTED_POINTS = 40, 2000  # what a picture can hold, and t-SNE arrange in seconds (assumption)
_SLOW_PROJECTION_LAYERS = 5  # of t-SNE and UMAP: every quarter of the depth


@dataclass(frozen=True)
class System:
    """What is looked into: a base, or a pool, under the name that tables give it."""

    name: str
    base: Base
    pool: Pool | None = None


def profile_system(
    system: System, rows: Sequence[Row], languages: Sequence[str], spec: RepresentationsSpec, *, work: Path, seed: int
) -> RepresentationProfile:
    """Measure the representations of a system on rows in several languages, in every layer.

    Args:
        rows: any number; `spec.rows` of them are read, the same for every system.
        work: folder for the vectors while they are measured: layers × sentences × width × 4 bytes.
        seed: chooses the rows among those of equally many languages, and those that the probe is tested on.

    Raises:
        UserError: no two languages share two rows; the pool does not translate one of the languages into its first hub;
            the base cannot be loaded; the disk has no room; the projection's package is not installed.
    """
    started = time.monotonic()
    require_projection(spec.projection)
    codes = tuple(languages)
    adapters = reading_adapters(system.pool, codes)
    chosen = widest_rows(rows, codes, spec.rows, seed=seed, purpose=_PURPOSE)
    text = _Text.of(system.base, chosen, codes, spec.max_tokens)
    config = load_config(system.base).get_text_config()
    layers = tuple(range(config.num_hidden_layers + 1))
    sample = _Sample.of(text.places, codes)
    device = choose_device()
    held_out = _held_out(chosen, seed)
    measured: list[_Layer] = []
    shown: dict[int, tuple[np.ndarray, tuple[float, float] | None]] = {}
    with FeatureFiles(work, layers, text.places.num_sentences, config.hidden_size) as files:
        _read(system, text, adapters, files, layers)
        gc.collect()  # the hooks of adapters hold the model in a circle, and it would stay beside the vectors
        if device.type == "cuda":
            torch.cuda.empty_cache()
        progress = Progress(f"measure {system.name}", len(layers), unit="layers")
        for layer in layers:
            vectors = files.take(layer).to(device)
            measured.append(_Layer.of(vectors, text.places, held_out))
            if layer in _drawn_layers(layers, spec):
                shown[layer] = project(vectors[sample.positions], spec.projection)
            del vectors  # before the next layer's are read
            progress.advance()
    progress.close()
    return RepresentationProfile(
        name=system.name,
        depth=config.num_hidden_layers,
        layers=layers,
        languages=codes,
        num_rows=len(chosen),
        num_shared=text.places.num_shared,
        **{name: np.stack([vars(each.pairs)[name] for each in measured]) for name in vars(measured[0].pairs)},
        probe=np.array([each.probe.accuracy for each in measured]),
        probe_by_language=np.stack([each.probe.by_language for each in measured]),
        probe_chance=measured[0].probe.chance,
        anisotropy=np.array([each.anisotropy for each in measured]),
        projection={layer: points for layer, (points, _) in shown.items()},
        projected=sample.names,
        projection_method=spec.projection,
        explained={layer: shares for layer, (_, shares) in shown.items() if shares is not None},
        adapters=adapters,
        seconds=time.monotonic() - started,
    )


def reading_adapters(pool: Pool | None, languages: Sequence[str]) -> dict[str, str | None]:
    """Language → the adapter that its sentences are read with; None: the bare base.

    A pool with one adapter reads everything with it.

    Raises:
        UserError: the pool has several adapters and does not translate a language into its first hub.
    """
    if pool is None or not pool.adapters:
        return dict.fromkeys(languages)
    if len(pool.adapters) == 1:
        return dict.fromkeys(languages, next(iter(pool.adapters)))
    hub, routes = pool.description.layout.hubs[0], pool.description.routes
    foreign = [code for code in languages if code != hub and Direction(code, hub) not in routes]
    if foreign:
        raise UserError(
            f"The pool {pool.description.name!r} translates no {' or '.join(foreign)} into {hub}, so it has no adapter "
            "to read these languages with.",
            hint="Leave them out with --languages.",
        )
    return {code: None if code == hub else routes[Direction(code, hub)] for code in languages}


@dataclass(frozen=True)
class _Text:
    """The sentences of the chosen rows, in the order of `places`; texts that give no tokens are left out."""

    places: Places
    sentences: tuple[Sentence, ...]

    @classmethod
    def of(cls, base: Base, rows: Sequence[Row], codes: Sequence[str], max_tokens: int) -> _Text:
        texts = [row.texts[code] for code in codes for row in rows if code in row.texts]
        encoded = iter(encode_sentences(load_tokenizer(base), texts, max_tokens=max_tokens))
        has = np.zeros((len(rows), len(codes)), dtype=bool)
        sentences = []
        for column, code in enumerate(codes):
            for number, row in enumerate(rows):
                if code in row.texts and not (sentence := next(encoded)).is_empty:
                    has[number, column] = True
                    sentences.append(sentence)
        places = Places.of(has)
        shared = places.num_shared.copy()
        np.fill_diagonal(shared, 0)
        if not sentences or shared.max() < 2:
            raise UserError(
                "No two of the languages share two rows, so there are no translations to compare.",
                hint=f"Give multi-way rows in at least two of: {', '.join(codes)}.",
            )
        return cls(places, tuple(sentences))


@dataclass(frozen=True)
class _Sample:
    """The sentences that the picture shows: of the first rows, in all languages."""

    positions: Tensor
    names: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, places: Places, codes: Sequence[str]) -> _Sample:
        num_rows = min(_PROJECTED_ROWS, max(2, _PROJECTED_POINTS // len(codes)))
        positions: list[int] = []
        names: list[tuple[int, str]] = []
        for language, code in enumerate(codes):
            numbers = [int(number) for number in places.rows[language] if number < num_rows]
            positions += range(places.starts[language], places.starts[language] + len(numbers))
            names += [(number, code) for number in numbers]
        return cls(torch.tensor(positions), tuple(names))


@dataclass(frozen=True)
class _Layer:
    """What was measured of one layer."""

    pairs: PairMeasures
    probe: Probe
    anisotropy: float

    @classmethod
    def of(cls, vectors: Tensor, places: Places, held_out: np.ndarray) -> _Layer:
        return cls(
            measure_pairs(vectors, places), probe_language(vectors, places, held_out), anisotropy(vectors, places)
        )


def _drawn_layers(layers: Sequence[int], spec: RepresentationsSpec) -> set[int]:
    """Layers with a picture: all, or of slow methods those at every quarter of the depth."""
    if spec.projection == "pca":
        return set(layers)
    return {round(place) for place in np.linspace(layers[0], layers[-1], _SLOW_PROJECTION_LAYERS)}


def _held_out(rows: Sequence[Row], seed: int) -> np.ndarray:
    """[R] the rows that the probe is tested on: a quarter, by hash of their ids."""
    held_out = np.zeros(len(rows), dtype=bool)
    order = stable_order(seed, [row.id for row in rows], _PURPOSE, "probe")
    held_out[order[: round(_HELD_OUT * len(rows))]] = True
    return held_out


def _read(
    system: System,
    text: _Text,
    adapters: Mapping[str, str | None],
    files: FeatureFiles,
    layers: Sequence[int],
) -> None:
    """Write the vectors of every sentence in every layer; the model is loaded and given back here."""
    device = choose_device()
    if system.pool is not None:
        system.pool.require_base(system.base)
    model = load_model(system.base, dtype=choose_dtype("auto", device), device=device)
    stack = stack_adapters(model, _factors(system.pool, adapters))
    rows = RowAdapters(model)
    sizes = [len(numbers) for numbers in text.places.rows]
    used = np.repeat([stack.index[adapter] for adapter in adapters.values()], sizes)
    progress = Progress(f"read with {system.name}", text.places.num_sentences, unit="sentences")
    for batch in length_batches(text.sentences, positions_a_pass(model, len(layers))):
        batch.sort(key=lambda place: int(used[place]))  # rows of one adapter side by side, as `RowAdapters` likes them
        rows.use(stack, [int(used[place]) for place in batch])
        means = batch_means(model, [text.sentences[place] for place in batch], layers)
        for layer, vectors in means.items():
            files.write(layer, batch, vectors)
        progress.advance(len(batch))
    progress.close()


def _factors(pool: Pool | None, adapters: Mapping[str, str | None]) -> dict[str, LoraAdapter]:
    if pool is None:
        return {}
    return {name: pool.read_adapter(name) for name in sorted({name for name in adapters.values() if name is not None})}
