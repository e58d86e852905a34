"""What the base's vocabulary makes of the text that is to be trained on, said before anything is trained."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from hexapla.analyze.pretraining import vocabulary_table
from hexapla.analyze.tables import to_text
from hexapla.base import fingerprint, load_tokenizer
from hexapla.common.artifacts import write_json
from hexapla.data.stage import Corpus, stream_rows
from hexapla.pipeline.workspace import Workspace
from hexapla.recipe import Recipe

VOCABULARY_FILE = "vocabulary.json"


def show_vocabulary(recipe: Recipe, corpus: Corpus, workspace: Workspace) -> Path:
    """Measure the fertility of every language on the text for pre-training, once: printed, and kept as an artifact."""
    from hexapla.train.pretrain.vocabulary import measure_vocabulary

    hub = recipe.hubs[0]
    paths = [path for path in (corpus.bilingual, corpus.monolingual) if path is not None]
    key = {
        "base": fingerprint(recipe.base_model),
        "text": [path.parent.resolve().name for path in paths],
        "hub": hub,
        "seed": recipe.seed,
    }

    def build(aside: Path, _: Path) -> None:
        rows = itertools.chain.from_iterable(map(stream_rows, paths))
        found = measure_vocabulary(load_tokenizer(recipe.base_model), rows, hub=hub, seed=recipe.seed)
        records = [fertility.to_record() for fertility in found]
        write_json(aside / VOCABULARY_FILE, records)
        print(to_text(vocabulary_table(records, hub)), file=sys.stderr, flush=True)

    return workspace.make("vocabulary", recipe.name, key, build)
