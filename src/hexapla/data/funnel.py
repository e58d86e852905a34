"""The funnel: how many rows and texts each filter took out of each corpus, why, and samples of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hexapla.common.seeds import uniform
from hexapla.data.filters.filter import Filter
from hexapla.data.filters.judging import Rejection
from hexapla.data.rows import Row

SAMPLE_LENGTH = 200
"""Characters of a sample that are kept (ours)."""
_SHOWN_LENGTH = 60
_SECTIONS = ("train", "bilingual", "monolingual")


@dataclass
class _Loss:
    """What one filter took out of one corpus for one reason."""

    texts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    texts_beside: Counter[str] = field(default_factory=Counter)

    def to_record(self) -> dict[str, Any]:
        return {
            "texts": dict(sorted(self.texts.items())),
            "rows": self.rows,
            "texts_beside": dict(sorted(self.texts_beside.items())),
        }


class Funnel:
    """Counts, samples and passes on what the filters reject in one section.

    Args:
        filters: the chain.
        num_samples: rejected texts kept of each filter and reason: those with the least hashes of row and language.
        rejects: is given every rejection as a JSON record; None: nobody is.
    """

    def __init__(
        self, filters: Sequence[Filter], num_samples: int, rejects: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self._filters, self._num_samples, self._rejects = filters, num_samples, rejects
        self._losses: dict[str, dict[tuple[int, str], _Loss]] = {}
        self._judged: dict[str, Counter[tuple[str, ...]]] = {}
        self._samples: dict[tuple[int, str], list[tuple[float, str, dict[str, Any]]]] = {}

    def entering(self, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
        """The rows, counted."""
        for line, row in rows:
            self._judged.setdefault(row.corpus, Counter())[tuple(row.texts)] += 1
            yield line, row

    def rejected(self, row: Row, step: int, rejections: Sequence[Rejection], is_gone: bool) -> None:
        """Take note of what a filter did to a row; the row counts for the first of the reasons."""
        losses = self._losses.setdefault(row.corpus, {})
        for number, rejection in enumerate(rejections):
            loss = losses.setdefault((step, rejection.reason), _Loss())
            loss.texts[rejection.code] += 1
            if is_gone and number == 0:
                loss.rows += 1
                loss.texts_beside.update(row.texts.keys() - {each.code for each in rejections})
            self._sample(row, rejection)
        if self._rejects is not None:
            self._rejects(
                {
                    "corpus": row.corpus,
                    "row": row.id,
                    "filter": self._filters[step].filter,
                    "step": step,
                    "reasons": {rejection.code: rejection.reason for rejection in rejections},
                    "row_kept": not is_gone,
                    "texts": dict(row.texts),
                }
            )

    def to_record(self) -> dict[str, Any]:
        """Corpus → what was judged and lost, and the samples, as JSON data.

        `texts` are those rejected, `rows` those that went with them, `texts_beside` the texts of those rows that
        nobody rejected.
        """
        return {
            "corpora": {
                corpus: {
                    "rows_judged": shapes.total(),
                    "texts_judged": dict(sorted(num_texts(shapes).items())),
                    "rejected": [
                        {"step": step, "filter": self._filters[step].filter, "reason": reason} | loss.to_record()
                        for (step, reason), loss in sorted(self._losses.get(corpus, {}).items())
                    ],
                }
                for corpus, shapes in self._judged.items()
            },
            "samples": [
                {"step": step, "filter": self._filters[step].filter, "reason": reason}
                | {"texts": [sample for _, _, sample in sorted(kept, key=lambda entry: entry[:2], reverse=True)]}
                for (step, reason), kept in sorted(self._samples.items())
            ],
        }

    def explain(self, code: str | None = None) -> str:
        """Which filters took what, the worst first: rows, or texts of one language, with their rows or alone."""
        taken: Counter[tuple[int, str]] = Counter()
        for losses in self._losses.values():
            for key, loss in losses.items():
                taken[key] += loss.rows if code is None else loss.texts[code] + loss.texts_beside[code]
        ranked = sorted(
            ((number, key) for key, number in taken.items() if number), key=lambda entry: (-entry[0], entry[1])
        )
        return ", ".join(
            f"{self._filters[step].filter} (filter {step + 1}) {number}"
            if self._filters[step].filter == reason
            else f"{self._filters[step].filter} (filter {step + 1}, {reason}) {number}"
            for number, (step, reason) in ranked
        )

    @property
    def num_rows(self) -> int:
        """Rows that came in."""
        return sum(shapes.total() for shapes in self._judged.values())

    def num_texts(self, code: str) -> int:
        """Texts of a language that came in."""
        return sum(num_texts(shapes)[code] for shapes in self._judged.values())

    def _sample(self, row: Row, rejection: Rejection) -> None:
        if not self._num_samples:
            return
        kept = self._samples.setdefault((rejection.step, rejection.reason), [])
        # A heap whose first entry is the largest hash: the first to make room.
        rank = -uniform(0, "clean-sample", row.id, rejection.code)
        if len(kept) == self._num_samples and rank <= kept[0][0]:
            return
        sample: dict[str, Any] = {
            "corpus": row.corpus,
            "row": row.id,
            "language": rejection.code,
            "text": row.texts[rejection.code][:SAMPLE_LENGTH],
        }
        if rejection.against is not None:
            sample["against"] = {rejection.against: row.texts[rejection.against][:SAMPLE_LENGTH]}
        entry = (rank, f"{row.id} {rejection.code}", sample)
        if len(kept) < self._num_samples:
            heapq.heappush(kept, entry)
        else:
            heapq.heapreplace(kept, entry)


def num_texts(shapes: Counter[tuple[str, ...]]) -> Counter[str]:
    """How many texts of each language there are in rows, counted by their languages."""
    texts: Counter[str] = Counter()
    for codes, number in shapes.items():
        for code in codes:
            texts[code] += number
    return texts


def funnel_table(summary: dict[str, Any]) -> str:
    """What the corpus stage read, set aside, rejected and kept, as text for a terminal.

    Args:
        summary: of the corpus stage (`summary.json`, or what `check_corpus` returns).
    """
    parts = []
    for section in _SECTIONS:
        for corpus in summary.get(section, {}):
            parts.append(_corpus_table(summary, section, corpus))
    if held := summary.get("clean", {}).get("held_out"):
        rejected = ", ".join(f"{_name(entry)} {sum(entry['texts'].values())}" for entry in held["rejected"])
        parts.append(
            f"The {held['rows']} held-out rows stay as they are. Texts that the filters would reject: {rejected or 0}."
        )
    parts += list(_sample_texts(summary))
    return "\n\n".join(parts)


def _corpus_table(summary: dict[str, Any], section: str, corpus: str) -> str:
    from tabulate import tabulate

    tally = summary[section][corpus]
    num_held_out = summary.get("held_out", {}).get(corpus, 0) if section == "train" else 0
    cleaned = summary.get("clean", {}).get(section, {}).get("corpora", {}).get(corpus)
    judged_rows = cleaned["rows_judged"] if cleaned else tally["rows"]
    judged_texts = sum((cleaned["texts_judged"] if cleaned else tally["texts"]).values())
    num_read = judged_rows + sum(tally["rows_set_aside"].values()) + num_held_out
    lines = [["records read", num_read, "", "", ""]]
    for reason, number in tally["rows_set_aside"].items():
        lines.append([f"- {reason}", -number, _share(number, num_read), "", ""])
    for reason, number in tally["texts_set_aside"].items():
        lines.append([f"- {reason} (texts of rows that stay)", "", "", -number, ""])
    if num_held_out:
        lines.append(["- held out", -num_held_out, _share(num_held_out, num_read), "", ""])
    if cleaned:
        lines.append(["judged by the filters", judged_rows, _share(judged_rows, num_read), judged_texts, ""])
        lines += [_loss_line(entry, judged_rows, judged_texts) for entry in cleaned["rejected"]]
    num_texts = sum(tally["texts"].values())
    shares = (_share(tally["rows"], num_read), _share(num_texts, judged_texts) if cleaned else "")
    lines.append(["kept", tally["rows"], shares[0], num_texts, shares[1]])
    body = tabulate(lines, ["", "rows", "%", "texts", "%"], colalign=("left", *["right"] * 4), disable_numparse=True)
    return f"{section} {corpus}\n{body}"


def _loss_line(entry: dict[str, Any], num_rows: int, num_texts: int) -> list[Any]:
    name = f"{entry['step'] + 1}. {_name(entry)}"
    lost = sum(entry["texts"].values()) + sum(entry["texts_beside"].values())
    return [name, -entry["rows"], _share(entry["rows"], num_rows), -lost, _share(lost, num_texts)]


def _name(entry: dict[str, Any]) -> str:
    name: str = entry["filter"]
    return name if entry["reason"] == name else f"{name}: {entry['reason']}"


def _share(number: int, whole: int) -> str:
    return f"{100 * number / whole:.1f}" if whole else ""


def _sample_texts(summary: dict[str, Any]) -> Iterator[str]:
    for section in _SECTIONS:
        for entry in summary.get("clean", {}).get(section, {}).get("samples", []):
            lines = [f"{section}, {entry['step'] + 1}. {entry['filter']}: {entry['reason']}, for example:"]
            for sample in entry["texts"]:
                texts = {sample["language"]: sample["text"]} | sample.get("against", {})
                shown = " | ".join(f"{code}: {_shortened(text)}" for code, text in texts.items())
                lines.append(f"  {sample['row']}  {shown}")
            yield "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
