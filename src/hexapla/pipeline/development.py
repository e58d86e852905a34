"""Translations of development rows while adapters are trained: training's view of the translator.

It decodes with a second copy of the base, loaded when the first measurement is made, in every process that trains.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hexapla.adapter import LoraAdapter, write_adapter
from hexapla.data.examples import Example
from hexapla.pool import PoolDescription, write_pool
from hexapla.translate.spec import TranslateSpec

if TYPE_CHECKING:
    from hexapla.translate.engines.torch_engine import TorchEngine


@dataclass(frozen=True)
class DevelopmentTranslator:
    """Greedy translations of examples with one adapter (`train.stage.Translate`).

    Attributes:
        description: of the pool that is the bare base; routes are set to the adapter at hand.
        spec: how to decode; the search is greedy and prompts are plain whatever it says.
    """

    description: PoolDescription
    spec: TranslateSpec

    def __call__(self, name: str, adapter: LoraAdapter, examples: Sequence[Example]) -> list[str]:
        """Translations of the examples' sources, in their order."""
        from hexapla.translate.translator import Request, Translator

        routes = dict.fromkeys((example.direction for example in examples), name)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_adapter(folder / name, adapter, card="a state in training")
            description = replace(self.description, name="development", routes=routes)
            pool = write_pool(folder / "pool", description, {name: folder / name})
            translator = Translator(pool, self.spec.model_copy(update={"beams": 1, "pmp": "none"}), engine=self._engine)
            requests = [Request(example.source, example.direction) for example in examples]
            answers = dict(translator.translate_requests(requests))
        return [answers[position].text for position in range(len(examples))]

    def __getstate__(self) -> dict[str, object]:
        """Without the engine, which every process loads for itself."""
        return {"description": self.description, "spec": self.spec}

    @cached_property
    def _engine(self) -> TorchEngine:
        from hexapla.translate.engines.torch_engine import TorchEngine

        return TorchEngine(self.description.base, precision=self.spec.precision)
