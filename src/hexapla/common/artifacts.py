"""Files and folders that appear whole or not at all, and that carry what made them.

Every write in Hexapla goes through here: write aside, fsync, rename. A folder artifact is complete
when its `artifact.json` exists; it is written last.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexapla.common.errors import CorruptArtifactError, UserError

MANIFEST = "artifact.json"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the form that digests are taken of."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON of `value`, as hex."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def update_with_sample(digest: hashlib._Hash, path: Path) -> None:
    """Add 64 evenly spaced blocks of 4 KiB of a file: the identity of weights too large to read at every start."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for block in range(64):
            file.seek(block * size // 64)
            digest.update(file.read(4096))


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the disk's refusals (full, read-only, no permission, no such place) into a `UserError` naming the path."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "The disk is full.",
            errno.EDQUOT: "The disk quota is used up.",
            errno.EFBIG: "A file would be too large for the file system or for the limit on file sizes (ulimit -f).",
            errno.EROFS: "The file system is read-only.",
            errno.ENOTDIR: "A part of this path is a file, not a folder.",
            errno.ENAMETOOLONG: "This path is too long.",
            errno.EACCES: "Permission denied.",
            errno.EPERM: "Permission denied.",
        }
        if error.errno not in reasons:
            raise
        raise UserError(
            f"{reasons[error.errno]} What was finished before is kept.",
            where=str(path),
            hint="Free some space or choose another folder with --out, then give the same command again.",
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically and durably."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by indented JSON atomically; keys keep their order."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    """Replace `path` by one JSON object a line atomically."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        CorruptArtifactError: the file is missing, not UTF-8 or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CorruptArtifactError("This file does not exist.", where=str(path)) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorruptArtifactError(f"This is not readable JSON ({error}).", where=str(path)) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a file of ours with one JSON object a line.

    Raises:
        CorruptArtifactError: the file is missing or a line is not JSON.
    """
    try:
        # Not splitlines: U+2028 and U+0085 stand unescaped inside JSON strings.
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except FileNotFoundError as error:
        raise CorruptArtifactError("This file does not exist.", where=str(path)) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorruptArtifactError(f"This is not readable JSON lines ({error}).", where=str(path)) from error


def is_complete(folder: Path) -> bool:
    """Whether `folder` is a finished artifact."""
    return (folder / MANIFEST).is_file()


@contextlib.contextmanager
def new_artifact(folder: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """Build a folder artifact: yields a folder aside; on success it is renamed to `folder`.

    `manifest` (what made it; the builder may add counts to it inside the block) is written last. On an error the
    folder aside is removed, and what stood at `folder` stays as it was. An incomplete `folder` is replaced.
    """
    with explain_os_errors(folder):
        aside = folder.with_name(f".{folder.name}.part")
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        try:
            yield aside
            for file in sorted(aside.rglob("*")):
                if file.is_file():
                    _sync_file(file)
            write_json(aside / MANIFEST, manifest)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
        _sync_folder(folder.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_sync_folder = _sync_file  # on Linux a folder is opened and synced the same way
