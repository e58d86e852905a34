"""The folder of a run: artifacts named by what made them, work in progress, and readable links to the results.

OUT/recipe.yaml            the resolved recipe of the last run
OUT/run.jsonl              events of all runs, appended
OUT/artifacts/KIND-NAME-DIGEST/   finished stages; DIGEST is that of the stage's key
OUT/work/KIND-NAME-DIGEST/        what unfinished stages continue from
OUT/translations/DIGEST/          every translation that was ever made by the same model in the same way
OUT/run.json                      where everything of the last finished run lies
OUT/pools/NAME, OUT/scores/NAME   links to the artifacts of the last run
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import hexapla
from hexapla.common.artifacts import digest_of, explain_os_errors, is_complete, new_artifact
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog

MADE_BY_RUN = "hexapla run"
"""What the provenance of a run's pools calls their maker; its other entries are then those of a run."""
_DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Workspace:
    """Where a run keeps its results; finished stages are found again by their key."""

    out: Path
    log: EventLog = field(default_factory=lambda: EventLog(None))

    @classmethod
    @contextlib.contextmanager
    def open(cls, out: Path) -> Iterator[Workspace]:
        """Take the folder for one run at a time.

        Raises:
            UserError: another run is using it, or it cannot be written.
        """
        with explain_os_errors(out):
            try:
                out.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, FileNotFoundError) as error:
                raise UserError(
                    "No folder can be made here.", where=str(out), hint="Choose another one with --out."
                ) from error
            lock = (out / ".lock").open("w")
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    "Another run is writing to this folder.",
                    where=str(out),
                    hint="Wait for it, or choose another --out.",
                ) from error
            yield cls(out, EventLog(out / "run.jsonl"))
        finally:
            lock.close()

    def location(self, kind: str, name: str, key: dict[str, Any]) -> Path:
        """The folder of a stage's artifact, finished or not."""
        return self.out / "artifacts" / f"{kind}-{name}-{digest_of(key)[:_DIGEST_LENGTH]}"

    def work(self, artifact: Path) -> Path:
        """The folder where an unfinished stage keeps what it continues from."""
        return self.out / "work" / artifact.name

    def translations(self, identity: dict[str, Any]) -> Path:
        """The folder where translations that depend on `identity` are kept, whatever becomes of them."""
        return self.out / "translations" / digest_of(identity)[:_DIGEST_LENGTH]

    def make(self, kind: str, name: str, key: dict[str, Any], build: Callable[[Path, Path], None]) -> Path:
        """The artifact of a stage: found if it was finished before, otherwise built.

        Args:
            key: everything that the result depends on, as JSON data.
            build: fills a folder (first argument), which appears at its place when it returns; the second is the
                folder for work in progress, removed afterwards.
        """
        folder = self.location(kind, name, key)
        work = self.work(folder)
        if not is_complete(folder):
            with new_artifact(folder, manifest(kind, name, key)) as aside:
                build(aside, work)
        shutil.rmtree(work, ignore_errors=True)  # also what a kill right after the last rename left
        return folder

    def link(self, kind: str, name: str, artifact: Path) -> Path:
        """Point OUT/KIND/NAME to an artifact; returns the link."""
        link = self.out / kind / name
        link.parent.mkdir(parents=True, exist_ok=True)
        aside = link.with_name(f".{name}.part")
        aside.unlink(missing_ok=True)
        aside.symlink_to(Path("..") / artifact.relative_to(self.out))
        aside.replace(link)
        return link


def manifest(kind: str, name: str, key: dict[str, Any]) -> dict[str, Any]:
    """What an artifact says about its making."""
    return {"kind": kind, "name": name, "key": key, "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of everything that a figure may depend on."""
    packages = ("torch", "transformers", "peft", "sacrebleu", "py3langid", "safetensors", "tokenizers", "numpy")
    found = {"hexapla": hexapla.__version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def machine() -> dict[str, str]:
    """What a time was measured on."""
    import torch

    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    return {
        "processor": f"{platform.machine()}, {cores} cores, {threads} threads used",
        "memory": f"{memory_gib:.1f} GiB",
        "gpu": ", ".join(gpus) or "none",
    }
