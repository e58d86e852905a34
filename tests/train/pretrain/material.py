"""Text for continued pre-training that the tests of it share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hexapla.train.pretrain.store import PretrainText

HUBS = ("en", "zh")
_WORDS = ("train", "leaves", "at", "nine", "station", "book", "is", "read", "by", "everyone", "who", "waits", "it")


def write_rows(path: Path, texts: Iterable[Mapping[str, str]]) -> Path:
    """A file of rows with these texts, `r:0`, `r:1`, …"""
    lines = [
        json.dumps({"id": f"r:{index}", "corpus": "r", "texts": dict(each)}, ensure_ascii=False) + "\n"
        for index, each in enumerate(texts)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def sentence(num_words: int, place: int) -> str:
    """So many English words."""
    return " ".join(_WORDS[(place + step * 7) % len(_WORDS)] for step in range(num_words))


def pretrain_text(folder: Path, *, num_texts: int = 60, num_pairs: int = 120) -> PretrainText:
    """Texts of 1 to 90 words in two languages, and rows with both hubs and Kyrgyz."""
    monolingual = write_rows(
        folder / "monolingual.jsonl",
        ({("de", "ky")[index % 2]: sentence(1 + index * 37 % 90, index)} for index in range(num_texts)),
    )
    bilingual = write_rows(
        folder / "bilingual.jsonl",
        (
            {"en": sentence(3 + index % 9, index), "zh": f"我在看书 {index}。", "ky": f"Мен китеп окуйм {index}."}
            for index in range(num_pairs)
        ),
    )
    return PretrainText(monolingual, bilingual, HUBS)
