"""The section on continued pre-training: figures as they were logged, what is missing shown as missing."""

from __future__ import annotations

from hexapla.analyze.present import Table
from hexapla.analyze.pretraining import pretraining_section, vocabulary_table
from hexapla.analyze.tables import to_text

RECORD = {
    "num_steps": 4,
    "tokens_per_s": None,
    "text": {
        "tokens": 1000,
        "sequences": 16,
        "fill": 0.975,
        "mix": [
            {"source": "en", "share": 0.75, "taken_share": 0.749, "rows": 20, "tokens": 749, "passes": 1.5},
            {"source": "zh", "share": 0.25, "taken_share": 0.251, "rows": 9, "tokens": 251, "passes": 0.5},
        ],
    },
    "sources": {"en": {"tokens": 700, "first_loss": 2.0, "final_loss": 1.0}},
}
VOCABULARY = [
    {"language": "en", "sentences": 30, "tokens_per_word": 1.2, "tokens_per_character": 0.25, "bytes_per_token": 4.0,
     "premium": 1.0, "split": 0.0, "unknown": 0.0},
    {"language": "zh", "sentences": 20, "tokens_per_word": None, "tokens_per_character": 0.8, "bytes_per_token": 3.5,
     "premium": 1.3, "split": 0.4, "unknown": 0.01},
]  # fmt: skip


def test_sources_and_vocabulary() -> None:
    section = pretraining_section(RECORD, VOCABULARY, "en")
    sources, vocabulary = section.items
    assert isinstance(sources, Table)
    assert isinstance(vocabulary, Table)
    assert sources.rows == (("en", 75, 74.9, 749, 20, 1.5, 2.0, 1.0), ("zh", 25, 25.1, 251, 9, 0.5, None, None))
    assert vocabulary.rows[0] == ("Chinese", 20, None, 0.8, 3.5, 1.3, 40.0, 1.0)  # the dearest first
    assert section.intro == "1,000 tokens in 16 packed sequences, 97.5% filled; 4 steps."


def test_the_terminal_shows_the_table_of_the_report() -> None:
    """The figures of one base are in one table, whoever shows it."""
    records = [{**VOCABULARY[0], "language": code, "premium": premium} for code, premium in (("ky", 1.5), ("de", None))]
    table = vocabulary_table([*VOCABULARY, *records], "en")
    assert table in pretraining_section(RECORD, [*VOCABULARY, *records], "en").items
    title, header, _, *lines = to_text(table).splitlines()
    assert title == "What the vocabulary makes of each language"
    assert header.split("  ")[0] == "language"
    assert "tokens ÷ English" in header
    assert [line.split()[0] for line in lines[:4]] == ["Kyrgyz", "Chinese", "English", "German"]
    assert lines[1].split() == ["Chinese", "20", "—", "0.80", "3.50", "1.30", "40.0", "1.0"]


def test_without_vocabulary() -> None:
    assert [item.name for item in pretraining_section({**RECORD, "tokens_per_s": 12.3}, [], "en").items] == [
        "pretraining-sources"
    ]
