"""A job with its examples, made ready for a trainer: tokenised, its settings resolved, its identity taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.common.seeds import uniform
from hexapla.data.examples import Example
from hexapla.data.instructions import Instruction
from hexapla.plan import Job
from hexapla.prompts import Template, template_hash
from hexapla.train.batching import num_steps
from hexapla.train.encoding import EncodedExample, EncodedSet, Limits, encode_examples, encode_instructions
from hexapla.train.spec import TrainSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class TrainTask:
    """What a trainer is given for one adapter: the job, its examples, and those to measure it on meanwhile.

    Attributes:
        instructions: general ones to train on as well, already mixed: each as often as it stands here.
    """

    job: Job
    examples: Sequence[Example]
    development: Sequence[Example] = ()
    instructions: Sequence[Instruction] = ()


@dataclass(frozen=True)
class PreparedTask:
    """A task that can be trained.

    Attributes:
        spec: the adapter's own settings.
        encoded: its examples; `development` those to measure on, `measured` the same as texts.
        digest: of everything that the adapter depends on, the order of summation aside.
    """

    job: Job
    spec: TrainSpec
    encoded: EncodedSet
    development: list[EncodedExample]
    measured: list[Example]
    digest: str

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.job.name

    @property
    def num_steps(self) -> int:
        """Updates that the settings ask for."""
        return num_steps(len(self.encoded.examples), self.spec.batch, self.spec.epochs)

    @property
    def num_tokens(self) -> int:
        """Tokens of one epoch that go through the base."""
        return sum(example.num_input_tokens for example in self.encoded.examples)


@dataclass(frozen=True)
class Preparation:
    """What all tasks of a trainer share: the base's tokenizer, fingerprint and window, the template, settings, seed."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    fingerprint: str
    context: int | None
    spec: TrainSpec
    seed: int

    def prepare(self, task: TrainTask) -> PreparedTask:
        """Tokenise a task's examples and, behind them, its general instructions.

        Raises:
            UserError: no example is left to train on, or to measure on where that is asked for; or none of the
                instructions.
        """
        name, spec = task.job.name, self.spec.of(task.job.name)
        aligned = spec.acting_objectives is not None
        encoded = self._encode(task.job, task.examples, "data.train", needs_spans=aligned)
        if task.instructions:
            encoded = self._with_instructions(task, encoded)
        development: list[EncodedExample] = []
        if spec.development is not None:
            chosen = sample_examples(task.development, spec.development.examples, self.seed, "development")
            development = self._encode(task.job, chosen, "data.dev").examples
        kept = {example.id for example in development}
        measured = [example for example in task.development if example.id in kept]
        digest = digest_of(
            {
                "spec": self.spec.outcome(name),
                "seed": self.seed,
                "adapter": name,
                "base": self.fingerprint,
                "template": template_hash(self.template, self.tokenizer),
                "examples": encoded.digest(spans=aligned),
                "development": EncodedSet(development, {}).digest(),
            }
        )
        return PreparedTask(task.job, spec, encoded, development, measured, digest)

    def _encode(self, job: Job, examples: Sequence[Example], where: str, *, needs_spans: bool = False) -> EncodedSet:
        encoded = encode_examples(self.tokenizer, self.template, examples, self._limits, needs_spans=needs_spans)
        if not encoded.examples:
            reasons = ", ".join(f"{count} {reason}" for reason, count in encoded.set_asides.items())
            purpose = "train on" if where == "data.train" else "be measured on while it is trained"
            raise UserError(
                f"The adapter {job.name!r} has no examples to {purpose}"
                + (f": all were set aside ({reasons})." if reasons else "."),
                where=where,
                hint=f"It needs rows with both sides of {', '.join(map(str, job.directions[:5]))}.",
            )
        return encoded

    def _with_instructions(self, task: TrainTask, encoded: EncodedSet) -> EncodedSet:
        """Examples with the task's general instructions behind them, and what was set aside of both."""
        added = encode_instructions(self.tokenizer, self.template, task.instructions, self._limits)
        if not added.examples:
            reasons = ", ".join(f"{count} {reason}" for reason, count in added.set_asides.items())
            raise UserError(
                f"The adapter {task.job.name!r} has no instructions to train on: all were set aside ({reasons}).",
                where="data.instructions",
            )
        return EncodedSet(encoded.examples + added.examples, {**encoded.set_asides, **added.set_asides})

    @property
    def _limits(self) -> Limits:
        return Limits(self.spec.max_source_tokens, self.spec.max_target_tokens, self.context)


def sample_examples(examples: Sequence[Example], number: int, seed: int, purpose: str) -> list[Example]:
    """At most so many of the examples, chosen by the hash of their ids, in their order.

    Args:
        purpose: names the choice: another one takes other examples.
    """
    ranked = sorted(range(len(examples)), key=lambda place: uniform(seed, purpose, examples[place].id))
    return [examples[place] for place in sorted(ranked[:number])]


def context_window(config: PretrainedConfig) -> int | None:
    """Tokens that the base takes at most; None when its configuration names no limit."""
    window: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return window
