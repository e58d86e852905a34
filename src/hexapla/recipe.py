"""The recipe: one document that describes a translator, composed of the specs of every domain.

Only rules that cross domains live here. Paths in a recipe are relative to the current folder.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from hexapla import languages, prompts
from hexapla.analyze.spec import AnalyzeSpec
from hexapla.base import Base
from hexapla.common.documents import apply_override, parse_yaml, set_value
from hexapla.common.errors import UserError, nearest
from hexapla.common.spec import Spec, validation_message
from hexapla.data.mixing import check_mix_names
from hexapla.data.spec import DataSpec
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.merge.sets import merge_sets
from hexapla.merge.spec import MergeSpec
from hexapla.plan import SHARED, Layout, Plan, make_plan
from hexapla.synthesize.spec import SynthesizeSpec
from hexapla.train.align.spec import AlignSpec
from hexapla.train.pretrain.spec import PretrainSpec
from hexapla.train.spec import TrainSpec
from hexapla.translate.spec import TranslateSpec

_PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
BUNDLED_FOLDER = Path(__file__).parent / "recipes"


class Recipe(Spec):
    """A validated recipe. Build it with `Recipe.load`, or from keyword arguments as a library."""

    name: str = Field(
        description="Name of the run; its results lie in runs/NAME.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )
    base: str = Field(description="Base model: hub id, local folder, or builtin:tiny.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub base; None: its default branch.")
    seed: int = Field(0, ge=0, description="Root seed; every consumer derives its own from it by name.")
    languages: tuple[str, ...] = Field(description="Languages in any spelling, or the name of a set (dat, lmt).")
    hubs: tuple[str, ...] = Field(("en",), description="Pivot languages; directions are hub ↔ other, and hub ↔ hub.")
    groups: str | dict[str, tuple[str, ...]] = Field(
        "dat", description="Languages that share adapters: a named grouping (dat, script, family) or a map of lists."
    )
    prompt: str = Field("alma", description="Prompt template, see hexapla.prompts.")
    data: DataSpec = Field(description="Corpora for training, development and test.")
    synthesize: tuple[SynthesizeSpec, ...] = Field(
        (), description="Corpora of pseudo-parallel text to make first; each joins data.train or data.bilingual."
    )
    pretrain: PretrainSpec | None = Field(None, description="Continued pre-training of the base; null: none.")
    align: AlignSpec | None = Field(
        None, description="Alignment training of the base (AlignX), after pre-training and before training; null: none."
    )
    train: TrainSpec = Field(default_factory=TrainSpec, description="Strategy and hyper-parameters.")
    merge: MergeSpec | None = Field(None, description="Group-wise merging of trained pools; None: no merging.")
    translate: TranslateSpec = Field(default_factory=TranslateSpec, description="Decoding.")
    evaluate: EvaluateSpec = Field(default_factory=EvaluateSpec, description="Metrics and what is measured.")
    analyze: AnalyzeSpec = Field(default_factory=AnalyzeSpec, description="What is asked of the scores.")
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Name → settings (`a.b.c: value`) in which a variant differs from this recipe; they are run in "
        "its place, and compared in their order.",
    )
    sweep: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="One setting (`a.b.c`) → its values: a variant for each, run after the others.",
    )

    @classmethod
    def load(cls, source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a recipe from a YAML file or, by name, from the bundled ones.

        Args:
            overrides: `a.b=value` settings, the values in YAML; list items by position (`data.train.0.path=x`).

        Raises:
            UserError: no such recipe, no readable YAML, an unknown key, a wrong value; all faults in one message.
        """
        path = find_recipe(source)
        document = parse_yaml(_read_text(path), where=str(path))
        if not isinstance(document, dict):
            raise UserError("A recipe is a map of sections (name, base, languages, data, ...).", where=str(path))
        for override in overrides:
            apply_override(document, override)
        return cls.parse(document, where=str(path))

    @classmethod
    def parse(cls, document: dict[str, Any], *, where: str | None = None) -> Recipe:
        """Validate a recipe given as plain data."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise validation_message(error, cls, where) from error

    @field_validator("languages", mode="before")
    @classmethod
    def _named_set(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return _as_value_error(lambda: languages.named_set(value))

    @field_validator("languages", "hubs")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_as_value_error(lambda code=code: languages.get(code).code) for code in value)

    @field_validator("groups")
    @classmethod
    def _canonical_groups(cls, value: str | dict[str, tuple[str, ...]]) -> str | dict[str, tuple[str, ...]]:
        if isinstance(value, str):
            if value not in languages.grouping_names():
                raise ValueError(f"there is no grouping {value!r}. {nearest(value, languages.grouping_names())}")
            return value
        return {name: cls._canonical(members) for name, members in value.items()}

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, value: str) -> str:
        return _as_value_error(lambda: prompts.get_template(value).name)

    @model_validator(mode="after")
    def _across_sections(self) -> Self:
        plan = _as_value_error(lambda: self.plan)
        merge, strategy = self.merge, self.train.strategies[0]
        if merge is not None and not self.merged_strategies:
            _as_value_error(lambda: merge_sets(plan.layout, plan.routes[strategy], merge, pool=strategy))
        for direction in self.evaluate.directions or ():
            if direction not in plan.layout.directions:
                raise ValueError(f"evaluate.directions: {direction} is no direction of this recipe")
        for name, part in plan.layouts.items():
            if self.evaluate.directions and not set(self.evaluate.directions) & set(part.directions):
                raise ValueError(
                    f"evaluate.directions: none of them is a direction of {name}, which analyze.conflict needs"
                )
        jobs = [job.name for job in plan.jobs]
        for adapter in self.train.adapters:
            if adapter not in jobs:
                raise ValueError(f"train.adapters: there is no adapter {adapter!r}. {nearest(adapter, jobs)}")
        if self.train.development and not self.data.dev and not (self.data.split and self.data.split.dev):
            raise ValueError("train.development needs data.dev, or data.split.dev, which this recipe has not")
        self._check_text()
        return self

    def _check_text(self) -> None:
        """Synthetic corpora are in the recipe's languages, under names of their own; pre-training has text."""
        corpora = {reader.corpus for reader in self.data.readers}
        for spec in self.synthesize:
            if strangers := [direction for direction in spec.directions if not set(direction) <= set(self.languages)]:
                raise ValueError(f"synthesize {spec.name}: {strangers[0]} is not between languages of this recipe")
            if spec.name in corpora:
                raise ValueError(f"synthesize {spec.name}: there is another corpus of that name")
            corpora.add(spec.name)
        made = any(spec.into == "bilingual" for spec in self.synthesize)
        if self.pretrain is not None and not (self.data.monolingual or self.data.bilingual or made):
            raise ValueError("pretrain needs text: give data.monolingual or data.bilingual")
        if self.pretrain is not None:
            names = ("monolingual", *self.hubs)
            _as_value_error(lambda: check_mix_names(self.pretrain.mix, names, "pretrain.mix.weights"))
        if self.data.instructions is not None and SHARED not in self.train.strategies:
            raise ValueError(
                f"data.instructions belong to one adapter or model for all directions: add {SHARED} to train.strategy"
            )
        if self.translate.pmp != "none" and self.data.pmp is None:
            raise ValueError(f"translate.pmp: {self.translate.pmp} needs data.pmp, which names the auxiliary languages")
        if self.data.pmp is not None:
            _as_value_error(lambda: prompts.require_pmp(prompts.get_template(self.prompt)))

    @field_validator("variants")
    @classmethod
    def _variant_names(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in value:
            if not _PART_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name for a variant: use letters, digits and . _ = - (no +, @ or blank)"
                )
        return value

    @field_validator("sweep")
    @classmethod
    def _one_setting(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if len(value) > 1:
            raise ValueError(f"one setting can be swept at a time, not {', '.join(value)}; use variants for the others")
        for key, values in value.items():
            if len(values) < 2:
                raise ValueError(f"{key}: a sweep needs at least two values")
            if len({cls.swept_name(key, each) for each in values}) < len(values):
                raise ValueError(f"{key}: a value stands twice")
        return value

    @model_validator(mode="after")
    def _parts_are_valid(self) -> Self:
        if not self.variants and not self.sweep:
            return self
        if self.analyze.conflict is not None:
            raise ValueError("analyze.conflict and variants (or a sweep) cannot be asked for in one recipe")
        swept = {self.swept_name(key, value) for key, values in self.sweep.items() for value in values}
        if twice := sorted(swept & set(self.variants)):
            raise ValueError(f"a variant is called as a value of the sweep: {', '.join(twice)}")
        for name in self._changes:
            part = _as_value_error(lambda name=name: self._part(name))
            if len(part.train.strategies) > 1:
                raise ValueError(f"{name}: a variant trains one strategy; make variants of the others")
        return self

    @property
    def _changes(self) -> dict[str, dict[str, Any]]:
        """Part → the settings in which it differs: the variants, then one part a value of the sweep."""
        swept = {self.swept_name(key, value): {key: value} for key, values in self.sweep.items() for value in values}
        return {**self.variants, **swept}

    def _part(self, name: str) -> Recipe:
        document = self.model_dump(mode="json", exclude_unset=True, exclude={"variants", "sweep"})
        for key, value in self._changes[name].items():
            set_value(document, key, value, where=f"{'variants.' if name in self.variants else ''}{name}")
        return Recipe.parse(document, where=f"variant {name}")

    @staticmethod
    def swept_name(key: str, value: Any) -> str:
        """Name of the part for one value of a sweep: `to_hub=0.05` for `data.downsample.to_hub`."""
        text = re.sub(r"[^A-Za-z0-9._-]+", "_", "null" if value is None else str(value)).strip("_")
        return f"{key.rpartition('.')[2]}={text}"

    @cached_property
    def parts(self) -> dict[str, Recipe]:
        """What is run: the recipe itself, under the empty name, or its variants and the values of its sweep."""
        return {name: self._part(name) for name in self._changes} or {"": self}

    @property
    def layout(self) -> Layout:
        """Languages, hubs and groups in canonical codes."""
        others = tuple(code for code in self.languages if code not in self.hubs)
        groups = languages.grouping(self.groups, others) if isinstance(self.groups, str) else self.groups
        return Layout(self.languages, self.hubs, groups)

    @property
    def plan(self) -> Plan:
        """Jobs and routes of every strategy, and of the pools that only the analysis needs."""
        conflict = self.analyze.conflict
        return make_plan(self.layout, self.train.strategies, None if conflict is None else conflict.languages)

    @property
    def base_model(self) -> Base:
        """The base as an object."""
        return Base(self.base, self.revision)

    @property
    def merged_strategies(self) -> tuple[str, ...]:
        """The strategies whose pools are merged: those where several experts serve one merged adapter's directions."""
        if self.merge is None:
            return ()
        plan, found = self.plan, []
        for strategy in plan.strategies:
            with contextlib.suppress(UserError):
                merge_sets(plan.layout, plan.routes[strategy], self.merge, pool=strategy)
                found.append(strategy)
        return tuple(found)


def bundled_recipes() -> dict[str, Path]:
    """Name → file of the recipes that ship with Hexapla."""
    return {path.stem: path for path in sorted(BUNDLED_FOLDER.glob("*.yaml"))}


def find_recipe(source: str | Path) -> Path:
    """The file of a recipe given as a path or as the name of a bundled one.

    Raises:
        UserError: neither exists; the nearest bundled names are listed.
    """
    path = Path(source)
    if path.is_file():
        return path
    bundled = bundled_recipes()
    if str(source) in bundled:
        return bundled[str(source)]
    if path.is_dir():
        raise UserError("This is a folder; a recipe is a YAML file.", where=str(path))
    raise UserError(
        f"There is no recipe {str(source)!r}: no such file, and no bundled recipe of that name.",
        hint=nearest(str(source), bundled),
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("A recipe is UTF-8 text; this file is not.", where=str(path)) from error
    except PermissionError as error:
        raise UserError("This file may not be read (permission denied).", where=str(path)) from error


def _as_value_error(compute: Any) -> Any:
    """Let pydantic collect our errors with the path of the field they belong to."""
    try:
        return compute()
    except UserError as error:
        raise ValueError(error.paragraph()) from error
