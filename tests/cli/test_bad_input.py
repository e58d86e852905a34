"""What users get wrong, as they give it: one paragraph on standard error, exit code 2, nothing finished lost."""

from __future__ import annotations

import fcntl
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hexapla.cli.main import main
from hexapla.common.artifacts import read_json
from tests.pipeline.world import WORDS, Finished, files_of, run, write_lines, write_recipe

Capture = pytest.CaptureFixture[str]


def paragraph(errors: str) -> str:
    """The one paragraph that ends what stands on standard error; before it only progress may stand."""
    assert "Traceback" not in errors
    assert errors.endswith("\n")
    lines = errors.removesuffix("\n").split("\n")
    assert lines[-1].startswith("hexapla: "), errors
    assert [line for line in lines[:-1] if line.startswith("hexapla: ")] == []
    assert len(lines[-1]) < 1200
    return lines[-1].removeprefix("hexapla: ")


def refused(arguments: list[str], capsys: Capture, *parts: str) -> str:
    """Give a command that must end with exit code 2 and one paragraph that holds `parts`."""
    capsys.readouterr()
    assert main(arguments) == 2
    text = paragraph(capsys.readouterr().err)
    for part in parts:
        assert part in text, text
    return text


@pytest.fixture(scope="module")
def mistreated(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A copy that all these faults are tried on: a corpus that was read before a fault showed stays in it."""
    return finished.copied(tmp_path_factory.mktemp("mistreated") / "out")


@pytest.fixture
def kept(mistreated: Finished) -> Iterator[Finished]:
    """A finished run, whose files must all be there unchanged after the test."""
    before = files_of(mistreated.out)
    links = {link.name: link.readlink() for link in (mistreated.out / "pools").iterdir()}
    yield mistreated
    after = files_of(mistreated.out)
    changing = {"run.jsonl", "recipe.yaml"}
    assert [name for name in before if name not in changing and after.get(name) != before[name]] == []
    assert {link.name: link.readlink() for link in (mistreated.out / "pools").iterdir()} == links


def change(document: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.0.c` in a document."""
    *parents, last = path.split(".")
    for part in parents:
        document = document[int(part)] if isinstance(document, list) else document.setdefault(part, {})
    document[last] = value


RECIPE_FAULTS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "unknown key": ("langauges", ["en"], ("langauges: unknown key", "'languages'")),
    "misspelt nested key": ("train.lora.rnak", 4, ("train.lora.rnak: unknown key", "'rank'")),
    "misspelt key of a reader": ("data.train.0.pth", "x", ("data.train.0.pth: unknown key", "'path'")),
    "wrong type": ("train.batch", "many", ("train.batch", "'many'")),
    "out of range": ("train.lora.rank", 0, ("train.lora.rank", "given: 0")),
    "unknown language": ("languages", ["en", "Germann", "nl"], ("languages", "German")),
    "language twice": ("languages", ["en", "de", "nl", "deu_Latn"], ("languages", "twice", "de")),
    "hub that is no language": ("hubs", ["fr"], ("hubs", "fr")),
    "no hub": ("hubs", [], ("hubs", "hub")),
    "language without group": ("groups", {"west": ["de"]}, ("groups", "nl")),
    "language in two groups": ("groups", {"west": ["de", "nl"], "east": ["nl"]}, ("groups", "nl")),
    "unknown grouping": ("groups", "familly", ("groups", "'family'")),
    "unknown strategy": ("train.strategy", "directionaware", ("train.strategy", "'direction-aware'")),
    "strategy twice": ("train.strategy", ["group", "group"], ("train.strategy", "twice")),
    "unknown metric": ("evaluate.metrics", ["blue"], ("evaluate.metrics", "'bleu'")),
    "unknown direction": ("evaluate.directions", ["de-nl"], ("evaluate.directions", "de-nl")),
    "unknown prompt": ("prompt", "xalma", ("prompt", "'x-alma'")),
    "unknown reader": ("data.train.0.reader", "mosess", ("data.train.0", "moses")),
    "unknown operator": ("merge.operator", "tiess", ("merge.operator", "'ties'")),
    "merge of nothing": ("train.strategy", "multilingual", ("merge.scope", "direction-aware")),
    "impossible merge": ("merge.density", 2, ("merge.density", "2")),
    "negative beams": ("translate.beams", -1, ("translate.beams", "-1")),
    "name with a slash": ("name", "../up", ("name", "'../up'")),
    "missing corpus": ("data.train.0.path", "corpora/nowhere", ("corpora", "does not exist")),
    "missing test file": ("data.test.0.path", "nowhere.tsv", ("nowhere.tsv", "does not exist")),
    "corpus without a language": ("languages", ["en", "de", "pl"], ("pl",)),
    "no data": ("data.train", [], ("data", "train")),
    "base that is no folder": ("base", "./models/none", ("./models/none", "neither a folder")),
    "unknown builtin base": ("base", "builtin:tinny", ("builtin:tiny",)),
    "target that is no layer": ("train.lora.targets", ["q_prj"], ("train.lora.targets", "'q_prj'", "q_proj")),
}


@pytest.mark.parametrize("fault", RECIPE_FAULTS)
def test_faults_in_a_recipe(fault: str, kept: Finished, tmp_path: Path, capsys: Capture) -> None:
    path, value, parts = RECIPE_FAULTS[fault]

    def edit(document: dict[str, Any]) -> None:
        change(document, path, value)
        if fault == "corpus without a language":
            change(document, "groups.west", ["de", "pl"])

    recipe = write_recipe(tmp_path, kept.base, edit)
    refused(["run", str(recipe), "--out", str(kept.out)], capsys, *parts)


RECIPE_TEXTS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no YAML": (b"name: [\n", ("recipe.yaml:2:1", "YAML")),
    "tab as indent": (b"name: x\ndata:\n\ttrain: []\n", ("recipe.yaml:3:1", "YAML")),
    "key twice": (b"name: a\nname: b\n", ("twice", "name")),
    "control character": (b"name: a\x00b\n", ("YAML",)),
    "not UTF-8": ("name: café\n".encode("latin-1"), ("UTF-8",)),
    "UTF-16": ("name: a\n".encode("utf-16"), ("UTF-8",)),
    "list": (b"- a\n- b\n", ("map of sections",)),
    "empty": (b"", ("map of sections",)),
    "code": (b"name: !!python/object/apply:os.getcwd []\n", ("YAML",)),
}


@pytest.mark.parametrize("fault", RECIPE_TEXTS)
def test_files_that_are_no_recipe(fault: str, tmp_path: Path, capsys: Capture) -> None:
    content, parts = RECIPE_TEXTS[fault]
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    refused(["plan", str(path)], capsys, "recipe.yaml", *parts)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.lora.rank", ("--set train.lora.rank", "a.b=value")),
        ("=3", ("--set =3",)),
        ("data.train.7.path=x", ("'7'", "list of 1")),
        ("name.first=x", ("single value",)),
        ("train.lora.rank=[", ("--set", "YAML")),
        ("train.lora.rnak=3", ("train.lora.rnak", "'rank'")),
    ],
)
def test_bad_overrides(override: str, parts: tuple[str, ...], kept: Finished, capsys: Capture) -> None:
    refused(["run", str(kept.recipe), "--set", override, "--out", str(kept.out)], capsys, *parts)


def test_unknown_recipe(tmp_path: Path, capsys: Capture) -> None:
    refused(["run", "quikstart"], capsys, "quikstart", "'quickstart'")
    refused(["check", str(tmp_path)], capsys, "folder")


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


CORPUS_FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "ragged": (lambda d: write_lines(d / "train.de", ["Guten Tag."]), ("train.de: 1,", "train.en: 12")),
    "empty": (lambda d: [write_lines(d / f"train.{code}", []) for code in WORDS], ("train", "no ")),
    "empty table": (lambda d: (d / "test.tsv").write_bytes(b""), ("test.tsv", "empty")),
    "UTF-16": (
        lambda d: (d / "train.nl").write_text("Dag.\n" * 12, encoding="utf-16"),
        ("train.nl", "UTF-16"),
    ),
    "table without the language": (lambda d: replace_bytes(d / "test.tsv", b"de\tnl", b"xx\tyy"), ("test.tsv", "de")),
    "test sentences in training": (
        lambda d: shutil.copyfile(d / "test.tsv", d / "train.en") and overlap(d),
        ("test", "contamination"),
    ),
    "folder instead of a file": (lambda d: ((d / "test.tsv").unlink(), (d / "test.tsv").mkdir()), ("test.tsv",)),
    "broken gzip": (lambda d: (d / "train.nl").rename(d / "train.nl.gz"), ("train.nl.gz", "gzip")),
}


def overlap(folder: Path) -> None:
    """Make the training corpus of the test rows."""
    rows = [line.split("\t") for line in (folder / "test.tsv").read_text(encoding="utf-8").splitlines()]
    for at, code in enumerate(rows[0]):
        write_lines(folder / f"train.{code}", [row[at] for row in rows[1:]])


@pytest.mark.parametrize("fault", CORPUS_FAULTS)
def test_faults_in_corpora(fault: str, kept: Finished, tmp_path: Path, capsys: Capture) -> None:
    spoil, parts = CORPUS_FAULTS[fault]
    recipe = write_recipe(tmp_path, kept.base)
    spoil(tmp_path)
    refused(["run", str(recipe), "--out", str(kept.out)], capsys, *parts)


def test_lines_that_are_not_utf8_are_set_aside_and_counted(kept: Finished, tmp_path: Path, capsys: Capture) -> None:
    recipe = write_recipe(tmp_path, kept.base)
    replace_bytes(tmp_path / "train.de", "102 Türen".encode(), "102 Türen".encode("latin-1"))
    run(recipe, tmp_path / "out", "--set", "evaluate.limit=1", "--set", "train.strategy=group", "--set", "merge=~")
    [summary] = (tmp_path / "out" / "artifacts").glob("corpus-*/summary.json")
    tally = read_json(summary)["train"]["train"]
    assert sum(tally["rows_set_aside"].values()) + sum(tally["texts_set_aside"].values()) == 1
    assert tally["texts"] == {"de": 11, "en": 12, "nl": 12}
    aside = (summary.parent / "set-aside.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(aside) == 1
    assert '"train"' in aside[0]
    assert "3" in aside[0]
    assert main(["check", str(recipe)]) == 0
    assert "invalid" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["byte-order mark", "CRLF", "both"])
def test_byte_order_marks_and_crlf_change_nothing(form: str, copied: Finished, tmp_path: Path) -> None:
    adapters = sorted(path.name for path in (copied.out / "artifacts").glob("adapter-*"))
    assert len(adapters) == 5
    [clean] = (copied.out / "artifacts").glob("corpus-*")
    recipe = write_recipe(tmp_path / "other", copied.base)
    for path in [recipe, *(tmp_path / "other").glob("train.*"), tmp_path / "other" / "test.tsv"]:
        content = path.read_bytes()
        if form != "byte-order mark":
            content = content.replace(b"\n", b"\r\n")
        if form != "CRLF":
            content = b"\xef\xbb\xbf" + content
        path.write_bytes(content)
    run(recipe, copied.out)
    assert sorted(path.name for path in (copied.out / "artifacts").glob("adapter-*")) == adapters
    [other] = [path for path in (copied.out / "artifacts").glob("corpus-*") if path != clean]
    for file in ("train.jsonl", "test/test.jsonl", "set-aside.jsonl"):
        assert (other / file).read_bytes() == (clean / file).read_bytes()


def cut(path: Path, keep: float = 0.6) -> None:
    """Keep the beginning of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def remove(*patterns: str) -> Callable[[Path], None]:
    """Deletes the files of a folder that match."""

    def execute(folder: Path) -> None:
        found = [path for pattern in patterns for path in folder.glob(pattern)]
        assert found
        for path in found:
            path.unlink()

    return execute


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file."""
    record = json.loads(path.read_text(encoding="utf-8"))
    edit(record)
    path.write_text(json.dumps(record), encoding="utf-8")


BASE_FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no weights": (remove("*.safetensors"), ("weights", "safetensors")),
    "truncated weights": (lambda base: cut(base / "model.safetensors"), ("weights", "cannot be loaded")),
    "weights that are no safetensors": (lambda base: (base / "model.safetensors").write_bytes(b"x" * 99), ("weights",)),
    "no tokenizer": (remove("tokenizer*"), ("tokenizer", "cannot be loaded")),
    "damaged tokenizer": (lambda base: cut(base / "tokenizer.json"), ("tokenizer", "cannot be loaded")),
    "no configuration": (remove("config.json"), ("config.json",)),
    "damaged configuration": (lambda base: cut(base / "config.json"), ("config.json", "cannot be loaded")),
    "other architecture": (
        lambda base: (base / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8"),
        ("base", "no causal language model"),
    ),
    "more layers than weights": (
        lambda base: edit_json(
            base / "config.json",
            lambda config: config.update(num_hidden_layers=3, layer_types=["full_attention"] * 3, max_window_layers=3),
        ),
        ("weights", "cannot be loaded", "model.layers.2"),
    ),
    "configuration that contradicts itself": (
        lambda base: edit_json(base / "config.json", lambda config: config.update(num_hidden_layers=3)),
        ("base", "cannot be loaded"),
    ),
    "wider than the weights": (
        lambda base: replace_bytes(base / "config.json", b'"intermediate_size": 64', b'"intermediate_size": 96'),
        ("weights", "cannot be loaded"),
    ),
}


@pytest.mark.parametrize("fault", BASE_FAULTS)
def test_bases_that_cannot_be_used(fault: str, kept: Finished, tmp_path: Path, capsys: Capture) -> None:
    spoil, parts = BASE_FAULTS[fault]
    base = tmp_path / "base"
    shutil.copytree(kept.base, base)
    spoil(base)
    recipe = write_recipe(tmp_path, base)
    refused(["run", str(recipe), "--out", str(kept.out)], capsys, *parts)


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


POOL_FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "corrupted weights": (
        lambda pool: flip_last_bit(pool / "adapters/de-en/adapter_model.safetensors"),
        ("'de-en'", "adapter_model.safetensors", "digest"),
    ),
    "truncated weights": (lambda pool: cut(pool / "adapters/de-en/adapter_model.safetensors"), ("'de-en'", "digest")),
    "changed configuration": (
        lambda pool: replace_bytes(pool / "adapters/de-en/adapter_config.json", b'"r": 2', b'"r": 4'),
        ("'de-en'", "adapter_config.json"),
    ),
    "missing adapter": (lambda pool: shutil.rmtree(pool / "adapters" / "nl-en"), ("'nl-en'", "missing")),
    "pool.json cut short": (lambda pool: cut(pool / "pool.json"), ("pool.json", "JSON")),
    "pool.json of another kind": (lambda pool: (pool / "pool.json").write_text("[1]"), ("pool.json",)),
    "pool.json without routes": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record.pop("routes")),
        ("pool.json", "routes"),
    ),
    "route to nowhere": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record["routes"].update({"de-en": "x"})),
        ("pool.json", "x"),
    ),
    "language that is none": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record["routes"].update({"de-qqqq": None})),
        ("qqqq",),
    ),
    "newer format": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record.update(format=99)),
        ("format 99", "upgrade"),
    ),
    "changed template": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record["prompt"].update(hash="0" * 64)),
        ("prompt template", "'alma'"),
    ),
    "unknown template": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record["prompt"].update(template="almma")),
        ("almma", "'alma'"),
    ),
    "base that moved": (
        lambda pool: edit_json(pool / "pool.json", lambda record: record["base"].update(id="/moved/away")),
        ("/moved/away",),
    ),
}


@pytest.mark.parametrize("fault", POOL_FAULTS)
def test_pools_that_cannot_be_used(fault: str, finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    spoil, parts = POOL_FAULTS[fault]
    pool = tmp_path / "pool"
    shutil.copytree(finished.pool("direction-aware"), pool)
    spoil(pool)
    text = tmp_path / "in.txt"
    write_lines(text, ["Guten Tag."])
    refused(["translate", str(pool), str(text), "--from", "de", "--to", "en", "--beams", "1"], capsys, *parts)
    assert capsys.readouterr().out == ""


def test_another_base_than_the_pools(finished: Finished, llama_base: Path, tmp_path: Path, capsys: Capture) -> None:
    pool = str(finished.pool("direction-aware"))
    write_lines(tmp_path / "in.txt", ["Guten Tag."])
    more = ["--base", str(llama_base), "--beams", "1"]
    refused(
        ["translate", pool, str(tmp_path / "in.txt"), "--from", "de", "--to", "en", *more],
        capsys,
        "fingerprint",
        str(llama_base),
    )
    data = f"reader=tsv path={finished.recipe.parent / 'test.tsv'}"
    refused(["evaluate", pool, "--data", data, "--out", str(tmp_path / "scores"), *more], capsys, "fingerprint")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--from", "de", "--to", "nl"], ("does not translate de-nl", "en")),
        (["--from", "Germann", "--to", "en"], ("Germann", "German")),
        (["--from", "de", "--to", "de"], ("de",)),
        (["--from", "de", "--to", "en", "--beams", "-2"], ("--beams", "-2")),
        (["--from", "de", "--to", "en", "--beams", "0"], ("--beams", "0")),
        (["--from", "de", "--to", "en", "missing.txt"], ("missing.txt", "does not exist")),
    ],
)
def test_bad_arguments_of_translate(
    arguments: list[str], parts: tuple[str, ...], finished: Finished, capsys: Capture
) -> None:
    refused(["translate", str(finished.pool("direction-aware")), *arguments], capsys, *parts)


def test_a_folder_that_is_no_pool(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    for folder in (tmp_path, tmp_path / "nowhere", finished.out):
        for arguments in (
            ["translate", str(folder), "--from", "de", "--to", "en"],
            ["merge", str(folder), "--out", str(tmp_path / "merged")],
            ["evaluate", str(folder), "--data", "reader=phrasebook"],
        ):
            refused(arguments, capsys, str(folder), "no pool")


def test_lines_to_translate_that_are_not_utf8(
    finished: Finished, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"Guten Tag.\nT\xfcr\nHaus\n"
    (tmp_path / "in.txt").write_bytes(content)
    arguments = ["translate", str(finished.pool("direction-aware")), "--from", "de", "--to", "en", "--beams", "1"]
    refused([*arguments, str(tmp_path / "in.txt")], capsys, "in.txt:2", "UTF-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    refused(arguments, capsys, "standard input:2", "UTF-8")
    (tmp_path / "in.txt").write_bytes("Guten Tag.\n".encode("utf-16"))
    refused([*arguments, str(tmp_path / "in.txt")], capsys, "in.txt", "UTF-16")


@pytest.mark.parametrize(
    ("pool", "arguments", "parts"),
    [
        ("base", [], ("merge",)),
        ("direction-aware", ["--operator", "tie"], ("merge: operator", "'ties'")),
        ("direction-aware", ["--set", "densty=0.3"], ("merge: densty", "'density'")),
        ("direction-aware", ["--set", "density=3"], ("merge: density", "3")),
        ("direction-aware", ["--set", "density"], ("--set density",)),
        ("direction-aware", ["--set", "scope=from-hub"], ("from-hub",)),
        ("direction-aware", ["--set", "weights.de-fr=2", "--set", "dialect=peft"], ("merge.weights", "'de-fr'")),
        ("direction-aware+ties", [], ("merge",)),
    ],
)
def test_bad_arguments_of_merge(
    pool: str, arguments: list[str], parts: tuple[str, ...], finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "merged"
    refused(["merge", str(finished.pool(pool)), "--out", str(out), *arguments], capsys, *parts)
    assert not out.exists()


def test_a_folder_for_a_merge_that_is_taken(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    write_lines(tmp_path / "precious.txt", ["mine"])
    arguments = ["merge", str(finished.pool("direction-aware")), "--out"]
    refused([*arguments, str(tmp_path)], capsys, "no empty folder", "--out")
    assert (tmp_path / "precious.txt").read_text(encoding="utf-8") == "mine\n"
    refused([*arguments, str(tmp_path / "precious.txt")], capsys, "precious.txt")
    assert (tmp_path / "precious.txt").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--data", "reader=tssv path=x"], ("--data", "tsv")),
        (["--data", "reader=tsv path"], ("path", "a.b=value")),
        (["--data", "path=x"], ("--data", "reader")),
        (["--data", "reader=tsv path='x"], ("--data", "quote")),
        (["--data", "reader=tsv path=nowhere.tsv"], ("nowhere.tsv", "does not exist")),
        (["--directions", "de-nl"], ("does not translate de-nl",)),
        (["--directions", "de"], ("'de'",)),
        (["--directions", "de-qqqq"], ("qqqq",)),
        (["--metric", "blue"], ("metric", "'bleu'")),
        (["--metric", "bleu,bleu"], ("twice",)),
        (["--limit", "0"], ("limit", "0")),
        (["--beams", "-1"], ("--beams", "-1")),
        (["--base", "nowhere"], ("nowhere", "neither a folder")),
    ],
)
def test_bad_arguments_of_evaluate(
    more: list[str], parts: tuple[str, ...], finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    data = [] if "--data" in more else ["--data", f"reader=tsv path={finished.recipe.parent / 'test.tsv'}"]
    out = ["--out", str(tmp_path / "scores")]
    refused(["evaluate", str(finished.pool("direction-aware")), *data, *more, *out], capsys, *parts)


def test_two_corpora_of_one_name(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    shutil.copyfile(finished.recipe.parent / "test.tsv", tmp_path / "test.tsv")
    data = [f"--data=reader=tsv path={folder / 'test.tsv'}" for folder in (finished.recipe.parent, tmp_path)]
    out = ["--out", str(tmp_path / "scores")]
    refused(["evaluate", str(finished.pool("base")), *data, *out], capsys, "test", "name")


SCORE_FAULTS: dict[str, tuple[Callable[[Path], object], list[str], tuple[str, ...]]] = {
    "different line counts": (lambda d: write_lines(d / "hyp", ["a"]), [], ("hyp", "1 line", "2")),
    "different sources": (lambda d: write_lines(d / "src", ["a"]), ["--src", "{}/src"], ("src", "1 line", "2")),
    "empty file": (lambda d: write_lines(d / "ref", []), [], ("ref", "empty")),
    "blank reference": (lambda d: write_lines(d / "ref", ["a", " "]), [], ("ref:2", "blank")),
    "not UTF-8": (lambda d: (d / "hyp").write_bytes(b"a\n\xff\xfb\n"), [], ("hyp:2", "UTF-8")),
    "missing file": (lambda d: (d / "hyp").unlink(), [], ("hyp", "does not exist")),
    "folder": (lambda d: ((d / "hyp").unlink(), (d / "hyp").mkdir()), [], ("hyp", "folder")),
    "unknown metric": (lambda d: None, ["--metric", "blue"], ("'bleu'",)),
    "no metric": (lambda d: None, ["--metric", ""], ("metric",)),
    "unknown language": (lambda d: None, ["--to", "Germann"], ("Germann", "German")),
}


@pytest.mark.parametrize("fault", SCORE_FAULTS)
def test_bad_input_of_score(fault: str, tmp_path: Path, capsys: Capture) -> None:
    spoil, more, parts = SCORE_FAULTS[fault]
    for name in ("hyp", "ref"):
        write_lines(tmp_path / name, ["Guten Tag.", "Auf Wiedersehen."])
    spoil(tmp_path)
    arguments = ["score", "--hyp", str(tmp_path / "hyp"), "--ref", str(tmp_path / "ref"), "--to", "de"]
    refused(arguments + [word.format(tmp_path) for word in more], capsys, *parts)


def test_an_unknown_language_is_answered_with_the_nearest(capsys: Capture) -> None:
    refused(["languages", "norwegin"], capsys, "norwegin", "Norwegian")


# What the machine refuses


def test_another_run_in_the_same_folder(kept: Finished, capsys: Capture) -> None:
    with (kept.out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(["run", str(kept.recipe), "--out", str(kept.out)], capsys, str(kept.out), "Another run")


@pytest.mark.parametrize("place", ["file", "file/below", "/dev/full", "/dev/full/below", "/proc/none", "n" * 300])
def test_places_where_no_folder_can_be(place: str, finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    write_lines(tmp_path / "file", ["mine"])
    out = str(tmp_path / place)
    refused(["run", str(finished.recipe), "--out", out], capsys, out)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    tmp_path.chmod(0o500)
    refused(["run", str(finished.recipe), "--out", str(tmp_path / "out")], capsys, "Permission denied")


def test_a_limit_on_the_size_of_files(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    """`ulimit -f` stands for every refusal in the middle of a write; adapters are too large."""
    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        refused(["run", str(finished.recipe), "--out", str(out)], capsys, "too large", "kept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name.split("-")[0] for path in (out / "artifacts").iterdir()] == ["corpus"]
    run(finished.recipe, out)
    assert adapter_weights(out) == adapter_weights(finished.out)


def adapter_weights(out: Path) -> dict[str, bytes]:
    """Relative path → bytes of every adapter of every pool."""
    return {
        f"{pool.name}/{file.parent.name}": file.read_bytes()
        for pool in sorted((out / "pools").iterdir())
        for file in sorted(pool.glob("adapters/*/adapter_model.safetensors"))
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 4 KiB pages, to be resized with `resize`."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems can be mounted by root only")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def resize(disk: Path, kibibytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kibibytes}k", str(disk)], check=True)


def test_a_full_disk(small_disk: Path, finished: Finished, capsys: Capture) -> None:
    """Full again and again, at other places: one paragraph, all that was finished stays."""
    out = small_disk / "out"
    finished_before: dict[str, bytes] = {}
    kinds = set()
    for kibibytes in (100, 200, 300, 450, 1200):
        resize(small_disk, kibibytes)
        if main(["run", str(finished.recipe), "--out", str(out)]) == 0:
            break
        assert "The disk is full." in paragraph(capsys.readouterr().err)
        found = files_of(out / "artifacts")
        done = {name: text for name, text in found.items() if f"{name.split('/')[0]}/artifact.json" in found}
        assert [name for name in finished_before if done.get(name) != finished_before[name]] == []
        finished_before = done
        kinds |= {name.split("-")[0] for name in done}
    assert kinds >= {"corpus", "adapter", "pool"}
    assert adapter_weights(out) == adapter_weights(finished.out)
