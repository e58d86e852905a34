"""The global batches of continued pre-training: packed sequences, read from the token store as they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import digest_of
from hexapla.train.full.batches import PackedSequence
from hexapla.train.full.packing import join_documents
from hexapla.train.pretrain.sequences import Sequences, build_sequences
from hexapla.train.pretrain.spec import PretrainSpec
from hexapla.train.pretrain.store import PretrainText, TokenStore, build_store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PretrainBatches:
    """`hexapla.train.full.batches.Batches` of continued pre-training.

    Any step is one look-up in mapped files: nothing is kept between steps, so a run goes on anywhere, on any number of
    workers.

    Attributes:
        sources: `monolingual` and the hubs' codes, left-out ones included.
    """

    def __init__(self, store: TokenStore, sequences: Sequences, batch: int) -> None:
        self.sources = store.names
        self._store, self._sequences, self._batch = store, sequences, batch

    def __len__(self) -> int:
        return -(-len(self._sequences) // self._batch)

    def __getitem__(self, step: int) -> list[PackedSequence]:
        """The sequences of a step; the last step may have fewer.

        Raises:
            IndexError: there is no such step.
        """
        if not 0 <= step < len(self):
            raise IndexError(step)
        first = step * self._batch
        return [self._sequence(index) for index in range(first, min(first + self._batch, len(self._sequences)))]

    def digest(self) -> str:
        """sha256 of everything that decides the batches."""
        return digest_of([self._sequences.digest, self._batch])

    @property
    def report(self) -> dict[str, Any]:
        """What made the batches, as JSON data."""
        manifest = self._sequences.manifest
        kept = {key: manifest[key] for key in ("sequences", "tokens", "fill", "mix")}
        return {**kept, "steps": len(self), "set_aside": self._store.manifest["set_aside"]}

    def _sequence(self, index: int) -> PackedSequence:
        pieces = self._sequences.pieces_of(index)
        documents = [
            self._store.sources[source].tokens[start : start + num_tokens]
            for source, num_tokens, start in pieces.tolist()
        ]
        return join_documents(documents, [1] * len(documents), pieces["source"].tolist())


def prepare_batches(
    folder: Path, tokenizer: PreTrainedTokenizerBase, spec: PretrainSpec, text: PretrainText, *, seed: int
) -> PretrainBatches:
    """Tokenise, mix and pack under `folder`, or go on with it, or only open what is finished.

    Everything stands under the digest of what made it, so that settings which share tokens or sequences may share the
    folder. Of several processes one calls this first, the others when it is done.

    Raises:
        UserError: the mix does not fit the sources, no document is left, or the disk is full.
        CorruptArtifactError: a line of the text is not a row.
    """
    store = build_store(folder, tokenizer, text, length=spec.length, seed=seed)
    sequences = build_sequences(folder, store, spec.mix, tokens=spec.tokens, length=spec.length, seed=seed)
    return PretrainBatches(store, sequences, spec.batch)
