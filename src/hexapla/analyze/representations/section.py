"""What was measured inside models as a part of a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from hexapla.analyze.present import Column, Item, Section, Table, Value
from hexapla.analyze.representations.figures import curves, heat_maps, pictures
from hexapla.analyze.representations.notes import notes
from hexapla.analyze.representations.profile import RepresentationProfile
from hexapla.analyze.representations.shown import Shown, known, mean, name_of, nearest_layer, ordered, percent, position

_INTRO = (
    "Held-out sentences that exist in all of these languages, read by each model without a prompt; a sentence is the "
    "mean of its tokens' hidden states. Translations of a sentence should lie close together in the middle layers "
    "(align) and part again towards the last one, where a language has to be written (diverge)."
)
_LANGUAGE_MEASURES = ("retrieved from", "retrieved to", "told")
_QUARTERS = {0.0: "embeddings", 0.25: "a quarter", 0.5: "half", 0.75: "three quarters", 1.0: "last"}


def representations_section(profiles: Sequence[RepresentationProfile], *, aligned_layer: int | None = None) -> Section:
    """Everything about these models; the first one is what the others are compared with.

    Args:
        profiles: at least one, their names different.
        aligned_layer: the layer that was aligned, counted in the first model; None: nothing says which.

    Raises:
        ValueError: no profiles.
    """
    if not profiles:
        raise ValueError("a section needs at least one profile")
    shown = Shown(tuple(profiles), aligned_layer)
    items: list[Item] = [_summary(shown), curves(shown)]
    items += heat_maps(shown)
    picture = pictures(shown)
    items += [picture] if picture is not None else []
    items += [_by_language(shown), _pairs(shown)]
    compared = f" Differences are to the first one, {profiles[0].name}." if len(profiles) > 1 else ""
    return Section("representations", "Inside the models", _INTRO + compared, tuple(items), notes(profiles, shown.at))


def _summary(shown: Shown) -> Table:
    columns = (
        Column("system"),
        Column("layer", 0),
        Column("at"),
        Column("retrieval (%)", 1, better="high"),
        Column("retrieval, centred (%)", 1, better="high"),
        Column("AUC", 3, better="high"),
        Column("cosine of translations", 3),
        Column("cosine of others", 3),
        Column("CKA", 3),
        Column("language told (%)", 1),
        Column("anisotropy", 3),
    )
    rows: list[tuple[Value, ...]] = []
    for profile in shown.profiles:
        words: dict[int, list[str]] = {}
        for share, word in _QUARTERS.items():
            words.setdefault(nearest_layer(profile.layers, share * profile.depth), []).append(word)
        chosen = "aligned" if shown.aligned is not None else "looked at"
        words.setdefault(shown.same(profile, shown.layer), []).append(chosen)
        for layer in sorted(words):
            at = profile.layers.index(layer)
            matrices = (profile.auc, profile.cosine_translations, profile.cosine_others, profile.cka)
            rows.append(
                (
                    profile.name,
                    layer,
                    ", ".join(words[layer]),
                    percent(mean(profile.retrieval[at])),
                    percent(mean(profile.retrieval_centred[at])),
                    *(mean(matrix[at]) for matrix in matrices),
                    percent(known(profile.probe[at])),
                    known(profile.anisotropy[at]),
                )
            )
    note = "Means over all pairs of languages; 0 are the embeddings."
    return Table("representations-summary", "Layer by layer, in short", columns, tuple(rows), note)


def _by_language(shown: Shown) -> Table:
    """Each language with all others at the layer looked at: in each other model after the first one, and how it was."""
    first, *others = shown.profiles
    before = _language_values(shown, first)
    note = (
        f"At {shown.at}, in percent. Retrieved from: of the language's sentences, those whose translation is the "
        "nearest sentence of the other language, mean over the other languages; to: the other way round. Told: of its "
        "held-out sentences, those whose language the probe tells."
    )
    names = [Column("language"), Column("code")]
    if not others:
        columns = [*names, *(Column(f"{measure} (%)", 1) for measure in _LANGUAGE_MEASURES)]
        rows: list[tuple[Value, ...]] = [(name_of(code), code, *before[code]) for code in shown.codes]
        return Table("representations-languages", "Language by language", tuple(columns), tuple(rows), note)
    columns = [*names, Column("system")]
    for measure in _LANGUAGE_MEASURES:
        columns += [Column(f"{measure}, {first.name}", 1), Column(f"{measure}, system", 1)]
        columns.append(Column("difference", 1, signed=True))
    after = {profile.name: _language_values(shown, profile) for profile in others}
    rows = []
    for code, (name, values) in product(shown.codes, after.items()):
        row: list[Value] = [name_of(code), code, name]
        for old, new in zip(before[code], values[code], strict=True):
            row += [old, new, None if old is None or new is None else new - old]
        rows.append(tuple(row))
    return Table("representations-languages", "Language by language", tuple(columns), tuple(rows), note)


def _language_values(shown: Shown, profile: RepresentationProfile) -> dict[str, tuple[float | None, ...]]:
    """Language → retrieval from it, retrieval to it, and how often the probe tells it, in percent."""
    at = position(shown, profile, shown.layer)
    retrieval = ordered(profile.languages, shown.codes, profile.retrieval[at])
    probe = dict(zip(profile.languages, profile.probe_by_language[at], strict=True))
    return {
        code: (
            percent(mean(retrieval[place])),
            percent(mean(retrieval[:, place])),
            percent(known(probe.get(code, np.nan))),
        )
        for place, code in enumerate(shown.codes)
    }


def _pairs(shown: Shown) -> Table:
    """Every measure of every two languages at the layer looked at, one line a system."""
    columns = (
        Column("from"),
        Column("to"),
        Column("system"),
        Column("layer", 0),
        Column("rows", 0),
        Column("retrieval (%)", 1),
        Column("retrieval, centred (%)", 1),
        Column("AUC", 3),
        Column("cosine of translations", 3),
        Column("cosine of others", 3),
        Column("CKA", 3),
    )
    found = []
    for profile in shown.profiles:
        at = position(shown, profile, shown.layer)
        matrices = (
            profile.num_shared.astype(float),
            100 * profile.retrieval[at],
            100 * profile.retrieval_centred[at],
            profile.auc[at],
            profile.cosine_translations[at],
            profile.cosine_others[at],
            profile.cka[at],
        )
        found.append([ordered(profile.languages, shown.codes, matrix) for matrix in matrices])
    rows: list[tuple[Value, ...]] = []
    for i, j in product(range(len(shown.codes)), repeat=2):
        for profile, (num_shared, *measures) in zip(shown.profiles, found, strict=True):
            if not np.isnan(num_shared[i, j]):
                layer = shown.same(profile, shown.layer)
                start = (shown.codes[i], shown.codes[j], profile.name, layer, int(num_shared[i, j]))
                rows.append((*start, *(known(matrix[i, j]) for matrix in measures)))
    note = f"At {shown.at}. Rows: how many both languages have."
    return Table("representations-pairs", "Pair by pair", columns, tuple(rows), note)
