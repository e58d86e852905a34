"""The reader of monolingual text, and rows of one language."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import ValidationError

from hexapla.common.errors import UserError
from hexapla.data.cleaning import rows_of
from hexapla.data.records import SetAside
from hexapla.data.rows import Row
from tests.data.material import harvest, reader, reasons


def read(codes: str, **settings: object) -> tuple[list[Row], list[SetAside]]:
    items = [item for _, item in rows_of(reader(**settings), tuple(codes.split()), min_languages=1)]
    return [item for item in items if isinstance(item, Row)], [item for item in items if isinstance(item, SetAside)]


def json_lines(path: Path, values: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_lines_with_what_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "news.de.txt"
    path.write_bytes("\ufeffErste Zeile.\r\n\n  Dritte\u00a0Zeile. \n".encode() + b"kaputt \xff\nab\x07c\nSechste.")
    rows, asides = read("en de", reader="text", path=path, language="German")
    assert [(row.id, dict(row.texts)) for row in rows] == [
        ("news.de:0000", {"de": "Erste Zeile."}),
        ("news.de:0002", {"de": "Dritte\u00a0Zeile."}),
        ("news.de:0005", {"de": "Sechste."}),
    ]
    assert reasons(asides) == [
        (2, "empty-side", "de", False),
        (4, "invalid-utf8", "de", False),
        (5, "control-character", "de", False),
    ]


def test_a_slice_and_a_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "mono.gz").write_bytes(gzip.compress(b"a b\nc d\ne f\n"))
    rows, _ = read("en", reader="text", path=tmp_path / "mono", language="en", rows="1:2", name="m")
    assert [(row.id, row.corpus, dict(row.texts)) for row in rows] == [("m:0001", "m", {"en": "c d"})]
    assert reader(reader="text", path=tmp_path / "mono", language="en").files(("en",)) == (tmp_path / "mono.gz",)


def test_json_documents_become_one_record_a_line(tmp_path: Path) -> None:
    documents: list[object] = [
        {"text": "Erster Satz.\n\nZweiter Satz.\r\nDritter.\n", "id": "web:1", "language": "deu"},
        {"text": "Allein.", "url": "http://example.org"},
        {"body": "nichts"},
        {"text": None},
    ]
    path = json_lines(tmp_path / "web.jsonl", documents)
    rows, asides = read("de", reader="text", path=path, language="de")
    assert [(row.id, row.document, row.texts["de"]) for row in rows] == [
        ("web:0000", "1", "Erster Satz."),
        ("web:0001", "1", "Zweiter Satz."),
        ("web:0002", "1", "Dritter."),
        ("web:0003", None, "Allein."),
    ]
    assert reasons(asides) == [(3, "too-few-languages", None, False), (4, "empty-side", "de", False)]


def test_json_with_a_language_in_each_record(tmp_path: Path) -> None:
    values: list[object] = [
        {"text": "Hello.", "language": "eng_Latn"},
        {"text": "Hallo.", "language": "de"},
        {"text": "Salut.", "language": "fr"},
        {"text": "no language"},
        {"text": 7, "language": "de"},
    ]
    path = json_lines(tmp_path / "x.jsonl", values)
    rows, asides = read("en de", reader="jsonl", path=path)
    assert [dict(row.texts) for row in rows] == [{"en": "Hello."}, {"de": "Hallo."}]
    assert reasons(asides) == [
        (3, "too-few-languages", None, False),
        (4, "too-few-languages", None, False),
        (5, "not-text", "de", False),
    ]
    # where the recipe says whose key `text` is, that holds
    rows, _ = read("en", reader="jsonl", path=path, languages={"en": "text"})
    assert [dict(row.texts) for row in rows][:3] == [{"en": "Hello."}, {"en": "Hallo."}, {"en": "Salut."}]


def test_one_language_is_too_little_for_pairs(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("Hallo.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"missing-language: 1.*A row needs at least 2 of the languages asked for"):
        harvest("en de", reader="text", path=path, language="de")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read("de", reader="text", path=tmp_path / "none.txt", language="de")
    with pytest.raises(UserError, match="a file is needed"):
        reader(reader="text", path=tmp_path, language="de").files(("de",))
    (tmp_path / "x.txt").write_bytes("Hallo.\n".encode("utf-16"))
    with pytest.raises(UserError, match="UTF-16"):
        read("de", reader="text", path=tmp_path / "x.txt", language="de")
    (tmp_path / "y.txt.gz").write_bytes(gzip.compress(b"Hallo.\n" * 10_000)[:-20])
    with pytest.raises(UserError, match="not sound gzip"):
        read("de", reader="text", path=tmp_path / "y.txt", language="de")
    (tmp_path / "z.txt").write_bytes(b"")
    with pytest.raises(UserError, match="There are no records"):
        read("de", reader="text", path=tmp_path / "z.txt", language="de")
    (tmp_path / "w.txt").write_bytes(b"\n\n")
    with pytest.raises(UserError, match=r"No row is left of 2 records \(empty-side: 2\)"):
        read("de", reader="text", path=tmp_path / "w.txt", language="de")


def test_its_language(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"in fr, which is not asked for \(en, de\)"):
        read("en de", reader="text", path=tmp_path / "x.txt", language="fr")
    with pytest.raises(ValidationError, match="required"):
        reader(reader="text", path=tmp_path)
    with pytest.raises(ValidationError, match="Klingonese"):
        reader(reader="text", path=tmp_path, language="Klingonese")
    with pytest.raises(ValidationError, match="reads one language"):
        reader(reader="text", path=tmp_path, language="de", languages=["de"])


def test_a_large_file_streams(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"Satz Nummer {number} von vielen.\n" for number in range(300_000))
    before, peak = resident_mib(), 0.0
    for number, _ in rows_of(reader(reader="text", path=path, language="de"), ("de",), min_languages=1):
        if number % 50_000 == 0:
            peak = max(peak, resident_mib())
    assert number == 300_000
    assert peak - before < 10  # 300,000 rows held together would be over 100 MiB


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
