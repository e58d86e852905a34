"""With the real translator: the embedded base, asked in the form that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hexapla.base import Base
from hexapla.synthesize.spec import SynthesizeSpec
from hexapla.translate.engines.engine import Decoded, DecodeRequest
from hexapla.translate.engines.torch_engine import TorchEngine
from hexapla.translate.spec import TranslateSpec
from hexapla.translate.translator import Translator
from tests.synthesize.world import LABEL, World

LINES = [
    "My son is at the bank now.",
    "The girl is at the hotel now.",
    "There are seven books under the bed.",
    "Today is Tuesday, 24 November.",
    "My mother repaired the bike last week.",
    "The driver wants to buy bread tomorrow morning.",
]


class Counting(TorchEngine):
    """Counts the prompts that it continues; breaks down after so many batches."""

    num_prompts = 0
    batches_left: int | None = None

    def decode(self, requests: Sequence[DecodeRequest], adapters: Any, spec: TranslateSpec) -> list[Decoded]:
        """As the engine does."""
        if self.batches_left is not None:
            self.batches_left -= 1
            if self.batches_left < 0:
                raise KeyboardInterrupt
        self.num_prompts += len(requests)
        return super().decode(requests, adapters, spec)


def translator(engine: TorchEngine, spec: SynthesizeSpec) -> Translator:
    return Translator(engine.base, spec.translate, engine=engine, template="lmt-cpt")


def test_an_interrupted_run_ends_with_the_same_rows(world: World) -> None:
    engine = Counting(Base("builtin:tiny"), precision="fp32", device="cpu")
    # two prompts a batch
    settings: dict[str, Any] = {"targets": ["es", "zh"], "translate": {"beams": 1, "batch_tokens": 40}}
    spec = world.spec(*LINES, **settings)
    whole = World(world.folder / "whole")
    whole.folder.mkdir()
    expected = whole.run(whole.spec(*LINES, **settings), translator(engine, spec))
    assert engine.num_prompts == 12
    assert [row["texts"]["es"] for row in expected.rows][:2] == [
        "Mi hijo está en el banco ahora.",
        "La niña está en el hotel ahora.",
    ]
    assert expected.rows[0]["synthetic"] == {"es": f"{LABEL} from en", "zh": f"{LABEL} from en"}
    engine.num_prompts, engine.batches_left = 0, 4
    with pytest.raises(KeyboardInterrupt):
        world.run(spec, translator(engine, spec))
    assert engine.num_prompts == 8  # six into Spanish, two into Chinese
    engine.batches_left = None
    assert world.run(spec, translator(engine, spec)).content == expected.content
    assert engine.num_prompts == 12
