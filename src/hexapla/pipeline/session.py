"""What the parts of a run share while it goes on."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hexapla.base import Base, fingerprint
from hexapla.common.artifacts import digest_of
from hexapla.common.progress import duration
from hexapla.pipeline.corpora import Corpora
from hexapla.pipeline.instructions import InstructionStore
from hexapla.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from hexapla.translate.engines.torch_engine import TorchEngine


@dataclass
class Session:
    """What the parts of a run share: the workspace, the latest base for decoding, warnings and times.

    Attributes:
        baselines: fingerprints of the bare bases that are measured already; later parts leave them out.
        made: digest of what decides an artifact → its folder, so that no part hashes files that another one has hashed.
        corpora: what they are read through.
        instructions: files of general instructions, each surveyed once, and the latest mix of them.
    """

    workspace: Workspace
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    baselines: set[str] = field(default_factory=set)
    made: dict[str, Path] = field(default_factory=dict)
    corpora: Corpora = field(default_factory=Corpora)
    instructions: InstructionStore = field(default_factory=InstructionStore)
    _engine: TorchEngine | None = None

    def once(self, decided_by: Any, make: Callable[[], Path]) -> Path:
        """The artifact that JSON data decides, given the files that are there while a run goes on."""
        digest = digest_of(decided_by)
        if digest not in self.made:
            self.made[digest] = make()
        return self.made[digest]

    def engine(self, base: Base, precision: Literal["auto", "fp32", "bf16"]) -> TorchEngine:
        """The base for decoding; the one before is let go."""
        from hexapla.translate.engines.torch_engine import TorchEngine

        if self._engine is None or fingerprint(self._engine.base) != fingerprint(base):
            self._engine = None
            self._engine = TorchEngine(base, precision=precision)
        return self._engine

    @contextlib.contextmanager
    def stage(self, name: str, label: str) -> Iterator[None]:
        """Say what runs and how long it took; the times of all parts add up."""
        shown = f"{label}: {name}" if label else name
        print(f"[{shown}]", file=sys.stderr, flush=True)
        self.workspace.log.write("stage-start", stage=name, part=label)
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.workspace.log.write("stage-end", stage=name, part=label, seconds=round(took, 3))
        print(f"[{shown}] {duration(took)}", file=sys.stderr, flush=True)
