"""An adapter trained in the bank is the one trained alone through peft."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.adapter import LoraAdapter
from hexapla.common.artifacts import read_jsonl
from hexapla.train.result import LOG_FILE
from hexapla.train.spec import OptimizerSpec, TrainSpec
from tests.train.bank.runs import SIZES, distance, tasks, train
from tests.train.material import train_spec

_RANKS = (4, 2, 8, 4, 3, 4, 1)
_FIFTY_STEPS = 50
# Near the median of the gradients' norms: some steps are clipped, others are not.
_MAX_GRAD_NORM = {"qwen3": 1.9, "llama": 1.7, "gemma": 0.8}


def settings(architecture: str, number: int) -> TrainSpec:
    """Rates of a real run, and for every adapter its own rank, batch and number of epochs: at least 50 steps."""
    own = {}
    for index, size in enumerate(SIZES[:number]):
        batch = 2 + index % 3
        epochs = -(-_FIFTY_STEPS // -(-size // batch))
        own[f"adapter-{index}"] = {"rank": _RANKS[index], "alpha": 2 * _RANKS[index], "batch": batch, "epochs": epochs}
    optimizer = OptimizerSpec(
        lr=2e-3,
        schedule="inverse-sqrt",
        warmup=0.1,
        weight_decay=0.1,
        max_grad_norm=_MAX_GRAD_NORM[architecture],
    )
    return train_spec(optimizer=optimizer, adapters=own, micro_batch_tokens=700)


class References:
    """Adapters trained one by one through peft, each once for all tests of an architecture."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], LoraAdapter] = {}

    def get(self, architecture: str, base: Path, index: int) -> LoraAdapter:
        """The adapter of a task."""
        task = tasks(index + 1)[index]
        name = task.job.name
        if (architecture, name) not in self._made:
            alone = settings(architecture, index + 1).of(name).model_copy(update={"method": "peft"})
            made = train(base, alone, [task], self._folder / architecture / f"alone-{index}")
            self._made[architecture, name] = made[name]
        return self._made[architecture, name]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    """What the bank's adapters are compared with."""
    return References(tmp_path_factory.mktemp("references"))


@pytest.mark.parametrize(
    ("architecture", "number"), [("qwen3", 1), ("qwen3", 2), ("qwen3", 7), ("llama", 2), ("gemma", 2)]
)
def test_the_bank_equals_peft_adapter_by_adapter(
    architecture: str, number: int, references: References, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue(f"{architecture}_base")
    together = train(base, settings(architecture, number), tasks(number), tmp_path)
    norms: list[float] = []
    for index in range(number):
        name = f"adapter-{index}"
        reference = references.get(architecture, base, index)
        assert together[name].settings == reference.settings
        assert distance(together[name], reference) <= 1e-5
        records = read_jsonl(tmp_path / name / LOG_FILE)
        assert len(records) >= _FIFTY_STEPS
        norms += [record["gradient_norm"] for record in records]
    num_clipped = sum(norm > _MAX_GRAD_NORM[architecture] for norm in norms)
    assert 0.1 * len(norms) <= num_clipped <= 0.9 * len(norms)
