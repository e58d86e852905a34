"""Pseudo-parallel corpora of a recipe: made before anything reads the corpora, then corpora like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hexapla import prompts
from hexapla.base import Base, load_tokenizer
from hexapla.data.readers.jsonl import JsonlReader
from hexapla.data.spec import DataSpec
from hexapla.pipeline.scoring import translation_digest
from hexapla.pipeline.workspace import Workspace
from hexapla.pool import Pool, PoolDescription, describe_base
from hexapla.recipe import Recipe
from hexapla.synthesize.spec import SynthesizeSpec

if TYPE_CHECKING:
    from hexapla.translate.engines.torch_engine import TorchEngine
    from hexapla.translate.translator import Translator

LoadEngine = Callable[[Base, Literal["auto", "fp32", "bf16"]], "TorchEngine"]
"""From a base and a precision to the base for decoding."""


def make_synthetic(recipe: Recipe, workspace: Workspace, load_engine: LoadEngine) -> DataSpec:
    """The recipe's corpora, those of `synthesize` among them, which are made where they are not there yet.

    Raises:
        UserError: a pool cannot be used or lacks a direction, or text cannot be read.
    """
    data = recipe.data
    for spec in recipe.synthesize:
        reader = JsonlReader(path=_make(recipe, spec, workspace, load_engine), name=spec.name)
        data = data.model_copy(update={spec.into: (*getattr(data, spec.into), reader)})
    return data


def _make(recipe: Recipe, spec: SynthesizeSpec, workspace: Workspace, load_engine: LoadEngine) -> Path:
    """The file of rows."""
    from hexapla.synthesize.stage import (
        ROWS_FILE,
        Maker,
        require_directions,
        synthesis_key,
        synthesize_corpus,
        translation_identity,
    )

    pool = None if spec.pool is None else Pool.load(spec.pool)
    require_directions(spec, pool)
    described = _bare_base(recipe) if pool is None else pool.description
    name = recipe.base if pool is None else described.name
    maker = Maker(name, translation_digest(described, {} if pool is None else pool.adapters))

    def translator() -> Translator:
        from hexapla.translate.translator import Translator

        engine = load_engine(described.base, spec.translate.precision)
        return Translator(pool or described.base, spec.translate, engine=engine, template=recipe.prompt)

    def build(aside: Path, _: Path) -> None:
        synthesize_corpus(
            spec,
            maker,
            translator,
            folder=aside,
            translations=workspace.translations(translation_identity(spec, maker)),
            log=workspace.log,
        )

    return workspace.make("synthetic", spec.name, synthesis_key(spec, maker), build) / ROWS_FILE


def _bare_base(recipe: Recipe) -> PoolDescription:
    base = recipe.base_model
    template = prompts.get_template(recipe.prompt)
    return describe_base(
        name=recipe.base, base=base, tokenizer=load_tokenizer(base), template=template, layout=recipe.layout
    )
