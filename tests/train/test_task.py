"""Tasks made ready: what is tokenised, what identifies a run, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import BloomConfig

from hexapla.base import Base, load_config, load_tokenizer
from hexapla.common.errors import UserError
from hexapla.data.examples import Example
from hexapla.data.instructions import Instruction
from hexapla.languages import Direction
from hexapla.plan import Job
from hexapla.prompts import get_template
from hexapla.tokenization import EncodedText
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.spec import AdapterSpec, DevelopmentSpec, LoraSpec, TrainSpec
from hexapla.train.task import Preparation, TrainTask, context_window
from tests.train.material import JOB, examples, task, train_spec

Prepare = Callable[..., Preparation]


@pytest.fixture
def preparation(qwen3_base: Path) -> Prepare:
    """Makes a preparation on the tiny base; arguments replace its fields."""
    tokenizer = load_tokenizer(Base(str(qwen3_base)))

    def make(spec: TrainSpec | None = None, **changes: object) -> Preparation:
        made = Preparation(tokenizer, get_template("alma"), "weights", None, spec or train_spec(), 0)
        return replace(made, **changes)

    return make


def test_a_prepared_task_has_the_adapters_own_settings_and_steps(preparation: Prepare) -> None:
    spec = train_spec(adapters={"de-en": AdapterSpec(rank=2, batch=3, epochs=2)})
    prepared = preparation(spec).prepare(task(8))
    assert prepared.name == "de-en"
    assert prepared.spec == spec.of("de-en")
    assert (prepared.spec.lora.rank, prepared.num_steps) == (2, 6)
    assert [example.id for example in prepared.encoded.examples] == [example.id for example in examples(8)]
    assert prepared.num_tokens == sum(len(example.ids) - 1 for example in prepared.encoded.examples)
    assert prepared.development == []


def test_the_digest_is_of_what_an_adapter_depends_on(preparation: Prepare) -> None:
    spec = train_spec()
    digest = preparation().prepare(task(8)).digest
    assert preparation().prepare(task(8)).digest == digest
    neutral = train_spec(micro_batch_tokens=99, checkpoint_every_s=1.0, adapters={"other": AdapterSpec(rank=1)})
    assert preparation(neutral).prepare(task(8)).digest == digest
    others = [
        preparation(train_spec(lora=LoraSpec(rank=3))).prepare(task(8)),
        preparation(train_spec(adapters={"de-en": AdapterSpec(rank=3)})).prepare(task(8)),
        preparation(spec, seed=1).prepare(task(8)),
        preparation(spec, fingerprint="other weights").prepare(task(8)),
        preparation(spec, template=get_template("lmt-cpt")).prepare(task(8)),
        preparation(spec).prepare(task(7)),
        preparation(spec).prepare(TrainTask(Job("other", JOB.directions), examples(8))),
        preparation(spec).prepare(TrainTask(JOB, examples(8)[::-1])),
        preparation(train_spec(development=DevelopmentSpec())).prepare(TrainTask(JOB, examples(8), examples(2))),
        preparation(train_spec(development=DevelopmentSpec())).prepare(TrainTask(JOB, examples(8), examples(3))),
    ]
    digests = [digest, *(other.digest for other in others)]
    assert len(set(digests)) == len(digests) - 1  # rank 3 is rank 3, be it the common one or the adapter's own
    assert others[0].digest == others[1].digest


def test_development_examples_are_encoded_where_they_are_asked_for(preparation: Prepare) -> None:
    given = TrainTask(JOB, examples(8), examples(3))
    assert preparation().prepare(given).development == []
    assert preparation().prepare(given).digest == preparation().prepare(task(8)).digest
    measured = preparation(train_spec(development=DevelopmentSpec())).prepare(given)
    assert [example.id for example in measured.development] == [example.id for example in examples(3)]


def test_no_examples_is_an_error_that_names_the_adapter(preparation: Prepare) -> None:
    with pytest.raises(UserError, match="'de-en' has no examples to train on\\.") as caught:
        preparation().prepare(TrainTask(JOB, []))
    assert caught.value.where == "data.train"
    assert "de-en" in (caught.value.hint or "")
    with pytest.raises(UserError, match="all were set aside \\(8 source-too-long\\)"):
        preparation(train_spec(max_source_tokens=1)).prepare(task(8))
    with pytest.raises(UserError, match="all were set aside \\(8 context-too-long\\)"):
        preparation(context=3).prepare(task(8))


def test_no_development_examples_is_an_error_where_they_are_asked_for(preparation: Prepare) -> None:
    spec = train_spec(development=DevelopmentSpec())
    with pytest.raises(UserError, match="'de-en' has no examples to be measured on while it is trained") as caught:
        preparation(spec).prepare(task(8))
    assert caught.value.where == "data.dev"
    long = [replace(example, target="lang " * 600) for example in examples(2)]
    with pytest.raises(UserError, match=r"measured on .*all were set aside \(2 target-too-long\)"):
        preparation(spec).prepare(TrainTask(JOB, examples(8), long))


INSTRUCTIONS = [
    Instruction("alpaca#1", "en", "Name a river.", "", "The Rhine."),
    Instruction("alpaca#2", "en", "Sum up.", "It rains.", "Wet."),
]


def test_instructions_are_learned_behind_the_examples(preparation: Prepare) -> None:
    plain = preparation().prepare(task(8))
    mixed = preparation().prepare(TrainTask(JOB, examples(8), instructions=INSTRUCTIONS))
    assert [example.id for example in mixed.encoded.examples[:8]] == [example.id for example in examples(8)]
    assert [(example.id, example.direction) for example in mixed.encoded.examples[8:]] == [
        ("alpaca#1", None),
        ("alpaca#2", None),
    ]
    assert (plain.num_steps, mixed.num_steps) == (2, 3)
    assert mixed.digest != plain.digest
    assert preparation().prepare(TrainTask(JOB, examples(8), instructions=INSTRUCTIONS)).digest == mixed.digest
    assert preparation().prepare(TrainTask(JOB, examples(8), instructions=INSTRUCTIONS[:1])).digest != mixed.digest


def test_instructions_set_aside_are_counted_beside_examples(preparation: Prepare) -> None:
    long = [replace(INSTRUCTIONS[0], id="alpaca#3", output="word " * 600)]
    given = TrainTask(JOB, [*examples(7), Example("x de-en", JOB.directions[0], "a", "lang " * 600)], (), long)
    with pytest.raises(UserError, match=r"'de-en' has no instructions.*\(1 output-too-long\)") as caught:
        preparation().prepare(given)
    assert caught.value.where == "data.instructions"
    prepared = preparation().prepare(replace(given, instructions=[*long, *INSTRUCTIONS]))
    assert prepared.encoded.set_asides == {"output-too-long": 1, "target-too-long": 1}


def test_spans_matter_where_objectives_act(preparation: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest depends on directions and spans, and what has none is set aside, only there."""
    off, on = AlignmentSpec(semantic=0.0, matching=0.0), AlignmentSpec()
    specs = {"none": train_spec(), "off": train_spec(objectives=off), "on": train_spec(objectives=on)}
    before = {name: preparation(spec).prepare(task(8)).digest for name, spec in specs.items()}
    span_of = EncodedText.span_of
    with monkeypatch.context() as patch:
        patch.setattr(EncodedText, "span_of", lambda self, span: (span_of(self, span)[0] + 1, span_of(self, span)[1]))
        after = {name: preparation(spec).prepare(task(8)).digest for name, spec in specs.items()}
    assert {name for name in specs if before[name] != after[name]} == {"on"}
    monkeypatch.setattr(EncodedText, "span_of", lambda self, span: (0, 0))
    assert preparation(specs["off"]).prepare(task(8)).encoded.set_asides == {}
    with pytest.raises(UserError, match=r"all were set aside \(8 no-span\)"):
        preparation(specs["on"]).prepare(task(8))


def test_the_context_window_is_the_bases(qwen3_base: Path) -> None:
    config = load_config(Base(str(qwen3_base)))
    assert context_window(config) == config.max_position_embeddings
    assert context_window(BloomConfig()) is None


def test_a_job_of_several_directions_is_one_task(preparation: Prepare) -> None:
    both = Job("west", (Direction("de", "en"), Direction("en", "de")))
    given = [*examples(4), *examples(4, Direction("en", "de"))]
    assert len(preparation().prepare(TrainTask(both, given)).encoded.examples) == 8


def test_development_examples_are_a_sample_by_their_ids(preparation: Prepare) -> None:
    prepare = preparation(train_spec(development=DevelopmentSpec(examples=5))).prepare
    given = examples(20)

    def chosen(development: list[Example]) -> list[str]:
        prepared = prepare(TrainTask(JOB, examples(8), development))
        assert [example.id for example in prepared.measured] == [example.id for example in prepared.development]
        return [example.id for example in prepared.development]

    sample = chosen(given)
    assert len(sample) == 5
    assert sample == [example.id for example in given if example.id in sample] != [example.id for example in given[:5]]
    assert sorted(chosen(given[::-1])) == sorted(sample)
    assert {example.id for example in given[:10]} & set(sample) <= set(chosen(given[:10]))
