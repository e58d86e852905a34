"""What a recipe trains on, read before it runs: rows, instructions, and how its examples will look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hexapla.common.artifacts import digest_of, is_complete
from hexapla.common.errors import UserError
from hexapla.data.auxiliaries import Auxiliaries, choose_auxiliaries
from hexapla.data.examples import ExampleMaker
from hexapla.data.instructions import InstructionFile
from hexapla.data.rows import Row
from hexapla.data.stage import read_training_rows, stream_rows
from hexapla.data.storage import TRAIN_FILE
from hexapla.pipeline.corpora import corpus_key, corpus_settings
from hexapla.pipeline.examples import example_maker
from hexapla.pipeline.instructions import InstructionStore
from hexapla.pipeline.workspace import Workspace
from hexapla.recipe import Recipe


@dataclass(frozen=True)
class TrainingText:
    """What a recipe trains on, as far as it can be read here.

    Attributes:
        rows: None: they cannot be read.
        instructions: source → its survey; empty where the recipe has none.
        counted: what the rows are, if not those that will be trained on to the last one; None: they are.
        unknown: why there are no rows, or no instructions; None when there are.
    """

    rows: Sequence[Row] | None
    instructions: Mapping[str, InstructionFile]
    counted: str | None
    unknown: str | None = None


@dataclass
class TextReader:
    """Reads what recipes train on. The rows of the latest are held: variants have them in common.

    Args:
        out: folder of the recipe's run, whose corpus is read where it is made already; None: there is none.
    """

    out: Path | None = None
    _instructions: InstructionStore = field(default_factory=InstructionStore)
    _rows: tuple[str, Sequence[Row], str | None] | None = None

    def read(self, recipe: Recipe) -> TrainingText:
        """Rows and instructions; what is wrong with them is told in `unknown`."""
        try:
            rows, counted = self._rows_of(recipe)
            spec = recipe.data.instructions
            instructions = {} if spec is None else self._instructions.survey(spec)
        except UserError as error:
            return TrainingText(None, {}, None, error.paragraph())
        return TrainingText(rows, instructions, counted)

    def _rows_of(self, recipe: Recipe) -> tuple[Sequence[Row], str | None]:
        decided_by = digest_of([recipe.name, corpus_settings(recipe)])
        if self._rows is None or self._rows[0] != decided_by:
            self._rows = None  # the ones before are let go
            corpus = None if self.out is None else finished_corpus(recipe, self.out)
            if corpus is None:
                rows = read_training_rows(recipe.data, recipe.languages, seed=recipe.seed)
                self._rows = decided_by, rows, _left_out(recipe)
            else:
                self._rows = decided_by, list(stream_rows(corpus / TRAIN_FILE)), f"in the finished corpus {corpus}"
        return self._rows[1:]


def finished_corpus(recipe: Recipe, out: Path) -> Path | None:
    """The folder of the corpus that a run in `out` has made of the recipe as it stands; None where there is none.

    Corpora that `synthesize` makes are part of what decides the corpus, so that of a recipe with them is not found.

    Raises:
        UserError: as `corpus_key`.
    """
    if recipe.synthesize or not any((out / "artifacts").glob(f"corpus-{recipe.name}-*")):
        return None
    folder = Workspace(out).location("corpus", recipe.name, corpus_key(recipe))
    return folder if is_complete(folder) else None


def expected_examples(recipe: Recipe, rows: Sequence[Row]) -> ExampleMaker:
    """What makes the examples of these rows before a run, with auxiliary sentences where the recipe shows them (PMP).

    Auxiliary languages that are chosen by distance are not known before the base is loaded: those by typology stand
    for them. One that no row has is left out; the run refuses it.
    """
    spec = recipe.data.pmp
    if spec is None:
        return example_maker(recipe)
    if spec.auxiliary == "distance":
        spec = spec.model_copy(update={"auxiliary": "typology"})
    choices = choose_auxiliaries(spec, recipe.languages, recipe.hubs, seed=recipe.seed).choices
    there = {code for row in rows for code in row.texts}
    found = {pair: choice for pair, choice in choices.items() if choice.code in there}
    return replace(example_maker(recipe, Auxiliaries(found)), pmp=spec)


def _left_out(recipe: Recipe) -> str | None:
    """What happens to rows between reading and training."""
    steps = ["cleaning"] if recipe.data.clean is not None else []
    if recipe.data.contamination.action == "drop":
        steps.append("the check against the test sets")
    before = [f"before {' and '.join(steps)}"] if steps else []
    made = ["without the corpora that synthesize makes"] if recipe.synthesize else []
    return ", ".join(before + made) or None
