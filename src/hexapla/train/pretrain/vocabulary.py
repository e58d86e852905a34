"""What a base's vocabulary makes of each language: whether it can serve one is decided here, before any training.

Where a language takes many tokens a word, or falls into pieces of characters, its texts are long and dear and say
little a token. Against the hub the same sentences are compared, as tokens for the same content (Petrov et al.,
"Language Model Tokenizers Introduce Unfairness Between Languages", 2023, call it the premium).
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hexapla import languages
from hexapla.common.seeds import uniform
from hexapla.data.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_SENTENCES = 1000
"""Sentences of a language that are measured at most."""

# Scripts (ISO 15924) of languages that put no spaces between words: there is nothing to count.
_UNSPACED = {"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"}


@dataclass(frozen=True)
class Fertility:
    """What one language's sample becomes.

    Attributes:
        language: code.
        sentences, characters, bytes, tokens: of the sample; bytes in UTF-8.
        tokens_per_word: words are what stands between spaces; None for languages that put none.
        tokens_per_character, bytes_per_token: of the sample.
        premium: tokens over those of the same sentences in the hub; None where no sentence has both.
        split: share of tokens that hold a part of a character (byte fallback, or bytes of a byte-level vocabulary).
        unknown: share of tokens that are the unknown token.
    """

    language: str
    sentences: int
    characters: int
    bytes: int
    tokens: int
    tokens_per_word: float | None
    tokens_per_character: float
    bytes_per_token: float
    premium: float | None
    split: float
    unknown: float

    def to_record(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def measure_vocabulary(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], *, hub: str, seed: int, sentences: int = NUM_SENTENCES
) -> list[Fertility]:
    """The fertility of every language of the rows, by code.

    Args:
        rows: streamed; at most `sentences` of a language are kept, chosen by the hash of (seed, language, row id).
        hub: code of the language to compare with.
    """
    chosen = _sample(rows, hub, seed, sentences)
    splits = _splits_characters(tokenizer)
    return [_fertility(tokenizer, splits, code, chosen[code]) for code in sorted(chosen)]


def _sample(
    rows: Iterable[Row], hub: str, seed: int, sentences: int
) -> dict[str, list[tuple[float, str, str, str | None]]]:
    """Code → (minus hash, row id, text, the hub's text) of the sentences with the smallest hashes."""
    chosen: dict[str, list[tuple[float, str, str, str | None]]] = {}
    for row in rows:
        for code, text in row.texts.items():
            kept = chosen.setdefault(code, [])
            entry = (-uniform(seed, "vocabulary", code, row.id), row.id, text, row.texts.get(hub))
            if len(kept) < sentences:
                heapq.heappush(kept, entry)
            elif entry[0] > kept[0][0]:
                heapq.heapreplace(kept, entry)
    return chosen


def _fertility(
    tokenizer: PreTrainedTokenizerBase,
    splits: np.ndarray,
    code: str,
    chosen: Sequence[tuple[float, str, str, str | None]],
) -> Fertility:
    texts = [text for _, _, text, _ in chosen]
    counts, ids = _encode(tokenizer, texts)
    paired = [place for place, (_, _, _, hub_text) in enumerate(chosen) if hub_text is not None]
    hub_counts, _ = _encode(tokenizer, [str(chosen[place][3]) for place in paired])
    num_words = sum(len(text.split()) for text in texts)
    num_characters, num_bytes = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
    spaced = languages.get(code).script not in _UNSPACED
    return Fertility(
        language=code,
        sentences=len(texts),
        characters=num_characters,
        bytes=num_bytes,
        tokens=len(ids),
        tokens_per_word=len(ids) / num_words if spaced else None,
        tokens_per_character=len(ids) / num_characters,
        bytes_per_token=num_bytes / len(ids),
        premium=float(counts[paired].sum() / hub_counts.sum()) if paired else None,
        split=float(splits[ids].mean()),
        unknown=float(np.mean(ids == tokenizer.unk_token_id)) if tokenizer.unk_token_id is not None else 0.0,
    )


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of every text, and all their ids."""
    if not texts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    counts = np.array([len(ids) for ids in encoded])
    return counts, np.array([token for ids in encoded for token in ids], dtype=np.int64)


def _splits_characters(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """[vocabulary], whether a token begins or ends within a character."""
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    vocabulary = tokenizer.get_vocab()
    splits = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
    for token, index in vocabulary.items():
        if '"ByteLevel"' in decoder:
            splits[index] = not _is_text(token)
        elif '"ByteFallback"' in decoder and len(token) == 6 and token.startswith("<0x"):
            splits[index] = int(token[3:5], 16) >= 0x80
    return splits


def _is_text(token: str) -> bool:
    """Whether a token of a byte-level vocabulary is whole characters."""
    letters = _byte_letters()
    if not all(letter in letters for letter in token):
        return True  # an added token, which is written as it is
    try:
        bytes(letters[letter] for letter in token).decode()
    except UnicodeDecodeError:
        return False
    return True


@cache
def _byte_letters() -> dict[str, int]:
    """How byte-level vocabularies write bytes: printable Latin-1 as itself, the others from U+0100 on (GPT-2, 2019)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}
