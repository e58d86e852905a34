"""General instructions beside the translation examples of a job."""

from __future__ import annotations

from collections.abc import Sequence

from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.data.instructions import Instruction, load_instructions, mix_instructions
from hexapla.plan import Job
from hexapla.recipe import Recipe


def mixed_in(
    recipe: Recipe, job: Job, examples: Sequence[Example], log: EventLog
) -> tuple[Sequence[Example], Sequence[Instruction]]:
    """What a job is trained on: its translation examples, and the instructions that the recipe mixes with them.

    Only the job of all directions has any.

    Raises:
        UserError: a file of instructions cannot be used.
    """
    spec = recipe.data.instructions
    if spec is None or set(job.directions) != set(recipe.layout.directions):
        return examples, ()
    loaded = load_instructions(spec)
    mix = mix_instructions(spec, loaded.by_source, [example.id for example in examples], recipe.seed)
    log.write(
        "instructions",
        job=job.name,
        read={name: len(found) for name, found in loaded.by_source.items()},
        set_asides=loaded.set_asides,
        instructions=len(mix.instructions),
        translations=len(mix.translations),
    )
    return [examples[position] for position in mix.translations], mix.instructions
