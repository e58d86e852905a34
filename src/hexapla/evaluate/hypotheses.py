"""Translations on disk as they come, so that no evaluation translates anything twice.

The log is a JSONL file in a folder beside `identity.json`, which says what the translations depend on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hexapla.common.artifacts import digest_of, explain_os_errors, read_json, write_json
from hexapla.common.errors import UserError
from hexapla.prompts import Auxiliary

_LOG_FILE = "hypotheses.jsonl"
_IDENTITY_FILE = "identity.json"


class TranslationLike(Protocol):
    """What the translator gives: the text, and why it ended (`stop`, `length`, `loop`, ...)."""

    @property
    def text(self) -> str:
        """The translation."""

    @property
    def finish(self) -> str:
        """Why decoding ended."""


class Hypothesis(NamedTuple):
    """A translation that was logged."""

    text: str
    finish: str


class SegmentKey(NamedTuple):
    """What a translation belongs to; a changed source is another segment, and so is a changed auxiliary sentence."""

    test: str
    direction: str
    row: str
    source_digest: str


class HypothesisLog:
    """Appends translations, flushed one by one; knows those of earlier attempts.

    Raises:
        UserError: the folder holds translations that depend on something else than `identity`.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.known: dict[SegmentKey, Hypothesis] = {}
        self._path = folder / _LOG_FILE
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _require_identity(folder / _IDENTITY_FILE, identity)
            self._recover(self._path)
            self._file = self._path.open("a", encoding="utf-8")

    def __enter__(self) -> HypothesisLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, key: SegmentKey, translation: TranslationLike) -> None:
        """Remember a translation and write it at once."""
        # str.__str__: the finish may be a member of a string enumeration, whose str() is the member's name
        hypothesis = Hypothesis(translation.text, str.__str__(translation.finish))
        self.known[key] = hypothesis
        with explain_os_errors(self._path):
            self._file.write(json.dumps([*key, *hypothesis], ensure_ascii=False) + "\n")
            self._file.flush()

    def _recover(self, path: Path) -> None:
        """Read what is whole; cut the file at the first line that is not, which a kill or a power loss left."""
        if not path.exists():
            return
        sound_bytes = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or not self._read(line):
                    break
                sound_bytes += len(line)
        with path.open("rb+") as file:
            file.truncate(sound_bytes)

    def _read(self, line: bytes) -> bool:
        try:
            test, direction, row, source_digest, text, finish = json.loads(line.decode("utf-8"))
        except (ValueError, TypeError):  # ValueError: also broken UTF-8, and a list of another length
            return False
        self.known[SegmentKey(test, direction, row, source_digest)] = Hypothesis(text, finish)
        return True


def source_digest(source: str, auxiliary: Auxiliary | None = None) -> str:
    """A short digest of a source sentence and of what the prompt shows beside it."""
    return digest_of(source if auxiliary is None else [source, *auxiliary])[:16]


def _require_identity(path: Path, identity: Mapping[str, Any]) -> None:
    if not path.exists():
        write_json(path, dict(identity))
        return
    found = read_json(path)
    if digest_of(found) != digest_of(dict(identity)):
        keys = sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key))
        raise UserError(
            f"The folder holds translations made otherwise; what differs: {', '.join(keys)}.",
            where=str(path.parent),
            hint="Give the same pool, test sets and settings as before, or another folder.",
        )
