"""The token store: every document tokenised once, as flat files that are mapped into memory when they are read.

A source has three files: `NAME.tokens` (documents one behind another), `NAME.starts` (int64, where each begins) and
`NAME.lengths` (int32). They grow by appending; every few million tokens they are synced and `progress.json` is
replaced. It says how much of them counts and up to which byte the corpus was read: a build that was killed cuts them
back to that and goes on. `artifact.json` is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hexapla.common import artifacts
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.common.progress import Progress
from hexapla.data.mixer import MixSource
from hexapla.data.storage import rows_from
from hexapla.prompts import get_template, template_hash
from hexapla.tokenization import leading_ids
from hexapla.train.encoding import control_ids
from hexapla.train.pretrain.documents import BILINGUAL, MONOLINGUAL, Document, Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROGRESS_FILE = "progress.json"
_BATCH_CHARACTERS = 1_000_000  # tokenised at once: keeps the tokenizer's threads busy in some 100 MB
_COMMIT_TOKENS = 1 << 22  # tokens held in memory until they are written: 16 MB, and the most that a kill loses


@dataclass(frozen=True)
class PretrainText:
    """What is tokenised.

    Attributes:
        monolingual, bilingual: files of rows; None: there are none.
        hubs: codes in the order of the recipe.
    """

    monolingual: Path | None
    bilingual: Path | None
    hubs: tuple[str, ...]

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Kind and path of the files that are given."""
        given = ((MONOLINGUAL, self.monolingual), (BILINGUAL, self.bilingual))
        return [(kind, path) for kind, path in given if path is not None]


class StoredSource:
    """The documents of one source, mapped: `tokens` [all tokens], `starts` and `lengths` [documents]."""

    def __init__(self, folder: Path, name: str, num_documents: int, num_tokens: int, dtype: str) -> None:
        self.name, self.num_tokens = name, num_tokens
        self.tokens = mapped(folder / f"{name}.tokens", dtype, num_tokens)
        self.starts = mapped(folder / f"{name}.starts", "int64", num_documents)
        self.lengths = mapped(folder / f"{name}.lengths", "int32", num_documents)

    def mix_source(self) -> MixSource:
        """As the mixer takes it."""
        return MixSource(self.name, self.lengths, self.num_tokens)


class TokenStore:
    """A finished store.

    Raises:
        CorruptArtifactError: it is not finished, or a file is shorter than it says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = artifacts.read_json(folder / artifacts.MANIFEST)
        counts = self.manifest["sources"]
        self.sources = tuple(
            StoredSource(folder, name, counts[name]["documents"], counts[name]["tokens"], self.manifest["dtype"])
            for name in counts
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the order of their indices."""
        return tuple(source.name for source in self.sources)

    @property
    def digest(self) -> str:
        """sha256 of what the store was made of."""
        return str(self.manifest["request"])


def build_store(
    folder: Path, tokenizer: PreTrainedTokenizerBase, text: PretrainText, *, length: int, seed: int
) -> TokenStore:
    """Tokenise into a folder in `folder`, or go on where that was interrupted, or only open what is finished.

    A document ends with the end of sequence and begins with the special tokens that the tokenizer puts first. Plain
    text longer than `length` is cut into pieces of equal length. Set aside, by source and reason: `special-token` (the
    text holds a control token), `too-long` (a pair is longer than `length`), `no-pair` (a row for pairs has none).

    Args:
        length: tokens of a packed sequence.
        seed: of the direction of pairs.

    Raises:
        UserError: the disk is full, or no document is left.
        CorruptArtifactError: a line of the text is not a row.
    """
    digest = _digest(tokenizer, text, length, seed)
    folder = folder / f"tokens-{digest[:16]}"
    if not artifacts.is_complete(folder):
        with artifacts.explain_os_errors(folder):
            _Builder(folder, tokenizer, text, length=length, seed=seed, digest=digest).run()
    return TokenStore(folder)


def _digest(tokenizer: PreTrainedTokenizerBase, text: PretrainText, length: int, seed: int) -> str:
    """sha256 of everything that decides the tokens; of the files, of evenly spaced blocks."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for passing in ("truncation", "padding"):  # those of the latest call
        del state[passing]
    template = get_template("lmt-cpt")
    settings = {
        "tokenizer": state,
        "template": template_hash(template),
        "leading": leading_ids(tokenizer, template),
        "end": tokenizer.eos_token_id,
        "hubs": text.hubs,
        "length": length,
        "seed": seed,
    }
    sha = hashlib.sha256(artifacts.canonical_json(settings).encode())
    for kind, path in text.files:
        sha.update(f"{kind} {path.stat().st_size}".encode())
        artifacts.update_with_sample(sha, path)
    return sha.hexdigest()


class _Builder:
    """A store in the making."""

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        text: PretrainText,
        *,
        length: int,
        seed: int,
        digest: str,
    ) -> None:
        self._folder, self._tokenizer, self._files = folder, tokenizer, text.files
        self._length, self._seed, self._digest = length, seed, digest
        self._renderer = Renderer(text.hubs, seed)
        self._leading = leading_ids(tokenizer, get_template("lmt-cpt"))
        num_ids = max(tokenizer.get_vocab().values()) + 1
        self._is_control = np.zeros(num_ids, dtype=bool)
        self._is_control[sorted(control_ids(tokenizer))] = True
        self._dtype = "uint16" if num_ids <= 1 << 16 else "int32"
        folder.mkdir(parents=True, exist_ok=True)
        self._state = self._resumed()
        self._pending: dict[str, list[np.ndarray]] = {name: [] for name in self._renderer.sources}
        self._num_pending = 0

    def run(self) -> None:
        """Tokenise what is left, then write the manifest."""
        sizes = [path.stat().st_size for _, path in self._files]
        done = sum(sizes[: self._state["file"]]) + self._state["offset"]
        progress = Progress("tokenising", sum(sizes) >> 10, unit="KiB", done=done >> 10)
        for index, (kind, path) in enumerate(self._files):
            if index < self._state["file"]:
                continue
            start = self._state["offset"] if index == self._state["file"] else 0
            for documents, offset in self._batches(kind, path, start):
                self._add(documents)
                progress.advance((offset >> 10) - (start >> 10), f"{self._num_tokens()} tokens")
                start = offset
                self._state |= {"file": index, "offset": offset}
                if self._num_pending >= _COMMIT_TOKENS:
                    self._commit()
            self._state |= {"file": index + 1, "offset": 0}
        self._commit()
        progress.close(f"{self._num_tokens()} tokens")
        if not self._num_tokens():
            raise UserError(
                "No document is left to pre-train on.",
                where=str(self._folder),
                hint=f"Set aside: {self._state['set_aside']}.",
            )
        artifacts.write_json(self._folder / artifacts.MANIFEST, self._manifest())
        (self._folder / _PROGRESS_FILE).unlink()

    def _resumed(self) -> dict[str, Any]:
        """The state that was committed, the files cut to it; else a new one."""
        path = self._folder / _PROGRESS_FILE
        state: dict[str, Any] | None = artifacts.read_json(path) if path.exists() else None
        if state is None:
            empty = {name: {"documents": 0, "tokens": 0} for name in self._renderer.sources}
            state = {"file": 0, "offset": 0, "sources": empty, "set_aside": {}}
        for name, counts in state["sources"].items():
            for (suffix, dtype), key in zip(self._suffixes(), ("tokens", "documents", "documents"), strict=True):
                file = self._folder / f"{name}.{suffix}"
                file.touch()
                os.truncate(file, counts[key] * np.dtype(dtype).itemsize)
        return state

    def _suffixes(self) -> tuple[tuple[str, str], ...]:
        return (("tokens", self._dtype), ("starts", "int64"), ("lengths", "int32"))

    def _num_tokens(self) -> int:
        return self._num_pending + sum(counts["tokens"] for counts in self._state["sources"].values())

    def _batches(self, kind: str, path: Path, offset: int) -> Iterator[tuple[list[Document], int]]:
        """Documents of whole rows, about so many characters at once, and the byte behind their last row."""
        render = self._renderer.monolingual if kind == MONOLINGUAL else self._renderer.bilingual
        documents: list[Document] = []
        num_characters = 0
        for row, end in rows_from(path, offset):
            made = render(row)
            if not made:
                self._set_aside(BILINGUAL, "no-pair")
            documents += made
            num_characters += sum(len(document.text) for document in made)
            offset = end
            if num_characters >= _BATCH_CHARACTERS:
                yield documents, offset
                documents, num_characters = [], 0
        yield documents, offset

    def _add(self, documents: Sequence[Document]) -> None:
        """Tokenise documents and hold them until the next commit."""
        if not documents:
            return
        texts = [document.text for document in documents]
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        length, end = self._length, self._tokenizer.eos_token_id
        for document, ids in zip(documents, encoded["input_ids"], strict=True):
            tokens = np.array([*self._leading, *ids, end], dtype=self._dtype)
            if self._is_control[tokens[len(self._leading) : -1]].any():
                self._set_aside(document.source, "special-token")
            elif len(tokens) > length and document.source != MONOLINGUAL:
                self._set_aside(document.source, "too-long")
            else:
                self._pending[document.source] += np.array_split(tokens, -(-len(tokens) // length))
                self._num_pending += len(tokens)

    def _set_aside(self, source: str, reason: str) -> None:
        counts = Counter(self._state["set_aside"].get(source, {}))
        counts[reason] += 1
        self._state["set_aside"][source] = dict(sorted(counts.items()))

    def _commit(self) -> None:
        """Append what is held, sync it, and say that it counts."""
        for name, pieces in self._pending.items():
            counts = self._state["sources"][name]
            if pieces:
                lengths = np.array([len(piece) for piece in pieces], dtype=np.int32)
                starts = counts["tokens"] + np.cumsum(lengths, dtype=np.int64) - lengths
                for (suffix, _), array in zip(self._suffixes(), (np.concatenate(pieces), starts, lengths), strict=True):
                    append_synced(self._folder / f"{name}.{suffix}", array)
                counts["documents"] += len(pieces)
                counts["tokens"] += int(lengths.sum())
                pieces.clear()
        self._num_pending = 0
        artifacts.write_json(self._folder / _PROGRESS_FILE, self._state)

    def _manifest(self) -> dict[str, Any]:
        return {
            "kind": "token-store",
            "request": self._digest,
            "dtype": self._dtype,
            "length": self._length,
            "seed": self._seed,
            "text": {kind: path.name for kind, path in self._files},
            "sources": self._state["sources"],
            "set_aside": self._state["set_aside"],
        }


def append_synced(path: Path, array: np.ndarray) -> None:
    """Append an array's bytes to a file, durably."""
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(array).data)
        file.flush()
        os.fsync(file.fileno())


def mapped(path: Path, dtype: str | np.dtype, count: int) -> np.ndarray:
    """An array of `count` in a file of ours, mapped for reading.

    Raises:
        CorruptArtifactError: the file is missing or too short.
    """
    if not count:
        return np.empty(0, dtype=dtype)
    if not path.exists() or path.stat().st_size < count * np.dtype(dtype).itemsize:
        raise CorruptArtifactError("This file is missing or shorter than its record says.", where=str(path))
    # A plain array over the map: slices of numpy's own class are several times slower.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=(count,)))
