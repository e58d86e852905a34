"""`hexapla data`: the funnel with the examples behind it, and inspection of recipes and files; counted by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hexapla.cli import data as command
from hexapla.cli.main import _CommandParser
from hexapla.common.errors import UserError
from hexapla.pipeline.data import inspect_sources, measure_data
from hexapla.plan import Side
from hexapla.recipe import Recipe

MULTI_WAY = [
    {"en": "Good day.", "de": "Guten Tag.", "nl": "Goedendag."},
    {"en": "Good day.", "de": "Tag zusammen!", "nl": "Dag allemaal!"},
    {"en": "Thanks a lot.", "de": "Vielen Dank.", "nl": "Thanks a lot."},
]
PAIRS = [{"en": "Where is the station?", "de": "Wo ist der Bahnhof?"}]
TEST = [{"en": "It is late.", "de": "Es ist spät.", "nl": "Het is laat."}]


def write(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    train = [write(tmp_path / "multi.jsonl", MULTI_WAY), write(tmp_path / "pairs.jsonl", PAIRS)]
    return {
        "name": "little",
        "base": "builtin:tiny",
        "languages": ["en", "de", "nl"],
        "data": {
            "train": [{"reader": "jsonl", "path": str(path)} for path in train],
            "test": [{"reader": "jsonl", "path": str(write(tmp_path / "news.jsonl", TEST))}],
            "clean": {"filters": ["identical"]},
        },
        "train": {"strategy": ["multilingual"]},
    }


def test_examples_are_those_of_the_cleaned_rows(document: dict[str, Any]) -> None:
    (report,) = measure_data(Recipe.parse(document))
    assert report.summary["train"]["multi"]["texts"] == {"de": 3, "en": 3, "nl": 2}  # "Thanks a lot." is no Dutch
    made = report.examples[""]
    assert made.sides[Side.TO_HUB][:2] == (6, 6)  # four from German, two from Dutch
    assert made.sides[Side.FROM_HUB][:2] == (6, 6)
    # "Good day." four times, "Thanks a lot." and the station once
    assert made.after.repetition["en"].histogram == {1: 2, 4: 1}
    assert made.coverage is None
    text = report.to_text()
    assert "1. identical" in text
    assert "to-hub" in text
    assert "Auxiliary" not in text


def test_parts_that_differ_in_examples_only_share_one_funnel(document: dict[str, Any]) -> None:
    document["sweep"] = {"data.downsample.to_hub": [0, 1]}
    document["data"]["pmp"] = {"auxiliary": "typology", "share": 1}
    (report,) = measure_data(Recipe.parse(document))
    nothing, everything = report.examples["to_hub=0"], report.examples["to_hub=1"]
    # "Thanks a lot." is a row of two languages now, and so is the station: those two stay.
    assert nothing.sides[Side.TO_HUB][:2] == (6, 2)
    assert nothing.before.repetition["en"].histogram == {1: 2, 4: 1}
    assert nothing.after.repetition["en"].histogram == {1: 2}
    assert everything.after.repetition["en"].histogram == {1: 2, 4: 1}
    # with German as auxiliary of Dutch and the other way round, only the first two rows have both
    assert everything.sides[Side.FROM_HUB] == (6, 6, 6, 4)
    assert everything.coverage is not None
    assert [(c.other, c.choice.code, c.num_rows, c.num_covered) for c in everything.coverage] == [
        ("de", "nl", 4, 2),
        ("nl", "de", 2, 2),
    ]
    record = json.loads(json.dumps(report.to_record()))
    assert record["examples"]["to_hub=0"]["sides"]["to-hub"]["kept"] == 2
    text = report.to_text()
    assert text.count("Auxiliary languages") == 1
    assert text.count("records read") == 2  # of either corpus, for all parts


def test_parts_with_the_same_repetition_share_its_line(document: dict[str, Any]) -> None:
    half = {"data.downsample.to_hub": 0.5}
    document["variants"] = {"all": {}, "half": half, "half-pmp": {**half, "data.pmp": {"auxiliary": "none"}}}
    (report,) = measure_data(Recipe.parse(document))
    lines = report.to_text().partition("Target repetition")[2].splitlines()[3:]
    assert lines[0].split()[:2] == ["no", "en"]
    assert lines[1].startswith("half and 1 more  yes")
    assert lines[2].startswith("Of the examples")


def test_parts_with_other_corpora_have_a_funnel_each(document: dict[str, Any]) -> None:
    document["variants"] = {"raw": {"data.clean": None}, "clean": {}}
    reports = measure_data(Recipe.parse(document))
    assert [list(report.examples) for report in reports] == [["raw"], ["clean"]]
    assert [made.sides[Side.TO_HUB].kept for report in reports for made in report.examples.values()] == [7, 6]
    assert [report.to_text().splitlines()[0] for report in reports] == ["Parts: raw", "Parts: clean"]


def test_every_corpus_of_a_recipe_is_inspected(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("Eins.\nZwei.\n", encoding="utf-8")
    document["data"]["monolingual"] = [{"reader": "text", "path": str(tmp_path / "plain.txt"), "language": "de"}]
    recipe = tmp_path / "little.yaml"
    recipe.write_text(json.dumps(document), encoding="utf-8")
    found = list(inspect_sources([str(recipe)], overrides=["data.train.0.rows=0:2"]))
    assert [(record.name, record.num_rows) for record in found] == [
        ("train multi", 2),
        ("train pairs", 1),
        ("test news", 1),
        ("monolingual plain", 2),
    ]
    assert found[0].pairs == {"en": {"de": 2, "nl": 2}}
    assert found[0].languages["en"].targets == {4: 1}


def test_files_are_inspected_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"en": "One.", "no": "En."}\n{"en": "Two."}\nnonsense\n'))
    (tmp_path / "b.de-en.de").write_text("Eins\nZwei\n", encoding="utf-8")
    (tmp_path / "b.de-en.en").write_text("One\nTwo\n", encoding="utf-8")
    (tmp_path / "c.tsv").write_text("en\tzh\nOne\t一\n", encoding="utf-8")
    first, second, third = inspect_sources([str(path), str(tmp_path / "b.de-en"), str(tmp_path / "c.tsv")], hubs=["zh"])
    assert first.widths == {1: 1, 2: 1}
    assert first.rows_set_aside == {"not-json": 1}
    assert {code: found.num_texts for code, found in second.languages.items()} == {"de": 2, "en": 2}
    assert third.pairs == {"zh": {"en": 1}}


@pytest.mark.parametrize("name", ["nothing", "nothing.txt", "folder/nothing"])
def test_what_is_no_corpus_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no file of a known format"):
        list(inspect_sources([name]))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        list(inspect_sources([str(tmp_path / "none.jsonl")]))


def run(*arguments: str) -> None:
    parser = _CommandParser()
    command.add_arguments(parser)
    command.execute(parser.parse_args(arguments))


def test_the_command(document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "little.yaml"
    recipe.write_text(json.dumps(document), encoding="utf-8")
    run("inspect", str(recipe), "--json")
    assert [record["num_rows"] for record in json.loads(capsys.readouterr().out)] == [3, 1, 1]
    run(str(recipe), "--json", "--set", "data.clean=null")
    assert json.loads(capsys.readouterr().out)[0]["examples"][""]["sides"]["to-hub"]["available"] == 7
    run("inspect", str(tmp_path / "pairs.jsonl"))
    assert "1 rows in 2 languages" in capsys.readouterr().out
    for wrong, what in ((["inspect"], "nothing to inspect"), ([str(recipe), "quickstart"], "One recipe at a time")):
        with pytest.raises(UserError, match=what):
            run(*wrong)
    with pytest.raises(UserError, match="klingon"):
        run("inspect", str(tmp_path / "pairs.jsonl"), "--hubs", "klingon")
