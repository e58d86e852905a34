"""From records to rows: every text is checked, and what fails is set aside with its reason.

A bad text costs the row only that language; a row that is left with fewer than two languages goes as a whole.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Set

from hexapla.common.errors import UserError
from hexapla.data.readers.base import Reader
from hexapla.data.records import Flaw, Reason, Record, SetAside
from hexapla.data.rows import Row

MIN_LANGUAGES = 2

_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_FAULT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_text(text: str) -> str | Flaw:
    """The text without white space at its ends, or what is wrong with it."""
    stripped = text.strip().strip("\ufeff").strip()
    if not stripped:
        return Flaw(Reason.EMPTY)
    if not _FAULT.search(stripped):
        return stripped
    if _SURROGATE.search(stripped):
        return Flaw(Reason.INVALID_UTF8, stripped)
    if _LINE_BREAK.search(stripped):
        return Flaw(Reason.LINE_BREAK, stripped)
    return Flaw(Reason.CONTROL_CHARACTER, stripped)


def rows_of(
    reader: Reader, languages: tuple[str, ...], *, min_languages: int = MIN_LANGUAGES
) -> Iterator[tuple[int, Row | SetAside]]:
    """The rows of one corpus in its order, and between them what was set aside; each with its line.

    Args:
        languages: the recipe's languages, canonical codes; rows keep only those.
        min_languages: fewest languages of a row; 1 for monolingual text.

    Raises:
        UserError: as the reader; or no row is left; or a language that the corpus's settings name never appears; or
            most texts are not UTF-8.
    """
    corpus, seen, num_records = reader.corpus, set[str](), 0
    found: set[tuple[str, ...]] = set()
    lost: Counter[str] = Counter()
    broken: Counter[str | None] = Counter()
    start, stop = reader.bounds
    for position, record in enumerate(itertools.islice(reader.records(languages), start, stop), start):
        num_records += 1
        row, asides = _judge(corpus, position, record, min_languages)
        if row is not None and row.id in seen:
            asides = [SetAside(corpus, record.line, Reason.DUPLICATE_ID, text=row.id)]
            row = None
        for aside in asides:
            if not aside.row_kept:
                lost[aside.reason.value] += 1
            if aside.reason is Reason.INVALID_UTF8:
                broken[aside.language] += 1
            yield record.line, aside
        if row is not None:
            if record.id is not None:
                seen.add(row.id)
            found.add(tuple(row.texts))
            yield record.line, row
    _check_encoding(corpus, num_records, broken)
    _check_harvest(reader, languages, num_records, set().union(*found), lost, min_languages)


def _judge(corpus: str, position: int, record: Record, min_languages: int) -> tuple[Row | None, list[SetAside]]:
    """The row that a record gives, if any, and what is set aside of it."""
    if record.flaw is not None:
        return None, [SetAside(corpus, record.line, record.flaw.reason, text=record.flaw.text)]
    names = [name for name in (record.id, record.document, *record.synthetic.values()) if name is not None]
    if names and _SURROGATE.search("".join(names)):
        return None, [SetAside(corpus, record.line, Reason.INVALID_UTF8, text=f"{record.id} {record.document}")]
    texts: dict[str, str] = {}
    flaws: dict[str, Flaw] = {}
    for code, given in record.texts.items():
        checked = given if isinstance(given, Flaw) else check_text(given)
        if isinstance(checked, Flaw):
            flaws[code] = checked
        else:
            texts[code] = checked
    if len(texts) < min_languages:
        for code, flaw in flaws.items():
            return None, [SetAside(corpus, record.line, flaw.reason, code, flaw.text)]
        absence = _absence(record)
        return None, [SetAside(corpus, record.line, absence.reason, text=absence.text)]
    asides = [SetAside(corpus, record.line, flaw.reason, code, flaw.text, True) for code, flaw in flaws.items()]
    asides += [
        SetAside(corpus, record.line, Reason.ALTERNATIVE, code, text, True) for code, text in record.alternatives
    ]
    name = record.id if record.id is not None else f"{position:04d}"
    synthetic = {code: maker for code, maker in record.synthetic.items() if code in texts}
    return Row(f"{corpus}:{name}", texts, corpus, record.document, synthetic), asides


def _absence(record: Record) -> Flaw:
    """Why a record without bad texts is too small: none of the recipe's languages but one, or not even one."""
    shown = next((text for text in record.texts.values() if isinstance(text, str)), "")
    return Flaw(Reason.MISSING_LANGUAGE if record.texts else Reason.TOO_FEW_LANGUAGES, shown)


def _check_encoding(corpus: str, num_records: int, broken: Counter[str | None]) -> None:
    """A few broken lines are set aside; when most are, the file is in another encoding, and more of it is garbage."""
    code, number = max(broken.items(), key=lambda item: item[1], default=(None, 0))
    if 2 * number > num_records:
        texts = "records" if code is None else f"texts in {code}"
        raise UserError(
            f"{number} of {num_records} {texts} are not valid UTF-8: the file is in another encoding.",
            where=f"corpus {corpus}",
            hint="Convert it, for example with: iconv -f WINDOWS-1252 -t UTF-8 (WINDOWS-1251 for Cyrillic, GB18030 for "
            "Chinese).",
        )


def _check_harvest(
    reader: Reader,
    languages: tuple[str, ...],
    num_records: int,
    found: Set[str],
    lost: Counter[str],
    min_languages: int,
) -> None:
    where = f"corpus {reader.corpus}"
    if not found:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in lost.most_common())
        what = f"No row is left of {num_records} records ({reasons})." if num_records else "There are no records."
        if not num_records and reader.rows is not None:
            what = f"There are no records in the slice {reader.rows!r}."
        needed = f"{min_languages} of the languages asked for" if len(languages) > 1 else "the language asked for"
        raise UserError(what, where=where, hint=f"A row needs at least {needed} ({', '.join(languages)}).")
    if absent := [code for code in reader.explicit if code in languages and code not in found]:
        raise UserError(f"Languages named for this corpus do not appear in it: {', '.join(absent)}.", where=where)
