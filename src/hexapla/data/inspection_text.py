"""What a corpus holds, as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hexapla.data.inspect import CorpusRecord, LanguageRecord, Lengths, Repeated

_MISSING = "—"
_BINS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))
_NUM_WIDTHS_SHOWN = 12
_NUM_REPEATED_SHOWN = 8
_SHOWN_LENGTH = 60


def inspection_text(record: CorpusRecord) -> str:
    """Tables of languages, widths, pairs and repetition; what there is nothing of is left out."""
    return "\n\n".join(part for part in _parts(record) if part)


def _parts(record: CorpusRecord) -> Iterator[str]:
    yield _facts(record)
    yield _languages(record)
    yield _scripts(record)
    yield _widths(record)
    yield _pairs(record)
    yield _targets(record)
    yield _repeated(record)
    yield _synthetic(record)


def _facts(record: CorpusRecord) -> str:
    facts = [f"{record.name}: {record.num_rows:,} rows in {len(record.languages)} languages"]
    facts.append(f"{record.num_duplicate_rows:,} duplicate rows")
    facts.append(f"{record.num_identical_sides:,} rows with the same text in two languages")
    if record.num_documents_rows:
        facts.append(f"{record.num_documents_rows:,} rows of known documents")
    lines = ["; ".join(facts)]
    for what, reasons in (("records", record.rows_set_aside), ("texts of rows that stay", record.texts_set_aside)):
        if reasons:
            told = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())
            lines.append(f"set aside, {what}: {told}")
    estimated = [code for code, found in record.languages.items() if found.counted_share < 1]
    if estimated:
        lines.append(f"repetition is estimated from a sample of the distinct texts in: {', '.join(estimated)}")
    return "\n".join(lines)


def _languages(record: CorpusRecord) -> str:
    header = ["", "texts", "characters: 5 %", "median", "95 %", "most", "words: 5 %", "median", "95 %", "most"]
    header += ["own script %", "distinct", "repeated %", "most often"]
    lines = []
    for code, found in record.languages.items():
        most = max(found.occurrences, default=0)
        lines.append(
            [
                code,
                f"{found.num_texts:,}",
                *_length_cells(found.characters),
                *_length_cells(found.words),
                _MISSING if found.script_share is None else f"{100 * found.script_share:.1f}",
                f"{found.num_distinct:,}",
                f"{100 * found.num_duplicates / found.num_texts:.1f}",
                f"{most:,}",
            ]
        )
    return _table(header, lines)


def _length_cells(lengths: Lengths | None) -> list[str]:
    if lengths is None:
        return [_MISSING] * 4
    return [f"{value:,}" for value in (lengths.p5, lengths.median, lengths.p95, lengths.max)]


def _scripts(record: CorpusRecord) -> str:
    """The other scripts of languages whose letters are not all in their own."""
    lines = []
    for code, found in record.languages.items():
        if found.script_share is not None and found.script_share < 1:
            shares = [f"{name} {100 * share:.2f} %" for name, share in list(found.scripts.items())[:4]]
            lines.append(f"  {code}: {', '.join(shares)}")
    return "\n".join(["letters by script, where not all are in the language's own:", *lines]) if lines else ""


def _widths(record: CorpusRecord) -> str:
    """Rows by number of languages; ranges where there are many numbers."""
    numbers = sorted(record.widths)
    size = -(-len(numbers) // _NUM_WIDTHS_SHOWN)
    lines = []
    for start in range(0, len(numbers), size):
        part = numbers[start : start + size]
        rows = sum(record.widths[number] for number in part)
        name = str(part[0]) if len(part) == 1 else f"{part[0]}–{part[-1]}"
        lines.append([name, f"{rows:,}", f"{100 * rows / record.num_rows:.1f}"])
    return _table(["languages of a row", "rows", "%"], lines)


def _pairs(record: CorpusRecord) -> str:
    if not record.pairs:
        return ""
    others = sorted({code for found in record.pairs.values() for code in found})
    lines = [
        [code, *(f"{record.pairs.get(hub, {}).get(code, 0):,}" if code != hub else "" for hub in record.hubs)]
        for code in others
    ]
    return _table(["rows with", *record.hubs], lines)


def _targets(record: CorpusRecord) -> str:
    """How often a text in a hub is the target of another language's example."""
    shown = [hub for hub in record.hubs if record.languages[hub].targets]
    if not shown:
        return ""
    lines = []
    for low, high in _BINS:
        numbers = [_in_bin(record.languages[code].targets, low, high) for code in shown]
        if any(number for number, _ in numbers):
            name = str(low) if low == high else f"over {low - 1}" if high is None else f"{low}–{high}"
            lines.append([name, *(f"{number:,} ({share:.1f} %)" for number, share in numbers)])
    means = [_mean(record.languages[code]) for code in shown]
    lines.append(["mean", *(f"{mean:.2f}" for mean in means)])
    title = (
        "How often a text in a hub is the target of another language: distinct texts, and their share of the examples"
    )
    return f"{title}\n{_table(['times', *shown], lines)}"


def _in_bin(histogram: Mapping[int, int], low: int, high: int | None) -> tuple[int, float]:
    """Distinct texts, and the percentage of examples that have them as target."""
    inside = {times: number for times, number in histogram.items() if times >= low and (high is None or times <= high)}
    total = sum(times * number for times, number in histogram.items())
    return sum(inside.values()), 100 * sum(times * number for times, number in inside.items()) / total


def _mean(found: LanguageRecord) -> float:
    return sum(times * number for times, number in found.targets.items()) / sum(found.targets.values())


def _repeated(record: CorpusRecord) -> str:
    found = [(code, each) for code, language in record.languages.items() for each in language.most_repeated]
    found.sort(key=lambda item: -item[1].num_occurrences)
    if not found:
        return ""
    lines = [[code, _times(each), _shortened(each.text)] for code, each in found[:_NUM_REPEATED_SHOWN]]
    return _table(["", "times", "repeated text"], lines, num_left=1, is_last_text=True)


def _times(repeated: Repeated) -> str:
    return f"{'' if repeated.is_exact else '≥ '}{repeated.num_occurrences:,}"


def _synthetic(record: CorpusRecord) -> str:
    lines = [
        [code, maker, f"{number:,}", f"{100 * number / found.num_texts:.1f}"]
        for code, found in record.languages.items()
        for maker, number in found.synthetic.items()
    ]
    return _table(["", "synthetic texts by", "texts", "%"], lines, num_left=2) if lines else ""


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"


def _table(
    header: Sequence[str], lines: Sequence[Sequence[str]], *, num_left: int = 1, is_last_text: bool = False
) -> str:
    from tabulate import tabulate

    alignment = ["left"] * num_left + ["right"] * (len(header) - num_left)
    if is_last_text:
        alignment[-1] = "left"
    return tabulate(lines, header, tablefmt="simple", disable_numparse=True, colalign=alignment)
