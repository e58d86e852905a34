"""Readers of tables, JSON, TMX, the phrasebook, and of named sets from elsewhere."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from hexapla.common.errors import UserError
from hexapla.data.rows import Row
from tests.data.material import harvest, reader, reasons, texts

PAIR = [{"en": "Hello.", "de": "Hallo."}]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- tables


def test_tsv_by_header(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "\ufeffscore\tEnglish\tdeu_Latn\r\n0.9\tHello.\tHallo.\r\n")
    assert texts("en de", reader="tsv", path=path) == PAIR


def test_tsv_by_name_and_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "src\ttgt\nHello.\tHallo.\n")
    assert texts("en de", reader="tsv", path=path, languages={"en": "src", "de": "tgt"}) == PAIR
    path = write(tmp_path / "y.tsv", 'Say "hello".\tignored\tHallo.\n')
    found = texts("en de", reader="tsv", path=path, languages={"en": 0, "de": 2})
    assert found == [{"en": 'Say "hello".', "de": "Hallo."}]


def test_csv_quotes_and_ragged_lines(tmp_path: Path) -> None:
    content = b'en,de\n"Hello, ""you"".","Hallo, du."\nonly one\n"two\nlines",x\nbroken,\xff\nok,gut\n'
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(content))
    rows, asides = harvest("en de", reader="tsv", path=tmp_path / "x.csv")
    assert [dict(row.texts) for row in rows] == [{"en": 'Hello, "you".', "de": "Hallo, du."}, {"en": "ok", "de": "gut"}]
    assert reasons(asides) == [
        (3, "ragged", None, False),
        (4, "line-break", "en", False),
        (6, "invalid-utf8", "de", False),
    ]


def test_tsv_stray_tab_shifts_no_column(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "en\tde\nHello.\tHallo.\na\tb\tc\n")
    rows, asides = harvest("en de", reader="tsv", path=path)
    assert [dict(row.texts) for row in rows] == PAIR
    assert reasons(asides) == [(3, "ragged", None, False)]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "file is empty"),
        ("src\ttgt\na\tb\n", {}, r"no column for en, de; the first line is: src \| tgt"),
        ("en\tde\na\tb\n", {"languages": {"en": "en", "de": "German"}}, "no column 'German'"),
        ("a\tb\n", {"languages": {"en": 0, "de": 2}}, "no column 2 for de; there are 2"),
        ("en\ten\tde\na\tb\tc\n", {}, "a column twice: en"),
        ("en\tde\n", {}, "corpus x: There are no records"),
    ],
)
def test_tsv_errors(tmp_path: Path, content: str, settings: dict[str, object], message: str) -> None:
    path = write(tmp_path / "x.tsv", content)
    with pytest.raises(UserError, match=message):
        harvest("en de", reader="tsv", path=path, **settings)


def test_csv_open_quote_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'en,de\na,b\n"never closed,c\nd,e\n')
    with pytest.raises(UserError, match=r"x.csv:3: This is not sound CSV"):
        harvest("en de", reader="tsv", path=path)


# --- JSON


@pytest.mark.parametrize(
    "record",
    [
        {"en": "Hello.", "de": "Hallo.", "score": 1},
        {"translation": {"de": "Hallo.", "en": "Hello."}},
        {"translation": {"language": ["de", "en"], "translation": ["Hallo.", "Hello."]}},
        {"language": ["en", "de", "fr"], "translation": ["Hello.", "Hallo.", "Salut."]},
        {"texts": {"en": "Hello.", "de": "Hallo."}},
    ],
)
@pytest.mark.parametrize("is_array", [False, True])
def test_json_shapes(tmp_path: Path, record: dict[str, object], is_array: bool) -> None:
    text = json.dumps([record], indent=1) if is_array else json.dumps(record) + "\n\n"
    path = write(tmp_path / "train.de-en.json", "\ufeff" + text)
    assert [sorted(found.items()) for found in texts("en de", reader="jsonl", path=path)] == [sorted(PAIR[0].items())]


def test_json_keys_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", json.dumps({"src": "Hello.", "tgt": "Hallo.", "en": "not this"}))
    assert texts("en de", reader="jsonl", path=path, languages={"en": "src", "de": "tgt"}) == PAIR


def test_json_key_id_is_indonesian_only_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", json.dumps({"id": "Halo.", "en": "Hello.", "de": "Hallo."}))
    assert texts("en de", reader="jsonl", path=path) == PAIR
    assert texts("en id", reader="jsonl", path=path) == [{"id": "Halo.", "en": "Hello."}]


def test_json_bad_lines(tmp_path: Path) -> None:
    lines = [
        json.dumps(PAIR[0]),
        '{"en": "cut',
        "[1]x",
        '"text"',
        json.dumps({"en": "alone"}),
        json.dumps({"fr": "rien"}),
        json.dumps({"en": "a", "de": None}),
        json.dumps({"en": "a", "de": 7}),
        '{"en": "half \\ud83d", "de": "a"}',
        json.dumps({"en": "a\nb", "de": "a"}),
        json.dumps({"language": ["en"], "translation": ["a", "b"]}),
        json.dumps({"language": ["en", "de", "de"], "translation": ["a", "b", "c"]}),
        "[" * 100_000,
    ]
    path = write(tmp_path / "x.jsonl", "\n".join(lines))
    rows, asides = harvest("en de", reader="jsonl", path=path)
    assert [dict(row.texts) for row in rows] == [*PAIR, {"en": "a", "de": "b"}]
    assert reasons(asides) == [
        (2, "not-json", None, False),
        (3, "not-json", None, False),
        (4, "not-a-record", None, False),
        (5, "missing-language", None, False),
        (6, "too-few-languages", None, False),
        (7, "empty-side", "de", False),
        (8, "not-text", "de", False),
        (9, "invalid-utf8", "en", False),
        (10, "line-break", "en", False),
        (11, "ragged", None, False),
        (12, "alternative-text", "de", True),
        (13, "not-json", None, False),
    ]
    assert all(json.dumps(aside.to_record(), ensure_ascii=False).encode() for aside in asides)


def test_json_own_ids_must_differ(tmp_path: Path) -> None:
    record = {"id": "a:1", "texts": PAIR[0]}
    path = write(tmp_path / "x.jsonl", f"{json.dumps(record)}\n{json.dumps(record)}\n")
    rows, asides = harvest("en de", reader="jsonl", path=path)
    assert [row.id for row in rows] == ["x:a:1"]
    assert reasons(asides) == [(2, "duplicate-id", None, False)]


def test_what_is_synthetic_stays_marked_for_ever(tmp_path: Path) -> None:
    row = Row(
        "web:7", {**PAIR[0], "fr": "Salut."}, "web", "doc", {"de": "tiny@0123 from en", "fr": "tiny@0123 from en"}
    )
    [kept], _ = harvest("en de", reader="jsonl", path=write(tmp_path / "web.jsonl", json.dumps(row.to_record())))
    # under its own name a corpus keeps its ids
    assert kept == Row("web:7", PAIR[0], "web", "doc", {"de": "tiny@0123 from en"})
    path = write(tmp_path / "again.jsonl", json.dumps(kept.to_record()))
    [again], _ = harvest("en de", reader="jsonl", path=path)
    assert again == Row("again:web:7", PAIR[0], "again", "doc", {"de": "tiny@0123 from en"})
    # an id of somebody else's that only looks like it
    path = write(tmp_path / "again.jsonl", json.dumps({"id": "again:1", "texts": PAIR[0]}))
    assert [row.id for row in harvest("en de", reader="jsonl", path=path)[0]] == ["again:again:1"]


def test_provenance_in_other_forms(tmp_path: Path) -> None:
    def record(**more: object) -> str:
        return json.dumps({"texts": {"en": "Hello.", "deu": "Hallo."}, **more})

    lines = [
        record(synthetic=None),
        record(synthetic={"en": None, "deu": "x", "fr": "y"}),
        record(synthetic={"de": ""}),
        record(synthetic=True),
        record(synthetic={"de": 1}),
        record(synthetic={"de": "\ud83d"}),
    ]
    rows, asides = harvest("en de", reader="jsonl", path=write(tmp_path / "x.jsonl", "\n".join(lines)))
    assert [dict(row.synthetic) for row in rows] == [{}, {"de": "x"}, {"de": ""}]
    assert reasons(asides) == [
        (4, "not-a-record", None, False),
        (5, "not-a-record", None, False),
        (6, "invalid-utf8", None, False),
    ]
    # a text that is set aside takes its mark with it
    line = json.dumps({"texts": {**PAIR[0], "fr": ""}, "synthetic": {"fr": "x"}})
    [row], _ = harvest("en de fr", reader="jsonl", path=write(tmp_path / "y.jsonl", line))
    assert row.synthetic == {}


def test_json_broken_array_and_invalid_bytes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="JSON array cannot be read"):
        harvest("en de", reader="jsonl", path=write(tmp_path / "x.json", '[{"en": "a"'))
    path = write(tmp_path / "y.json", b'[{"en": "a", "de": "\xff"}, {"en": "a", "de": "b"}]')
    rows, asides = harvest("en de", reader="jsonl", path=path)
    assert len(rows) == 1
    assert reasons(asides) == [(1, "invalid-utf8", "de", False)]


# --- TMX

HEADER = (
    '<header creationtool="t" creationtoolversion="1" segtype="sentence" o-tmf="t" adminlang="en" srclang="*all*" '
    'datatype="plaintext"/>'
)


def tmx(path: Path, units: Iterable[str], doctype: str = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">') -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{doctype}<tmx version="1.4">{HEADER}<body>')
        file.writelines(units)
        file.write("</body></tmx>")
    return path


def unit(**variants: str) -> str:
    return (
        "<tu>"
        + "".join(f'<tuv xml:lang="{k.replace("_", "-")}"><seg>{v}</seg></tuv>' for k, v in variants.items())
        + "</tu>"
    )


def test_tmx_many_languages_any_case(tmp_path: Path) -> None:
    units = [unit(EN_us="Hello.", De_AT="Hallo.", zh_HANT="哈囉", FR="Salut."), unit(en="One.", de="Eins.")]
    assert texts("de en zh fr", reader="tmx", path=tmx(tmp_path / "x.tmx", units)) == [
        {"en": "Hello.", "de": "Hallo.", "fr": "Salut."},
        {"en": "One.", "de": "Eins."},
    ]


def test_tmx_old_lang_attribute_namespace_and_utf16(tmp_path: Path) -> None:
    body = '<tu><tuv lang="EN"><seg>Hello.</seg></tuv><tuv lang="DE"><seg>Hallo.</seg></tuv></tu>'
    root = '<tmx xmlns="http://www.lisa.org/tmx14" version="1.4">'
    text = f'<?xml version="1.0" encoding="UTF-16"?>{root}{HEADER}<body>{body}</body></tmx>'
    assert texts("en de", reader="tmx", path=write(tmp_path / "x.tmx", text.encode("utf-16"))) == PAIR


def test_tmx_inline_elements(tmp_path: Path) -> None:
    rich = (
        'Press <bpt i="1">&lt;b&gt;</bpt>the <hi type="x">red <hi>big</hi></hi> button<ept i="1">&lt;/b&gt;</ept>'
        '<ph>{0}<sub>a footnote</sub></ph><!-- note --> &amp; wait<it pos="begin">x</it>.'
    )
    found = texts("en de", reader="tmx", path=tmx(tmp_path / "x.tmx", [unit(en=rich, de="  Warte.\n ")]))
    assert found == [{"en": "Press the red big button & wait.", "de": "Warte."}]


def test_tmx_alternatives_and_incomplete_units(tmp_path: Path) -> None:
    twice = unit(en="a", de="b").replace("</tu>", '<tuv xml:lang="de"><seg>c</seg></tuv></tu>')
    rows, asides = harvest(
        "en de", reader="tmx", path=tmx(tmp_path / "x.tmx", [twice, unit(en="a"), unit(en="a", de=""), "<tu/>"])
    )
    assert [dict(row.texts) for row in rows] == [{"en": "a", "de": "b"}]
    assert reasons(asides) == [
        (1, "alternative-text", "de", True),
        (2, "missing-language", None, False),
        (3, "empty-side", "de", False),
        (4, "too-few-languages", None, False),
    ]


def test_tmx_region_by_name(tmp_path: Path) -> None:
    path = tmx(tmp_path / "x.tmx", [unit(en="a", pt="European", pt_BR="Brazilian")])
    assert texts("en pt", reader="tmx", path=path, languages={"en": "EN", "pt": "pt-BR"}) == [
        {"en": "a", "pt": "Brazilian"}
    ]


def test_tmx_entities_and_external_files_are_never_expanded(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", "the secret")
    doctype = f'<!DOCTYPE tmx [<!ENTITY l0 "ha"><!ENTITY l9 "&l0;&l0;"><!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    units = [
        unit(en="&l9;", de="lol"),
        unit(en="&x;", de="xxe"),
        unit(en="<hi>&l0;</hi>", de="hi"),
        unit(en="a", de="b"),
    ]
    rows, asides = harvest("en de", reader="tmx", path=tmx(tmp_path / "x.tmx", units, doctype))
    assert [dict(row.texts) for row in rows] == [{"en": "a", "de": "b"}]
    assert reasons(asides) == [(n, "entity-reference", "en", False) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "content", ['<tu><tuv xml:lang="&l9;"><seg>a</seg></tuv></tu>', "<tu><tuv><seg>&l9;</seg></tuv></tu>"]
)
def test_tmx_billion_laughs_is_refused(tmp_path: Path, content: str) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    doctype = f'<!DOCTYPE tmx [<!ENTITY l0 "ha">{laughs}]>'
    before = _resident_mib()
    with pytest.raises(UserError, match="not sound XML"):
        harvest("en de", reader="tmx", path=tmx(tmp_path / "x.tmx", [content], doctype))
    assert _resident_mib() - before < 20


def test_tmx_cut_short(tmp_path: Path) -> None:
    whole = tmx(tmp_path / "x.tmx", [unit(en=f"a{n}", de=f"b{n}") for n in range(100)]).read_bytes()
    with pytest.raises(UserError, match=r"cut.tmx:\d+: This is not sound XML"):
        harvest("en de", reader="tmx", path=write(tmp_path / "cut.tmx", whole[:-200]))


def test_large_tmx_streams(tmp_path: Path) -> None:
    num_units = 200_000
    path = tmx(tmp_path / "x.tmx", (unit(en=f"Sentence {n}", de=f"Satz {n}") + "\n" for n in range(num_units)))
    records = reader(reader="tmx", path=path).records(("en", "de"))
    resident_mib = []
    for record in records:
        if record.line % 50_000 == 0:
            resident_mib.append(_resident_mib())
    assert record.line == num_units
    assert resident_mib[-1] - resident_mib[0] < 10  # the tree of 150,000 units would be over 100 MiB


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


# --- phrasebook and named sets


def test_phrasebook_splits_share_no_row() -> None:
    train, _ = harvest("en de", reader="phrasebook", split="train")
    test, _ = harvest("en de", reader="phrasebook", split="test")
    assert train
    assert test
    assert not {row.id for row in train} & {row.id for row in test}
    assert train[0].corpus == "phrasebook"
    assert len(reader(reader="phrasebook").fingerprint()["phrasebook"]) == 64


def test_sacrebleu_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sacrebleu.dataset

    dataset = sacrebleu.dataset.DATASETS["wmt17"]
    lines = {"src": "Hello.\nBye.\n", "ref": "Hallo.\nTschüss.\n"}
    for field in dataset.fieldnames("en-de"):
        (tmp_path / f"wmt17.en-de.{field}").write_text(lines.get(field, "x\nx\n"), encoding="utf-8")
    monkeypatch.setattr(dataset, "_outdir", str(tmp_path))
    rows, _ = harvest("en de", reader="sacrebleu", testset="wmt17", pairs=["en-de"])
    assert [(row.id, row.texts["de"]) for row in rows] == [
        ("wmt17:en-de:0000", "Hallo."),
        ("wmt17:en-de:0001", "Tschüss."),
    ]


def test_sacrebleu_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error

    import sacrebleu.dataset

    with pytest.raises(UserError, match="knows no test set 'wmt222'"):
        harvest("en de", reader="sacrebleu", testset="wmt222")
    with pytest.raises(UserError, match="no pair 'en-xx'"):
        harvest("en de", reader="sacrebleu", testset="wmt17", pairs=["en-xx"])

    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    dataset = sacrebleu.dataset.DATASETS["wmt22"]
    for place in ("_outdir", "_rawdir"):
        monkeypatch.setattr(dataset, place, str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(UserError, match="could not be fetched"):
        harvest("en de", reader="sacrebleu", testset="wmt22", pairs=["en-de"])


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="datasets is installed")
def test_hf_without_the_extra_names_it() -> None:
    with pytest.raises(UserError, match=r"pip install \"hexapla\[datasets\]\""):
        harvest("en de", reader="hf", dataset="some/thing")
