"""Whether sentences of the test sets occur in the training rows: same language, exactly or by long passages.

The test sets are indexed by hashes, training rows stream past: memory grows with the tests only. A test text counts as
overlapping when one training text holds at least `overlap` of its 13-word passages (PaLM's check used a share as well:
Chowdhery et al., 2022). Texts shorter than 13 words are compared as a whole only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from hexapla.common.errors import UserError
from hexapla.common.spec import Spec
from hexapla.data.matching import exact_key, fold, passages
from hexapla.data.rows import Row

MAX_SAMPLES = 20
"""Examples kept for each test set, for people to judge (ours)."""


class ContaminationSpec(Spec):
    """What is done about test sentences in the training data."""

    action: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="refuse: stop with a report; drop: leave the training and development rows concerned out.",
    )
    allow: tuple[str, ...] = Field(
        default=(), description="Names of test sets whose sentences may occur in training; still reported."
    )
    ngram: int = Field(
        default=13, ge=5, description="Words in a passage; in scripts without spaces the same in characters."
    )
    overlap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of a test text's passages found in one training text that counts as overlap.",
    )


@dataclass
class _Findings:
    """What was found for one test set."""

    exact: Counter[str] = field(default_factory=Counter)
    overlap: Counter[str] = field(default_factory=Counter)
    test_ids: set[str] = field(default_factory=set)
    row_ids: set[str] = field(default_factory=set)
    corpora: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)


class TestIndex:
    """The texts of all test sets, ready to be looked up.

    Args:
        spec: lengths and thresholds.
        tests: name → rows; the rows are held.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __init__(self, spec: ContaminationSpec, tests: dict[str, list[Row]]) -> None:
        self._spec = spec
        self._texts: list[tuple[str, str, str]] = []
        self._num_passages: list[int] = []
        self._exact: dict[tuple[str, int], list[int]] = {}
        self._passages: dict[str, dict[int, int | tuple[int, ...]]] = defaultdict(dict)
        self._findings = {name: _Findings() for name in tests}
        self._num_rows = {name: len(rows) for name, rows in tests.items()}
        for name, rows in tests.items():
            for row in rows:
                for code, text in row.texts.items():
                    self._add(name, row.id, code, text)

    def _add(self, name: str, row_id: str, code: str, text: str) -> None:
        words = fold(text)
        key = exact_key(words)
        if not key:
            return
        number = len(self._texts)
        self._texts.append((name, row_id, text))
        self._exact.setdefault((code, hash(key)), []).append(number)
        grams = self._passages[code]
        found = set(passages(words, self._spec.ngram))
        self._num_passages.append(len(found))
        for gram in found:
            held = grams.get(gram)
            grams[gram] = number if held is None else (*(held if isinstance(held, tuple) else (held,)), number)

    def check(self, row: Row) -> set[str]:
        """Look one training or development row up and note what is found.

        Returns:
            Names of the test sets that hold a sentence of the row.
        """
        touched: set[str] = set()
        for code, text in row.texts.items():
            words = fold(text)
            exact = set(self._exact.get((code, hash(exact_key(words))), ()))
            for number in sorted(exact):
                touched.add(self._note("exact", row, code, number, 1.0))
            for number, share in self._overlaps(code, words):
                if number not in exact:
                    touched.add(self._note("overlap", row, code, number, share))
        return touched

    def _overlaps(self, code: str, words: list[str]) -> list[tuple[int, float]]:
        """Test texts that share enough passages with a text, and the share."""
        grams = self._passages.get(code)
        if not grams:
            return []
        hits: Counter[int] = Counter()
        for gram in grams.keys() & set(passages(words, self._spec.ngram)):
            held = grams[gram]
            hits.update(held if isinstance(held, tuple) else (held,))
        shares = ((number, hit / self._num_passages[number]) for number, hit in sorted(hits.items()))
        return [(number, share) for number, share in shares if share >= self._spec.overlap]

    def _note(self, kind: Literal["exact", "overlap"], row: Row, code: str, number: int, share: float) -> str:
        name, test_id, text = self._texts[number]
        findings = self._findings[name]
        (findings.exact if kind == "exact" else findings.overlap)[code] += 1
        findings.test_ids.add(test_id)
        if row.id not in findings.row_ids:
            findings.row_ids.add(row.id)
            findings.corpora[row.corpus] += 1
        if len(findings.samples) < MAX_SAMPLES:
            findings.samples.append(
                {
                    "kind": kind,
                    "language": code,
                    "test_row": test_id,
                    "row": row.id,
                    "share": round(share, 3),
                    "test_text": text,
                    "text": row.texts[code],
                }
            )
        return name

    def report(self) -> dict[str, Any]:
        """Test set → counts by kind and language, rows concerned, and samples."""
        return {
            name: {
                "test_rows": self._num_rows[name],
                "test_rows_seen": len(findings.test_ids),
                "rows_concerned": len(findings.row_ids),
                "by_corpus": dict(sorted(findings.corpora.items())),
                "exact": dict(sorted(findings.exact.items())),
                "overlap": dict(sorted(findings.overlap.items())),
                "samples": findings.samples,
            }
            for name, findings in self._findings.items()
        }


def refuse(report: dict[str, Any], refused: Iterable[str]) -> None:
    """Stop when a test set of `refused` was seen.

    Raises:
        UserError: with counts and an example for each.
    """
    seen = [name for name in refused if report[name]["rows_concerned"]]
    if not seen:
        return
    parts = []
    for name in seen:
        entry, sample = report[name], report[name]["samples"][0]
        parts.append(
            f"{entry['test_rows_seen']} of {entry['test_rows']} rows of {name!r} (by {entry['rows_concerned']} rows of "
            f"{', '.join(entry['by_corpus'])}; for example {sample['row']}, {sample['language']}: "
            f"{sample['test_text'][:80]!r})"
        )
    raise UserError(
        f"Test sentences occur in the training or development data: {'; '.join(parts)}.",
        where="data.contamination",
        hint="Set action: drop to leave the training rows concerned out, or "
        f"allow: [{', '.join(seen)}] to train on them anyway.",
    )
