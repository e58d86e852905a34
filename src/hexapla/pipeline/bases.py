"""What a part trains: the recipe's base, after continued pre-training and alignment where the recipe asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hexapla import prompts
from hexapla.base import Base, fingerprint, load_config, load_tokenizer
from hexapla.data.examples import examples_digest, make_examples
from hexapla.data.stage import Corpus
from hexapla.pipeline.finished import ALIGNED_POOL, PRETRAINED_POOL
from hexapla.pipeline.session import Session
from hexapla.recipe import Recipe
from hexapla.representations.layers import resolve_layer
from hexapla.train.align.spec import AlignSpec
from hexapla.train.pretrain.spec import PretrainSpec


@dataclass
class Bases:
    """The models that a part makes before its own training; each is found, or made when it is asked for.

    Attributes:
        corpus_folder: of the built corpus.
    """

    recipe: Recipe
    session: Session
    corpus_folder: Path

    @property
    def first(self) -> Base:
        """The recipe's base, after continued pre-training if there is any."""
        return self.recipe.base_model if self.recipe.pretrain is None else Base(str(self.pretrained))

    @property
    def last(self) -> Base:
        """What is post-trained."""
        return self.first if self.recipe.align is None else Base(str(self.aligned))

    @property
    def own(self) -> Path | None:
        """Folder of `last` where it was made here."""
        if self.recipe.align is not None:
            return self.aligned
        return None if self.recipe.pretrain is None else self.pretrained

    @property
    def _corpus(self) -> Corpus:
        return self.session.corpora.read(self.corpus_folder)

    @cached_property
    def pretrained(self) -> Path:
        """Folder of the base after continued pre-training, which the recipe must ask for."""
        spec = self.recipe.pretrain
        assert spec is not None
        decided = ["pretrained", fingerprint(self.recipe.base_model), spec.outcome(), self.corpus_folder.name]
        return self.session.once(decided, lambda: self._pretrain(spec))

    def _pretrain(self, spec: PretrainSpec) -> Path:
        recipe, corpus = self.recipe, self._corpus
        key = {
            "base": fingerprint(recipe.base_model),
            "pretrain": spec.outcome(),
            "seed": recipe.seed,
            "text": corpus.pretraining_digest(),
            "languages": list(recipe.languages),
            "hubs": list(recipe.hubs),
        }

        def build(aside: Path, work: Path) -> None:
            from hexapla.train.pretrain.stage import pretrain_model

            pretrain_model(
                recipe.base_model,
                spec,
                recipe.seed,
                monolingual=corpus.monolingual,
                bilingual=corpus.bilingual,
                languages=recipe.languages,
                hubs=recipe.hubs,
                folder=aside,
                work=work,
                log=self.session.workspace.log,
            )

        return self.session.workspace.make("model", PRETRAINED_POOL, key, build)

    @cached_property
    def aligned(self) -> Path:
        """Folder of the base after alignment, which the recipe must ask for."""
        spec = self.recipe.align
        assert spec is not None
        decided = ["aligned", fingerprint(self.first), spec.outcome(), self.recipe.prompt, self.corpus_folder.name]
        return self.session.once(decided, lambda: self._align(spec))

    def _align(self, spec: AlignSpec) -> Path:
        recipe = self.recipe
        template = prompts.get_template(recipe.prompt)
        examples = make_examples(self._corpus.train, recipe.layout.directions)
        key = {
            "base": fingerprint(self.first),
            "template": prompts.template_hash(template, load_tokenizer(self.first)),
            "align": spec.outcome(),
            "seed": recipe.seed,
            "examples": examples_digest(examples),
        }

        def build(aside: Path, work: Path) -> None:
            from hexapla.train.align.stage import align_model

            align_model(
                self.first,
                template,
                spec,
                recipe.seed,
                examples=examples,
                folder=aside,
                work=work,
                log=self.session.workspace.log,
            )

        return self.session.workspace.make("model", ALIGNED_POOL, key, build)


def aligned_layers(recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Setting → the layer that it aligns, and the base's depth; only of losses that have a weight.

    Raises:
        UserError: the base has no such layer; its configuration cannot be read.
    """
    asked = {"align.objectives.layer": None if recipe.align is None else recipe.align.acting_objectives}
    asked["train.objectives.layer"] = recipe.train.acting_objectives
    found = {}
    for where, objectives in asked.items():
        if objectives is not None:
            depth = load_config(recipe.base_model).get_text_config().num_hidden_layers
            found[where] = resolve_layer(objectives.layer, depth, where=where), depth
    return found
