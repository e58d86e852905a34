"""`hexapla analyze representations`: from pools, bases and corpora to a table, a page and figures; what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hexapla.cli.main import main
from hexapla.phrasebook.language import codes
from tests.pipeline.world import WORDS, Finished, sentences, write_lines

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Multi-way rows as JSON lines."""
    path = tmp_path / "rows.jsonl"
    rows = [{code: sentences(code, range(8))[place] for code in ("en", "de", "nl")} for place in range(8)]
    write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows])
    return path


def look(*arguments: str | Path) -> int:
    return main(["analyze", "representations", *map(str, arguments)])


def refused(capsys: Capture, *arguments: str | Path) -> str:
    """What a command that must fail says, in one paragraph."""
    capsys.readouterr()
    assert look(*arguments) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("hexapla: ")
    return last


def test_a_base_beside_pools_on_the_test_set_of_a_run(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    pools = [finished.pool("base"), finished.pool("direction-aware")]
    assert look(*pools, "--data", finished.out, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "base" in shown
    assert "direction-aware" in shown
    with (tmp_path / "out" / "tables" / "representations-summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["system"] for row in rows} == {"base", "direction-aware"}
    assert {row["layer"] for row in rows} == {"0", "1", "2"}
    assert (tmp_path / "out" / "analysis.md").is_file()
    assert list((tmp_path / "out" / "figures").glob("*.svg"))
    profiles = sorted((tmp_path / "out" / "artifacts").glob("representations-*/profile.json"))
    adapters = {record["name"]: record["adapters"] for record in (json.loads(path.read_text()) for path in profiles)}
    assert adapters == {
        "base": {"de": None, "en": None, "nl": None},
        "direction-aware": {"de": "de-en", "en": None, "nl": "nl-en"},
    }


def test_measured_once(finished: Finished, corpus: Path, tmp_path: Path, capsys: Capture) -> None:
    command = (finished.base, "--data", corpus, "--out", tmp_path / "out")
    assert look(*command) == 0
    first = capsys.readouterr()
    assert "read with" in first.err
    assert look(*command) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "read with" not in again.err
    assert look(*command, "--rows", "5") == 0
    assert "read with" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["recipe", "words", "ntrex", "prefix"])
def test_what_data_may_be(data: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for code, ntrex in (("en", "eng"), ("de", "deu"), ("fr", "fra")):
        write_lines(tmp_path / f"newstest2019-ref.{ntrex}.txt", sentences(code, range(6)))
        write_lines(tmp_path / f"plain.{code}", sentences(code, range(6)))
    given = {
        "recipe": (str(finished.recipe), ["de", "en", "nl"]),
        "words": (f"reader=tsv path={finished.recipe.parent / 'test.tsv'}", sorted(WORDS)),
        "ntrex": (str(tmp_path), ["de", "en", "fr"]),
        "prefix": ("plain", ["de", "en", "fr"]),
    }
    name, expected = given[data]
    assert look(finished.base, "--data", name) == 0
    [profile] = (tmp_path / "representations" / "artifacts").glob("representations-*/profile.json")
    assert json.loads(profile.read_text())["languages"] == expected


def test_the_phrasebook_and_named_languages(finished: Finished, tmp_path: Path) -> None:
    assert {"en", "uk"} <= set(codes())
    out = tmp_path / "out"
    words = ("--data", "phrasebook", "--languages", "Ukrainian,eng_Latn", "--rows", "4", "--out", out)
    assert look(finished.base, *words) == 0
    [profile] = out.glob("artifacts/representations-*/profile.json")
    assert json.loads(profile.read_text())["languages"] == ["uk", "en"]


def test_pools_of_one_name_are_told_apart_by_their_folders(
    finished: Finished, copied: Finished, corpus: Path, tmp_path: Path
) -> None:
    pools = [run.pool("base") for run in (finished, copied)]
    assert look(*pools, "--data", corpus, "--out", tmp_path / "out") == 0
    with (tmp_path / "out" / "tables" / "representations-summary.csv").open(encoding="utf-8") as file:
        assert {row["system"] for row in csv.DictReader(file)} == {str(pool) for pool in pools}


def test_what_is_refused(finished: Finished, corpus: Path, tmp_path: Path, capsys: Capture) -> None:
    base, out = finished.base, ("--out", tmp_path / "out")
    data = ("--data", corpus, *out)
    assert "is given twice" in refused(capsys, base, base, *data)
    assert "nothing to look into" in refused(capsys, *data)
    assert "--data FILE" in refused(capsys, base)
    assert "neither a pool" in refused(capsys, tmp_path, *data)
    assert "neither a folder here nor a hub id" in refused(capsys, "nobody", *data)
    several = refused(capsys, finished.out, *data)
    assert "several pools" in several
    assert str(finished.pool("direction-aware")) in several
    assert "no language 'klingonisch'" in refused(capsys, base, *data, "--languages", "en,klingonisch")
    assert "Only en is named" in refused(capsys, base, *data, "--languages", "en,eng_Latn")
    assert "no sentence in fr" in refused(capsys, base, *data, "--languages", "en,de,fr")
    assert "called 'rows'" in refused(capsys, base, "--data", corpus, *data)
    assert "greater than or equal to 4" in refused(capsys, base, *data, "--rows", "1")
    assert "does not exist" in refused(capsys, base, "--data", tmp_path / "none.jsonl", *out)
    pool = finished.pool("direction-aware")
    extra = tmp_path / "more.jsonl"
    write_lines(extra, [json.dumps({"en": f"a {n}", "fr": f"b {n}"}) for n in range(6)])
    assert "translates no fr into en" in refused(capsys, pool, "--data", extra, *out, "--languages", "en,fr")
    assert "share only en" in refused(capsys, pool, "--data", extra, *out)
    foreign = tmp_path / "foreign.jsonl"
    write_lines(foreign, [json.dumps({"fi": f"a {n}", "fr": f"b {n}"}) for n in range(6)])
    assert "share none with the pools" in refused(capsys, pool, "--data", foreign, *out)
    apart = tmp_path / "apart.jsonl"
    write_lines(apart, [json.dumps({"en": "a", "fr": "b"}), json.dumps({"en": "a", "de": "b"})])
    assert "No two of the languages share two rows" in refused(capsys, base, "--data", apart, *out)


def test_its_options_belong_to_it(finished: Finished, capsys: Capture) -> None:
    assert main(["analyze", str(finished.out), "--rows", "5"]) == 2
    assert "--rows is for looking inside models" in capsys.readouterr().err
