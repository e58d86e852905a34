"""Readers of plain-text files with corresponding lines: NTREX, FLORES and Moses."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from hexapla.common.errors import UserError
from tests.data.material import harvest, numbered, reader, reasons, texts, write_pairs

REAL_NTREX = Path(__file__).parents[2].parent / "shared" / "data" / "ntrex"


def ntrex(folder: Path, num_lines: int = 3, codes: tuple[str, ...] = ("deu", "zho-CN")) -> Path:
    inner = folder / "NTREX-128"
    inner.mkdir(parents=True)
    for name in ("src.eng", *(f"ref.{code}" for code in codes)):
        lines = "".join(f"{name} {n}\n" for n in range(num_lines))
        (inner / f"newstest2019-{name}.txt").write_text(lines, encoding="utf-8")
    (folder / "DOCUMENT_IDS.tsv").write_text("".join(f"doc.{n // 2}\n" for n in range(num_lines)), encoding="utf-8")
    return folder


@pytest.mark.parametrize("inner", ["", "NTREX-128"])
def test_ntrex_accepts_the_folder_or_its_parent(tmp_path: Path, inner: str) -> None:
    rows, asides = harvest("en de zh", reader="ntrex", path=ntrex(tmp_path) / inner)
    assert asides == []
    assert [row.id for row in rows] == ["ntrex:0000", "ntrex:0001", "ntrex:0002"]
    assert rows[1].texts == {"en": "src.eng 1", "de": "ref.deu 1", "zh": "ref.zho-CN 1"}
    assert [row.document for row in rows] == ["doc.0", "doc.0", "doc.1"]


def test_ntrex_slice_keeps_positions(tmp_path: Path) -> None:
    rows, _ = harvest("en de", reader="ntrex", path=ntrex(tmp_path), rows="1:2")
    assert [row.id for row in rows] == ["ntrex:0001"]


def test_ntrex_missing_language_names_the_codes_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no text for fr \(ntrex code fra\) among the 3 languages") as caught:
        harvest("en fr", reader="ntrex", path=ntrex(tmp_path))
    assert "deu, eng, zho-CN" in str(caught.value)
    assert len(harvest("en de fr", reader="ntrex", path=tmp_path, languages=["en", "German"])[0]) == 3


def test_ntrex_line_counts_and_document_ids_must_agree(tmp_path: Path) -> None:
    ntrex(tmp_path)
    with (tmp_path / "NTREX-128" / "newstest2019-ref.deu.txt").open("a", encoding="utf-8") as file:
        file.write("one more")
    with pytest.raises(UserError, match=r"ref.deu.txt: 4"):
        harvest("en de", reader="ntrex", path=tmp_path, rows="0:1")
    (tmp_path / "DOCUMENT_IDS.tsv").write_text("only.one\n", encoding="utf-8")
    with pytest.raises(UserError, match="document ids: 1"):
        harvest("en zh", reader="ntrex", path=tmp_path)


def test_ntrex_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no NTREX-128 text"):
        harvest("en de", reader="ntrex", path=tmp_path)
    with pytest.raises(UserError, match="does not exist") as caught:
        harvest("en de", reader="ntrex", path=tmp_path / "nowhere")
    assert str(Path.cwd()) in str(caught.value)


@pytest.mark.skipif(not REAL_NTREX.is_dir(), reason="the real NTREX-128 is not on this machine")
def test_real_ntrex() -> None:
    rows, asides = harvest("en de zh ja pl ru", reader="ntrex", path=REAL_NTREX)
    assert len(rows) == 1997
    assert reasons(asides) == [(1422, "control-character", "pl", True)]
    assert rows[0].document == "bbc.381790"
    assert rows[0].texts["de"].startswith("Mitglieder der Nationalversammlung für Wales")


def test_flores(tmp_path: Path) -> None:
    for code in ("eng_Latn", "zho_Hans"):
        (tmp_path / "devtest").mkdir(exist_ok=True)
        (tmp_path / "devtest" / f"{code}.devtest").write_text(f"{code} a\n{code} b\n", encoding="utf-8")
    found = texts("en zh", reader="flores", path=tmp_path, split="devtest")
    assert found == [{"en": "eng_Latn a", "zh": "zho_Hans a"}, {"en": "eng_Latn b", "zh": "zho_Hans b"}]
    assert reader(reader="flores", path=tmp_path, split="devtest").corpus == "flores-devtest"
    with pytest.raises(UserError, match="no folder 'dev'"):
        harvest("en zh", reader="flores", path=tmp_path, split="dev")
    with pytest.raises(UserError, match=r"no text for ru \(flores code rus_Cyrl\)"):
        harvest("en ru", reader="flores", path=tmp_path, split="devtest")


def test_moses_pair_and_multi_way(tmp_path: Path) -> None:
    write_pairs(tmp_path / "Tiny.de-en", [("a", "b")], "de en")
    assert texts("en de", reader="moses", path=tmp_path / "Tiny.de-en") == [{"en": "b", "de": "a"}]
    write_pairs(tmp_path / "captions", [("a", "b", "c")], "en de fr")
    assert texts("fr en de", reader="moses", path=tmp_path / "captions") == [{"fr": "c", "en": "a", "de": "b"}]
    assert texts("fr en de", reader="moses", path=tmp_path / "captions", languages=["en", "de"]) == [
        {"en": "a", "de": "b"}
    ]
    assert texts("en fr", reader="moses", path=tmp_path, languages={"en": "captions.en", "fr": "captions.fr"})


def test_moses_compressed(tmp_path: Path) -> None:
    (tmp_path / "train.en.gz").write_bytes(gzip.compress(b"hello\n"))
    (tmp_path / "train.de.zst").write_bytes(zstandard.compress(b"hallo\n"))
    assert texts("en de", reader="moses", path=tmp_path / "train") == [{"en": "hello", "de": "hallo"}]


def test_moses_regional_endings(tmp_path: Path) -> None:
    write_pairs(tmp_path / "ui", [("colour", "color", "Farbe")], "en en_US de")
    assert texts("en de", reader="moses", path=tmp_path / "ui") == [{"en": "colour", "de": "Farbe"}]
    (tmp_path / "ui.en").unlink()
    assert texts("en de", reader="moses", path=tmp_path / "ui") == [{"en": "color", "de": "Farbe"}]
    write_pairs(tmp_path / "ui", [("colour",)], "en_GB")
    with pytest.raises(UserError, match="Both 'en_GB' and 'en_US' are en"):
        harvest("en de", reader="moses", path=tmp_path / "ui")
    assert texts("en de", reader="moses", path=tmp_path / "ui", languages={"en": "en_GB", "de": "de"})


def test_moses_errors_name_what_is_there(tmp_path: Path) -> None:
    write_pairs(tmp_path / "Europarl.de-en", [("a", "b")], "de en")
    with pytest.raises(UserError, match="no file for fr") as caught:
        harvest("en fr", reader="moses", path=tmp_path / "Europarl.de-en")
    assert "There are: de, en" in str(caught.value)
    with pytest.raises(UserError, match=r"Did you mean 'Europarl.de-en'"):
        harvest("en de", reader="moses", path=tmp_path / "Europarl.en-de")
    with pytest.raises(UserError, match="no file for fr"):
        harvest("en de fr", reader="moses", path=tmp_path / "Europarl.de-en", languages=["en", "de", "fr"])
    with pytest.raises(UserError, match="folder does not exist"):
        harvest("en de", reader="moses", path=tmp_path / "nowhere" / "x")


def test_line_count_mismatch_names_files_and_counts(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", numbered(0, 5))
    (tmp_path / "x.de").write_bytes((tmp_path / "x.de").read_bytes() + b"\n")
    with pytest.raises(UserError, match=r"x.en: 5, .*x.de: 6"):
        harvest("en de", reader="moses", path=tmp_path / "x")


def test_bad_lines_are_set_aside_by_reason_and_later_lines_stay_aligned(tmp_path: Path) -> None:
    source = ["ok 1", "", "ok 3", "a\u2028b", "bell \x07", "\ufeff", "ok 7", "tab\there", "ok 9"]
    (tmp_path / "x.en").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(source).encode() + b"\r\n")
    target = [b"gut 1", b"zwei", b"\xff\xfe broken", b"vier", b"f\xc3\xbcnf", b"sechs", b"gut 7", b"acht", b"gut 9"]
    (tmp_path / "x.de").write_bytes(b"\n".join(target))
    rows, asides = harvest("en de", reader="moses", path=tmp_path / "x")
    assert [(row.id, row.texts["en"], row.texts["de"]) for row in rows] == [
        ("x:0000", "ok 1", "gut 1"),
        ("x:0006", "ok 7", "gut 7"),
        ("x:0008", "ok 9", "gut 9"),
    ]
    assert reasons(asides) == [
        (2, "empty-side", "en", False),
        (3, "invalid-utf8", "de", False),
        (4, "line-break", "en", False),
        (5, "control-character", "en", False),
        (6, "empty-side", "en", False),
        (8, "control-character", "en", False),
    ]


def test_a_bad_text_costs_a_multi_way_row_only_that_language(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", [("a", "b", "c"), ("d", "", "f")], "en de fr")
    rows, asides = harvest("en de fr", reader="moses", path=tmp_path / "x")
    assert [dict(row.texts) for row in rows] == [{"en": "a", "de": "b", "fr": "c"}, {"en": "d", "fr": "f"}]
    assert reasons(asides) == [(2, "empty-side", "de", True)]


def test_utf16_truncated_and_empty_files(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", numbered(0, 3))
    (tmp_path / "x.de").write_bytes("eins\nzwei\ndrei\n".encode("utf-16"))
    with pytest.raises(UserError, match="UTF-16"):
        harvest("en de", reader="moses", path=tmp_path / "x")
    (tmp_path / "x.de").unlink()
    (tmp_path / "x.de.gz").write_bytes(gzip.compress(b"hallo\n" * 1000)[:-12])
    with pytest.raises(UserError, match="not sound gzip"):
        harvest("en de", reader="moses", path=tmp_path / "x")
    write_pairs(tmp_path / "empty", [])
    with pytest.raises(UserError, match=r"corpus empty: There are no records"):
        harvest("en de", reader="moses", path=tmp_path / "empty")
    write_pairs(tmp_path / "blank", [("a", ""), ("", "b")])
    with pytest.raises(UserError, match=r"No row is left of 2 records \(empty-side: 2\)"):
        harvest("en de", reader="moses", path=tmp_path / "blank")
    write_pairs(tmp_path / "short", numbered(0, 3))
    with pytest.raises(UserError, match="no records in the slice '5:'"):
        harvest("en de", reader="moses", path=tmp_path / "short", rows="5:")
