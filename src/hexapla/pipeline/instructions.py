"""General instructions beside the translation examples of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hexapla.common.artifacts import digest_of
from hexapla.common.progress import EventLog
from hexapla.data.examples import Example
from hexapla.data.instructions import (
    Instruction,
    InstructionFile,
    InstructionMix,
    InstructionSource,
    InstructionsSpec,
    mix_instructions,
)
from hexapla.data.readers.base import require_file
from hexapla.plan import Job
from hexapla.recipe import Recipe


def takes_instructions(recipe: Recipe, job: Job) -> bool:
    """Whether instructions are mixed into a job: only into that of all directions, where the recipe has any."""
    return recipe.data.instructions is not None and set(job.directions) == set(recipe.layout.directions)


@dataclass
class InstructionStore:
    """What the parts of a run share of their instructions: a file is surveyed once, and the latest mix is held.

    A file that was changed in between is surveyed again.
    """

    _files: dict[str, InstructionFile] = field(default_factory=dict)
    _mix: tuple[str, InstructionMix] | None = None

    def survey(self, spec: InstructionsSpec) -> dict[str, InstructionFile]:
        """Source → what its file has, in the order of the sources.

        Raises:
            UserError: a file of instructions cannot be used.
        """
        return {source.source: self._file(source) for source in spec.sources}

    def mixed_in(
        self, recipe: Recipe, job: Job, examples: Sequence[Example], log: EventLog
    ) -> tuple[Sequence[Example], Sequence[Instruction]]:
        """What a job is trained on: its translation examples, and the instructions that the recipe mixes with them.

        Raises:
            UserError: a file of instructions cannot be used.
        """
        spec = recipe.data.instructions
        if spec is None or not takes_instructions(recipe, job):
            return examples, ()
        files = self.survey(spec)
        mix = self._mixed(spec, files, [example.id for example in examples], recipe.seed)
        log.write(
            "instructions",
            job=job.name,
            read={name: len(found) for name, found in files.items()},
            set_asides={name: found.set_asides for name, found in files.items()},
            instructions=len(mix.instructions),
            translations=len(mix.translations),
        )
        return [examples[position] for position in mix.translations], mix.instructions

    def _file(self, source: InstructionSource) -> InstructionFile:
        identity = _identity(source)
        if identity not in self._files:
            self._files[identity] = InstructionFile.survey(source)
        return self._files[identity]

    def _mixed(
        self, spec: InstructionsSpec, files: dict[str, InstructionFile], translations: list[str], seed: int
    ) -> InstructionMix:
        files_now = [_identity(source) for source in spec.sources]
        decided_by = digest_of([spec.resolved(), files_now, translations, seed])
        if self._mix is None or self._mix[0] != decided_by:
            self._mix = None  # the one before is let go
            self._mix = decided_by, mix_instructions(spec, files, translations, seed)
        return self._mix[1]


def _identity(source: InstructionSource) -> str:
    """What tells a source from others, and its file from what it was before.

    Raises:
        UserError: the file is missing.
    """
    require_file(source.file)
    status = source.file.stat()
    return digest_of([source.resolved(), status.st_size, status.st_mtime_ns])
