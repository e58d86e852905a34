"""What a corpus holds: languages, lengths, scripts, rows by number of languages, repetition of texts and of targets.

Everything is counted in one pass over the rows. Memory does not grow with the corpus: beyond `MAX_DISTINCT` distinct
texts repetition is estimated from a sample of them (`Occurrences`), and lengths from `EXACT_LENGTH` on are rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hexapla import languages as registry
from hexapla.common.seeds import derive_seed
from hexapla.data.occurrences import KEY_BITS, Frequent, Occurrences
from hexapla.data.records import SetAside
from hexapla.data.rows import Row
from hexapla.text.characters import script_of, scripts_of

MAX_DISTINCT = 8_000_000
"""Distinct texts that are held for counting, all languages together: about 130 MB."""
EXACT_LENGTH = 1_000
NUM_REPEATED_SHOWN = 5
_QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
_TEXTS_AT_ONCE = 4_096
_MAX_KINDS = 10_000
_ALL_BITS = (1 << KEY_BITS) - 1
# Written without blanks between words, by ISO 15924: what stands between two blanks is no word.
_WITHOUT_BLANKS = frozenset({"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a language are; quantiles are lengths that some text has (up to rounding)."""

    min: int
    p5: int
    p25: int
    median: int
    p75: int
    p95: int
    max: int
    mean: float


@dataclass(frozen=True)
class Repeated:
    """A text that occurs several times; `is_exact`: not only at least so often."""

    text: str
    num_occurrences: int
    is_exact: bool


@dataclass(frozen=True)
class LanguageRecord:
    """What a corpus holds of one language.

    Attributes:
        words: by blanks; None for languages that are written without.
        scripts: script → share of the letters.
        script_share: share of the letters that are in a script of the language; None without letters.
        num_distinct: different texts; estimated where `counted_share` is less than 1.
        occurrences: how often a text occurs in the corpus → how many of the counted texts do.
        targets: how often a text is the target of an example between a hub and a language that is none → how many of
            the counted texts are.
        most_repeated: the most frequent texts, those that occur once left out.
        synthetic: what translated texts of the language → how many.
        counted_share: of the distinct texts, those that are counted.
    """

    num_texts: int
    characters: Lengths
    words: Lengths | None
    scripts: Mapping[str, float]
    script_share: float | None
    num_distinct: int
    occurrences: Mapping[int, int]
    targets: Mapping[int, int]
    most_repeated: tuple[Repeated, ...]
    synthetic: Mapping[str, int]
    counted_share: float

    @property
    def num_duplicates(self) -> int:
        """Texts that occurred before, about where not all are counted."""
        return max(self.num_texts - self.num_distinct, 0)


@dataclass(frozen=True)
class CorpusRecord:
    """What a corpus holds.

    Attributes:
        hubs: those that `pairs` and the targets are counted for.
        widths: number of languages → rows with so many.
        pairs: hub → other language → rows with both.
        num_duplicate_rows: rows whose texts all occurred before in one row; estimated where not all are counted.
        num_identical_sides: rows with the same text in two languages.
        rows_set_aside: reason → records that gave no row; `texts_set_aside` likewise for texts of rows that stayed.
    """

    name: str
    hubs: tuple[str, ...]
    num_rows: int
    num_documents_rows: int
    num_duplicate_rows: int
    num_identical_sides: int
    languages: Mapping[str, LanguageRecord]
    widths: Mapping[int, int]
    pairs: Mapping[str, Mapping[str, int]]
    rows_set_aside: Mapping[str, int]
    texts_set_aside: Mapping[str, int]

    def to_record(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def inspect_rows(name: str, items: Iterable[Row | SetAside], hubs: Collection[str]) -> CorpusRecord:
    """Count a corpus.

    Args:
        items: its rows, and what was set aside between them.
        hubs: canonical codes; languages that the corpus lacks may be among them.
    """
    tally = _CorpusTally(tuple(hubs))
    for item in items:
        if isinstance(item, Row):
            tally.add(item)
        else:
            (tally.texts_aside if item.row_kept else tally.rows_aside)[item.reason.value] += 1
    return tally.record(name)


class _LanguageTally:
    """Counts of one language; texts are taken in together, which is several times as fast."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.salt = derive_seed(0, code)
        self.has_words = registry.get(code).script not in _WITHOUT_BLANKS
        self.num_texts = 0
        self.characters: Counter[int] = Counter()
        self.words: Counter[int] = Counter()
        self.each_character: Counter[str] = Counter()
        self.occurrences = Occurrences()
        self.frequent = Frequent()
        self.synthetic: Counter[str] = Counter()
        self._waiting: list[str] = []

    def add(self, text: str, key: int, num_as_target: int, limit: int) -> None:
        """Count a text."""
        self.num_texts += 1
        self.occurrences.add(key, num_as_target, limit)
        self.frequent.add(key, text)
        self._waiting.append(text)
        if len(self._waiting) >= _TEXTS_AT_ONCE:
            self._count_waiting()

    def _count_waiting(self) -> None:
        texts, self._waiting = self._waiting, []
        self.each_character.update("".join(texts))
        _add_lengths(self.characters, map(len, texts))
        if self.has_words:
            _add_lengths(self.words, (len(text.split()) for text in texts))

    def record(self, limit: int) -> LanguageRecord:
        self._count_waiting()
        self.occurrences.settle(limit)
        histogram = self.occurrences.histogram()
        share = self.occurrences.share
        scripts = self._scripts()
        num_letters = sum(scripts.values())
        expected = sum(scripts[name] for name in scripts_of(self.code))
        return LanguageRecord(
            num_texts=self.num_texts,
            characters=_lengths(self.characters),
            words=_lengths(self.words) if self.has_words else None,
            scripts={name: number / num_letters for name, number in scripts.most_common()},
            script_share=expected / num_letters if num_letters else None,
            num_distinct=round(sum(histogram.values()) / share),
            occurrences=histogram,
            targets=self.occurrences.histogram(weighted=True),
            most_repeated=self._most_repeated(),
            synthetic=dict(self.synthetic.most_common()),
            counted_share=share,
        )

    def _scripts(self) -> Counter[str]:
        scripts: Counter[str] = Counter()
        for character, number in self.each_character.items():
            if (script := script_of(character)) is not None:
                scripts[script] += number
        return scripts

    def _most_repeated(self) -> tuple[Repeated, ...]:
        found = []
        for key, text, at_least in self.frequent.candidates():
            count = self.occurrences.count(key)
            found.append(Repeated(text, at_least if count is None else count, count is not None))
        found.sort(key=lambda repeated: (-repeated.num_occurrences, repeated.text))
        return tuple(repeated for repeated in found[:NUM_REPEATED_SHOWN] if repeated.num_occurrences > 1)


class _CorpusTally:
    """Counts of a corpus."""

    def __init__(self, hubs: tuple[str, ...]) -> None:
        self.hubs = hubs
        self.languages: dict[str, _LanguageTally] = {}
        self.rows = Occurrences()
        self.num_rows = self.num_documents_rows = self.num_identical_sides = 0
        self.widths: Counter[int] = Counter()
        self.pairs: dict[str, Counter[str]] = {}
        self._kinds: Counter[tuple[str, ...]] = Counter()  # languages of a row → rows not yet in widths and pairs
        self.rows_aside: Counter[str] = Counter()
        self.texts_aside: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Count a row."""
        self.num_rows += 1
        self.num_documents_rows += row.document is not None
        self.num_identical_sides += len(set(row.texts.values())) < len(row.texts)
        self._kinds[tuple(row.texts)] += 1
        if len(self._kinds) > _MAX_KINDS:
            self._count_kinds()
        hubs = [hub for hub in self.hubs if hub in row.texts]
        num_others = len(row.texts) - len(hubs)
        limit = self._limit()
        keys = []
        for code, text in row.texts.items():
            if code not in self.languages:
                self.languages[code] = _LanguageTally(code)
                limit = self._limit()
            language = self.languages[code]
            key = derive_seed(0, text)
            keys.append(key ^ language.salt)
            language.add(text, key, num_others if code in self.hubs else len(hubs), limit)
        self.rows.add(hash(tuple(sorted(keys))) & _ALL_BITS, 1, limit)
        for code, maker in row.synthetic.items():
            self.languages[code].synthetic[maker] += 1

    def record(self, name: str) -> CorpusRecord:
        """What was counted."""
        limit = self._limit()
        self._count_kinds()
        self.rows.settle(limit)
        num_distinct = round(sum(self.rows.histogram().values()) / self.rows.share)
        return CorpusRecord(
            name=name,
            hubs=tuple(hub for hub in self.hubs if hub in self.languages),
            num_rows=self.num_rows,
            num_documents_rows=self.num_documents_rows,
            num_duplicate_rows=max(self.num_rows - num_distinct, 0),
            num_identical_sides=self.num_identical_sides,
            languages={code: self.languages[code].record(limit) for code in sorted(self.languages)},
            widths=dict(sorted(self.widths.items())),
            pairs={hub: dict(sorted(found.items())) for hub, found in self.pairs.items()},
            rows_set_aside=dict(sorted(self.rows_aside.items())),
            texts_set_aside=dict(sorted(self.texts_aside.items())),
        )

    def _count_kinds(self) -> None:
        for codes, number in self._kinds.items():
            self.widths[len(codes)] += number
            for hub in (hub for hub in self.hubs if hub in codes):
                found = self.pairs.setdefault(hub, Counter())
                for code in codes:
                    if code != hub:
                        found[code] += number
        self._kinds = Counter()

    def _limit(self) -> int:
        """Distinct keys of each language, and of the rows."""
        return MAX_DISTINCT // (len(self.languages) + 1)


def _add_lengths(histogram: Counter[int], lengths: Iterable[int]) -> None:
    for length, number in Counter(lengths).items():
        histogram[_rounded(length)] += number


def _rounded(length: int) -> int:
    """A length, from `EXACT_LENGTH` on with three digits that mean something."""
    if length < EXACT_LENGTH:
        return length
    step = 10 ** (len(str(length)) - 3)
    return length // step * step


def _lengths(histogram: Mapping[int, int]) -> Lengths:
    """Quantile q is the least length that at least the share q of the texts does not exceed."""
    ordered = sorted(histogram.items())
    total = sum(histogram.values())
    quantiles = {}
    for name, share in _QUANTILES.items():
        below = 0
        for length, number in ordered:
            below += number
            if below >= share * total:
                quantiles[name] = length
                break
    mean = sum(length * number for length, number in ordered) / total
    return Lengths(min=ordered[0][0], max=ordered[-1][0], mean=mean, **quantiles)
