"""A whole bank on disk as it was at one moment, written while training goes on.

Each checkpoint is a generation, a folder artifact: one safetensors file a row, `state.json`, and last the manifest with
digests of both. Rows that did not change since the generation before are hard links to its files.

Consistency is copy-on-write. The writer, a thread of its own, takes row after row; the training thread calls `touch`
before it changes one. A row that is still to be written is then copied first, and a row that is just being read is
waited for. Beyond the bank itself `max_copies` + 1 rows are held in memory.
"""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hexapla.common.artifacts import (
    MANIFEST,
    digest_file,
    digest_of,
    explain_os_errors,
    new_artifact,
    read_json,
    write_text,
)
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.bank.snapshot import RowBuffer, RowSource, Snapshot

STATE_FILE = "state.json"

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class StoredRow:
    """A row in a generation: `path` holds its tensors, `num_bytes` and `sha256` are the file's."""

    name: str
    version: int
    path: Path
    num_bytes: int
    sha256: str

    def tensors(self) -> dict[str, Tensor]:
        """Read the row, on the CPU; nothing of it is kept here.

        Raises:
            CorruptArtifactError: the file was removed or damaged after the generation was loaded.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        except (SafetensorError, OSError) as error:
            raise CorruptArtifactError(f"This row cannot be read ({error}).", where=str(self.path)) from error


@dataclass(frozen=True)
class Loaded:
    """A generation: the state given to `begin`, the rows by name, and what was passed over to get here, if anything."""

    state: dict[str, Any]
    rows: dict[str, StoredRow]
    note: str | None


class BankCheckpoints:
    """The newest generations of one bank in a folder of its own; `begin`, `touch` and `finish` are for one thread.

    Call `load` first: it refuses generations of another run, which `begin` would replace.

    Args:
        folder: holds the generations; room for `keep` + 1 of them is needed.
        run: digest of everything that the run depends on.
        keep: complete generations that stay.
        max_copies: rows that may be copied ahead of the writer: less waiting in `touch`, more memory, which stays
            allocated.
    """

    def __init__(self, folder: Path, run: str, *, keep: int = 2, max_copies: int = 2) -> None:
        if keep < 1:
            raise ValueError("at least one generation must be kept")
        self._folder, self._run, self._keep = folder, run, keep
        self._buffers = [RowBuffer() for _ in range(max_copies + 1)]
        self._executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="bank-checkpoint")
        self._writing: concurrent.futures.Future[dict[str, StoredRow]] | None = None
        self._snapshot: Snapshot | None = None
        self._previous: dict[str, StoredRow] = {}
        self._damaged: list[Path] = []

    def begin(self, state: Mapping[str, Any], rows: Sequence[RowSource]) -> None:
        """Start to write the bank as it is now, after the checkpoint before it is written.

        Args:
            state: JSON data; may change as soon as this returns.
            rows: `touch` takes positions in it.

        Raises:
            UserError: the disk refuses, now or during the checkpoint before.
        """
        if len({row.name for row in rows}) != len(rows):
            raise ValueError("two rows of the bank have the same name")
        text = json.dumps(state, ensure_ascii=False)
        self.finish()
        with explain_os_errors(self._folder):
            self._remove_leftovers()
            folder = self._next_folder()
        unchanged = [row.name in self._previous and row.version == self._previous[row.name].version for row in rows]
        self._snapshot = Snapshot(rows, unchanged, self._buffers)
        self._writing = self._executor.submit(self._write, folder, text, rows, self._snapshot)

    def touch(self, row: int) -> None:
        """To be called before anything of a row is changed; keeps what a checkpoint under way still needs of it.

        Waits while the writer reads this very row, or while `max_copies` copies wait to be written.
        """
        if self._snapshot is not None:
            self._snapshot.keep(row)

    def finish(self) -> None:
        """Wait until the checkpoint under way is on disk.

        Raises:
            UserError: the disk refused; older generations are whole.
        """
        if self._writing is None:
            return
        concurrent.futures.wait([self._writing])
        writing, self._writing, self._snapshot = self._writing, None, None
        self._previous = writing.result()

    def load(self) -> Loaded | None:
        """The newest generation of which every byte is as it was written; None when there is no generation.

        Every file is read once here, in pieces; the rows themselves are read one by one when asked for.

        Raises:
            UserError: it is of a run with other settings, examples or base; or the disk refuses.
            CorruptArtifactError: there are generations, all damaged; names the damaged file of the newest.
        """
        self.finish()
        self._damaged, first = [], None
        with explain_os_errors(self._folder):
            self._remove_leftovers()
            for folder in self._generations():
                try:
                    state, rows = self._read(folder)
                except CorruptArtifactError as error:
                    self._damaged.append(folder)
                    first = first or error
                    continue
                self._previous = {row.name: row for row in rows}
                note = f"{first} The checkpoint before it is used: {folder.name}." if first else None
                return Loaded(state, dict(self._previous), note)
        if first is not None:
            hint = f"Delete {self._folder} to train these adapters anew."
            raise CorruptArtifactError(first.what, where=first.where, hint=hint) from first
        return None

    def _write(self, folder: Path, state: str, rows: Sequence[RowSource], snapshot: Snapshot) -> dict[str, StoredRow]:
        """The writer's work: one generation, then the removal of those beyond `keep`."""
        stored: dict[int, StoredRow] = {}
        manifest: dict[str, Any] = {"run": self._run}

        def link(position: int) -> bool:
            earlier = self._previous[rows[position].name]
            try:
                if earlier.path.stat().st_size != earlier.num_bytes:
                    return False
                os.link(earlier.path, aside / _row_file(position))
            except OSError:  # no hard links on this file system, or the older generation was removed by hand
                return False
            stored[position] = earlier
            return True

        def write(position: int, tensors: Mapping[str, Tensor]) -> None:
            row, path = rows[position], aside / _row_file(position)
            num_bytes, sha256 = _write_tensors(path, tensors)
            stored[position] = StoredRow(row.name, row.version, path, num_bytes, sha256)

        with snapshot, new_artifact(folder, manifest) as aside:
            snapshot.drain(link, write)
            write_text(aside / STATE_FILE, state)
            manifest["state_sha256"] = digest_file(aside / STATE_FILE)
            manifest["rows"] = [asdict(row) | {"path": _row_file(position)} for position, row in sorted(stored.items())]
            manifest["sha256"] = digest_of(manifest)
        with explain_os_errors(self._folder):
            self._prune()
        return {record["name"]: StoredRow(**record | {"path": folder / record["path"]}) for record in manifest["rows"]}

    def _read(self, folder: Path) -> tuple[dict[str, Any], list[StoredRow]]:
        """State and rows of a generation, all compared with their digests."""
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.pop("sha256", None) != digest_of(manifest):
            raise CorruptArtifactError("This checkpoint's manifest is damaged.", where=str(folder / MANIFEST))
        if manifest["run"] != self._run:
            raise UserError(
                f"This checkpoint is of another run ({manifest['run'][:12]}, now {self._run[:12]}): "
                "settings, examples or base changed.",
                where=str(folder),
                hint=f"Give back the old recipe to go on with it, or delete {self._folder} to train anew.",
            )
        rows = [StoredRow(**record | {"path": folder / record["path"]}) for record in manifest["rows"]]
        _compare(folder / STATE_FILE, manifest["state_sha256"])
        for row in rows:
            _compare(row.path, row.sha256)
        return read_json(folder / STATE_FILE), rows

    def _prune(self) -> None:
        """Leave the `keep` newest generations; one that `load` found damaged does not count as one."""
        whole = [folder for folder in self._generations() if folder not in self._damaged]
        for folder in [*self._damaged, *whole[self._keep :]]:
            _discard(folder)
        self._damaged = []

    def _generations(self) -> list[Path]:
        """Folders of the generations, newest first."""
        if not self._folder.is_dir():
            return []
        folders = [path for path in self._folder.iterdir() if re.fullmatch(r"generation-\d+", path.name)]
        return sorted(folders, key=_number, reverse=True)

    def _next_folder(self) -> Path:
        number = max(map(_number, self._generations()), default=0) + 1
        return self._folder / f"generation-{number:06}"

    def _remove_leftovers(self) -> None:
        for path in self._folder.glob(".generation-*.part"):
            shutil.rmtree(path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
    """Write CPU tensors as a new safetensors file; returns its size and sha256.

    Not with the library: its `save` stops all Python threads for the time of the copy, and the errors of its
    `save_file` do not say which one of the disk's they are.
    """
    # Wide types first, so that every tensor is aligned, as the library writes them.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    parts: list[bytes | memoryview] = [len(text).to_bytes(8, "little") + text]
    parts += [tensors[name].reshape(-1).view(torch.uint8).numpy().data for name in names]
    sha256 = hashlib.sha256()
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
            sha256.update(part)
        return file.tell(), sha256.hexdigest()


def _compare(path: Path, sha256: str) -> None:
    try:
        found = digest_file(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EIO):
            raise
        raise CorruptArtifactError(f"This part of a checkpoint is lost ({error.strerror}).", where=str(path)) from error
    if found != sha256:
        raise CorruptArtifactError("This part of a checkpoint is damaged: its digest is another.", where=str(path))


def _discard(folder: Path) -> None:
    """Remove a generation; killed in the middle, it is a leftover, not a damaged generation."""
    leftover = folder.with_name(f".{folder.name}.part")
    folder.rename(leftover)
    shutil.rmtree(leftover)


def _row_file(position: int) -> str:
    return f"row-{position:04}.safetensors"


def _number(generation: Path) -> int:
    return int(generation.name.removeprefix("generation-"))
