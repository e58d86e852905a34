"""The encoder's tokenizer: text to token ids exactly as unbabel-comet's `prepare_sample` and `concat_sequences`.

Read from `tokenizer.json` by the tokenizers library itself: transformers 5 would rebuild some of its rules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.neural.checkpoint import Checkpoint
from hexapla.neural.places import Place, find_place

if TYPE_CHECKING:
    from tokenizers import Encoding

FIRST, PADDING, LAST = 0, 1, 2
_SPECIAL = {"<s>": FIRST, "<pad>": PADDING, "</s>": LAST}
# InfoXLM continues XLM-R and keeps its vocabulary (Chi et al., 2021); the other repository holds tokenizer.json.
_SAME_TOKENIZER = {
    "microsoft/infoxlm-base": "FacebookAI/xlm-roberta-base",
    "microsoft/infoxlm-large": "FacebookAI/xlm-roberta-large",
}
_SETTING = "Set neural.tokenizer to a folder that holds the encoder's tokenizer.json, or to its hub id."


@dataclass(frozen=True)
class EncoderFiles:
    """The small files of an encoder, found.

    Attributes:
        tokenizer: its tokenizer.json.
        config: its config.json; None: the family's usual shape is taken.
        digest: 12 digits of the sha256 of tokenizer.json, for signatures.
    """

    tokenizer: Path
    config: Path | None
    digest: str

    def configuration(self) -> dict[str, Any]:
        """What config.json says; empty where there is none.

        Raises:
            CorruptArtifactError: it is no JSON.
        """
        if self.config is None:
            return {}
        try:
            return dict(json.loads(self.config.read_text(encoding="utf-8")))
        except ValueError as error:
            raise CorruptArtifactError(f"This is no JSON: {error}", where=str(self.config)) from error


def find_encoder_files(checkpoint: Checkpoint, tokenizer: str | None) -> EncoderFiles:
    """Tokenizer and configuration of a checkpoint's encoder.

    Args:
        tokenizer: folder or hub id; None: beside the checkpoint (local folders), or else what the checkpoint names.

    Raises:
        UserError: there is no tokenizer.json.
    """
    if tokenizer is not None:
        place = find_place(tokenizer, "The tokenizer", _SETTING)
        files = _files_at(place)
    elif checkpoint.place.folder is not None and checkpoint.place.find("tokenizer.json") is not None:
        place = checkpoint.place
        files = _files_at(place)
    else:
        place = find_place(checkpoint.hyperparameters.pretrained_model, "The encoder that hparams.yaml names", _SETTING)
        files = _files_of_encoder(place)
    if files is None:
        raise UserError("There is no tokenizer.json.", where=place.source, hint=_SETTING)
    return files


def _files_of_encoder(place: Place) -> EncoderFiles | None:
    same = _SAME_TOKENIZER.get(place.repository)
    try:
        files = _files_at(place)
    except UserError:
        if same is None:
            raise
        files = None
    return _files_at(Place(same, None, same)) if files is None and same is not None else files


def _files_at(place: Place) -> EncoderFiles | None:
    tokenizer = place.find("tokenizer.json")
    if tokenizer is None:
        return None
    config = place.find("config.json")
    if config is not None and "hidden_size" not in config.read_text(encoding="utf-8", errors="replace"):
        config = None  # of something else, such as the folder of a conversion
    return EncoderFiles(tokenizer, config, hashlib.sha256(tokenizer.read_bytes()).hexdigest()[:12])


class Tokenizer:
    """XLM-R's tokenizer.

    Args:
        path: tokenizer.json.
        num_positions: the longest sequence that the encoder takes.

    Attributes:
        size: number of ids.

    Raises:
        CorruptArtifactError: the file is no tokenizer, or not one of XLM-R's kind.
    """

    def __init__(self, path: Path, num_positions: int) -> None:
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CorruptArtifactError(f"This is no tokenizer ({error}).", where=str(path)) from error
        if any(self._tokenizer.token_to_id(token) != number for token, number in _SPECIAL.items()):
            raise CorruptArtifactError(
                "This tokenizer is not XLM-R's, whose first ids are those of <s>, <pad> and </s>.", where=str(path)
            )
        self.size: int = self._tokenizer.get_vocab_size()
        self._num_positions = num_positions
        self._tokenizer.no_padding()
        # unbabel-comet cuts single sentences two short of what fits
        self._tokenizer.enable_truncation(num_positions - 2)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text between `<s>` and `</s>`, cut where it is too long."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def encode_with_places(self, texts: Sequence[str]) -> list[Encoding]:
        """As `encode`: `ids` of each text, and as `offsets` which of its characters each of them is, [start, end)."""
        return list(self._tokenizer.encode_batch(list(texts)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, `<s>` and its like written out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def join(self, parts: Sequence[list[int]]) -> list[int]:
        """One sequence of several encoded texts: `<s> a </s></s> b </s>`, cut at its end where it is too long."""
        bodies = [[token for token in ids if token != PADDING][1:-1] for ids in parts]
        joined = [FIRST, *bodies[0], LAST]
        for body in bodies[1:]:
            joined += [LAST, *body, LAST]
        return joined[: self._num_positions]
