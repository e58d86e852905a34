"""Whole runs: what they leave, what a second one redoes, and that the commands on their pools agree with them."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import hexapla
from hexapla.cli.main import main
from hexapla.common.artifacts import digest_file, read_json, read_jsonl
from hexapla.data.stage import load_corpus
from hexapla.evaluate.scores import ScoreTable
from hexapla.languages import Direction
from hexapla.recipe import Recipe
from tests.pipeline.world import NUM_TEST, NUM_TRAIN, Finished, results, run, write_lines, write_recipe

Capture = pytest.CaptureFixture[str]
POOLS = {
    "base": {"de-en": None, "nl-en": None, "en-de": None, "en-nl": None},
    "direction-aware": {"de-en": "de-en", "nl-en": "nl-en", "en-de": "en-west", "en-nl": "en-west"},
    "separate": {"de-en": "de-en", "nl-en": "nl-en", "en-de": "en-de", "en-nl": "en-nl"},
    "direction-aware+ties": {"de-en": "west-en", "nl-en": "west-en", "en-de": "en-west", "en-nl": "en-west"},
    "separate+ties": {"de-en": "west-en", "nl-en": "west-en", "en-de": "en-de", "en-nl": "en-nl"},
}


def stages(out: Path, *kinds: str) -> dict[str, int]:
    """Folder of each finished stage of these kinds → time of its completion; a stage that is redone has another."""
    folders = [folder for folder in (out / "artifacts").iterdir() if not kinds or folder.name.startswith(kinds)]
    return {folder.name: (folder / "artifact.json").stat().st_mtime_ns for folder in folders}


def new_adapters(out: Path, before: dict[str, int]) -> list[str]:
    """Names of the adapters that were not there before."""
    new = set(stages(out, "adapter")) - set(before)
    return sorted(name.removeprefix("adapter-").rpartition("-")[0] for name in new)


def output_of(arguments: Sequence[str], capsys: Capture) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes loading a base's weights an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr("hexapla.train.bank.share.load_model", refuse)
    monkeypatch.setattr("hexapla.translate.engines.torch_engine.load_model", refuse)


# What a run leaves


def test_every_stage_is_whole_and_nothing_is_left_over(finished: Finished) -> None:
    assert sorted(path.name for path in finished.out.iterdir()) == [
        ".lock", "artifacts", "comparison.txt", "figures", "pools", "recipe.yaml", "report.html", "report.md",
        "run.json", "run.jsonl", "scores", "tables", "translations", "work",
    ]  # fmt: skip
    kinds = [name.split("-")[0] for name in stages(finished.out)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "corpus": 1,
        "adapter": 5,
        "pool": 5,
        "scores": 5,
        "analysis": 1,
    }
    assert [path for path in finished.out.rglob("*") if path.name.endswith((".part", ".merging"))] == []
    assert list((finished.out / "work").iterdir()) == []


def test_every_artifact_says_what_made_it(finished: Finished) -> None:
    for folder in (finished.out / "artifacts").iterdir():
        manifest = read_json(folder / "artifact.json")
        assert manifest["kind"] == folder.name.split("-")[0]
        if manifest["kind"] != "pool":
            assert manifest["versions"]["hexapla"] == hexapla.__version__
    provenance = hexapla.Pool.load(finished.pool("direction-aware+ties")).description.provenance
    assert provenance["settings"]["operator"] == "ties"
    assert provenance["from"]["digest"] == hexapla.Pool.load(finished.pool("direction-aware")).digest
    assert provenance["trained"]["recipe"]["train"]["lora"]["rank"] == 2


def test_the_pools_route_as_the_plan_says(finished: Finished) -> None:
    pools = {path.name: hexapla.Pool.load(path) for path in (finished.out / "pools").iterdir()}
    routes = {
        name: {str(direction): route for direction, route in pool.description.routes.items()}
        for name, pool in pools.items()
    }
    assert routes == POOLS
    for name, pool in pools.items():
        assert pool.description.name == name
        assert set(pool.adapters) == {route for route in POOLS[name].values() if route}
        assert (finished.out / "pools" / name).readlink().parts[:2] == ("..", "artifacts")


def test_strategies_share_equal_adapters(finished: Finished) -> None:
    """Two strategies need seven adapters, of which five are different; the shared ones lie on the disk once."""
    events = read_jsonl(finished.out / "run.jsonl")
    trained = [event["adapter"] for event in events if event["event"] == "train-start"]
    assert sorted(trained) == ["de-en", "en-de", "en-nl", "en-west", "nl-en"]
    files = [
        finished.pool(name) / "adapters/de-en/adapter_model.safetensors" for name in ("direction-aware", "separate")
    ]
    assert files[0].samefile(files[1])


def test_the_scores_cover_every_pool_direction_and_segment(finished: Finished) -> None:
    for name in POOLS:
        table = ScoreTable.load(finished.out / "scores" / name)
        assert table.pool == name
        assert {str(entry.direction): entry.num_segments for entry in table.entries} == dict.fromkeys(
            POOLS["base"], NUM_TEST
        )
        for entry in table.entries:
            for metric in table.metrics:
                assert entry.figures[metric].value is not None
            assert all(figure.signature for figure in entry.figures.values())
            assert entry.file is not None
            records = read_jsonl(finished.out / "scores" / name / entry.file)
            assert [record["id"] for record in records] == [f"test:{row:04}" for row in range(NUM_TEST)]


def test_what_people_read(finished: Finished, capsys: Capture) -> None:
    report = (finished.out / "report.html").read_text(encoding="utf-8")
    comparison = (finished.out / "comparison.txt").read_text(encoding="utf-8")
    printed = output_of(["run", finished.recipe, "--out", finished.out], capsys)
    assert printed.startswith(comparison)
    assert str(finished.out / "report.html") in printed
    for name in POOLS:
        assert f"\n{name} " in comparison
        assert name in report
    assert "http://" not in report.replace("http://www.w3.org/", "")
    assert 'src="http' not in report


def test_the_resolved_recipe_gives_the_same_run(finished: Finished, no_base: None) -> None:
    recipe = Recipe.load(finished.out / "recipe.yaml")
    assert recipe == Recipe.load(finished.recipe)
    before = stages(finished.out)
    run(finished.out / "recipe.yaml", finished.out)
    assert stages(finished.out) == before


def test_the_log_tells_every_stage(finished: Finished) -> None:
    events = read_jsonl(finished.out / "run.jsonl")
    assert events[0]["event"] == "run"
    ended = [event["stage"] for event in events if event["event"] == "stage-end"]
    assert ended[:5] == ["corpus", "training", "pools", "merge", "scores"]
    assert all(event["time"] > 0 for event in events)


# What a second run redoes


def test_a_second_run_does_nothing(copied: Finished, no_base: None) -> None:
    before = {path: path.stat().st_mtime_ns for path in (copied.out / "artifacts").rglob("*")}
    comparison = (copied.out / "comparison.txt").read_bytes()
    run(copied.recipe, copied.out)
    assert {path: path.stat().st_mtime_ns for path in (copied.out / "artifacts").rglob("*")} == before
    assert (copied.out / "comparison.txt").read_bytes() == comparison


def test_a_moved_run_is_still_one(copied: Finished, no_base: None, tmp_path: Path) -> None:
    before = set(stages(copied.out))
    moved = copied.out.rename(tmp_path / "moved")
    run(copied.recipe, moved)
    assert set(stages(moved)) == before


def test_another_limit_redoes_the_scores_only(copied: Finished) -> None:
    before = stages(copied.out)
    run(copied.recipe, copied.out, "--set", "evaluate.limit=2")
    after = stages(copied.out)
    assert {name: after[name] for name in before} == before
    assert {name.split("-")[0] for name in set(after) - set(before)} == {"scores", "analysis"}
    for name in POOLS:
        table = ScoreTable.load(copied.out / "scores" / name)
        assert {entry.num_segments for entry in table.entries} == {2}


def test_more_metrics_and_rows_translate_only_what_is_new(copied: Finished, no_base: None) -> None:
    before = stages(copied.out, "adapter", "pool")
    run(copied.recipe, copied.out, "--set", "evaluate.metrics=[ter]", "--set", "evaluate.limit=3")
    assert stages(copied.out, "adapter", "pool") == before
    table = ScoreTable.load(copied.out / "scores" / "separate")
    assert table.metrics == ("ter",)
    assert {entry.num_segments for entry in table.entries} == {3}


def test_a_new_language_leaves_the_adapters_of_the_others(copied: Finished, tmp_path: Path) -> None:
    before = stages(copied.out, "adapter")
    recipe = write_recipe(tmp_path / "more", copied.base, _with_french)
    run(recipe, copied.out)
    after = stages(copied.out, "adapter")
    assert {name: after[name] for name in before} == before
    assert new_adapters(copied.out, before) == ["en-fr", "en-west", "fr-en"]


def _with_french(document: dict[str, Any]) -> None:
    document["languages"].append("fr")
    document["groups"]["west"].append("fr")


def test_another_group_leaves_the_adapters_of_the_others(copied: Finished, tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["languages"].append("fr")
        document["groups"]["south"] = ["fr"]
        document["train"]["strategy"] = "direction-aware"

    before = stages(copied.out, "adapter")
    run(write_recipe(tmp_path / "more", copied.base, edit), copied.out)
    # The group of French alone has the same single direction as French itself.
    assert new_adapters(copied.out, before) == ["en-fr", "fr-en"]


def test_a_changed_sentence_retrains_what_saw_it(copied: Finished, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "other", copied.base)
    german = (tmp_path / "other" / "train.de").read_text(encoding="utf-8").splitlines()
    write_lines(tmp_path / "other" / "train.de", ["Guten Morgen!", *german[1:]])
    before = stages(copied.out, "adapter")
    run(recipe, copied.out)
    assert new_adapters(copied.out, before) == ["de-en", "en-de", "en-west"]


def test_equal_recipes_give_equal_bytes_elsewhere(finished: Finished, tmp_path: Path) -> None:
    run(finished.recipe, tmp_path / "again")
    ours, theirs = results(tmp_path / "again"), results(finished.out)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_a_diverged_adapter_is_told_and_the_others_go_on(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    more = ["--set", "train.optimizer.lr=1e30", "--set", "train.strategy=separate", "--set", "evaluate.limit=1"]
    printed = output_of(["run", finished.recipe, "--out", tmp_path / "out", *more], capsys)
    assert "warning: the adapter de-en diverged" in printed
    assert set(hexapla.Pool.load(tmp_path / "out/pools/separate").adapters) == {"de-en", "nl-en", "en-de", "en-nl"}


# The commands on its pools


def test_pool_and_translator_as_a_library(finished: Finished) -> None:
    pool = hexapla.Pool.load(finished.pool("direction-aware+ties"))
    recipe = Recipe.load(finished.recipe)
    translator = hexapla.Translator(pool, recipe.translate)
    table = ScoreTable.load(finished.out / "scores" / "direction-aware+ties")
    [entry] = [entry for entry in table.entries if entry.direction == Direction("de", "en")]
    assert entry.file is not None
    records = read_jsonl(table.folder / entry.file)
    translations = translator.translate([record["source"] for record in records], source="German", target="eng_Latn")
    assert [translation.text for translation in translations] == [record["hypothesis"] for record in records]
    assert len({translation.text for translation in translations}) > 1


def test_translate_keeps_order_number_and_blank_lines(
    finished: Finished, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["Das rote Haus hat 3 Türen.", "", "Wir sehen heute 7 Vögel.", "  ", "Haus", "Das rote Haus hat 3 Türen."]
    write_lines(tmp_path / "in.txt", lines)
    command = ["translate", finished.pool("direction-aware"), "--from", "de", "--to", "en", "--beams", "1"]
    printed = output_of([*command, tmp_path / "in.txt"], capsys)
    assert printed.endswith("\n")
    out = printed.removesuffix("\n").split("\n")
    assert len(out) == len(lines)
    assert [not line for line in out] == [not line.strip() for line in lines]
    assert out[0] == out[5] != out[2]
    for line, translation in zip(lines, out, strict=True):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode())))
        assert output_of(command, capsys).rstrip("\n") == translation
    windows = b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(windows)))
    assert output_of(command, capsys) == printed


def test_translate_with_a_base_that_moved(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    write_lines(tmp_path / "in.txt", ["Haus"])
    (tmp_path / "moved").symlink_to(finished.base)
    command = [
        "translate",
        finished.pool("separate"),
        "--from",
        "de",
        "--to",
        "en",
        "--beams",
        "1",
        tmp_path / "in.txt",
    ]
    assert output_of(command, capsys) == output_of([*command, "--base", tmp_path / "moved"], capsys)


def test_merge_gives_the_bytes_of_the_merge_stage(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    for strategy in ("direction-aware", "separate"):
        out = tmp_path / strategy
        command = ["merge", finished.pool(strategy), "--operator", "ties", "--out", out]
        assert "west-en" in output_of(command, capsys)
        assert adapters(out) == adapters(finished.pool(f"{strategy}+ties"))
        assert main([str(word) for word in command]) == 2  # not a second time into the same folder
        assert "no empty folder" in capsys.readouterr().err
    other = tmp_path / "other"
    output_of(["merge", finished.pool("separate"), "--set", "density=0.9", "--out", other], capsys)
    assert adapters(other)["west-en/adapter_model.safetensors"] != adapters(out)["west-en/adapter_model.safetensors"]


def adapters(pool: Path) -> dict[str, bytes]:
    """Relative path → content of the files that make an adapter."""
    files = [*pool.glob("adapters/*/adapter_model.safetensors"), *pool.glob("adapters/*/adapter_config.json")]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


def test_evaluate_gives_the_figures_of_the_run(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    """With the run's own decoding: greedy here as there, and bounds on the length that no output reaches."""
    recipe = write_recipe(tmp_path, finished.base, lambda document: document.update(translate={"beams": 1}))
    run(recipe, tmp_path / "out", "--set", "evaluate.limit=2", "--set", "train.strategy=direction-aware")
    data = f"reader=tsv path={tmp_path / 'test.tsv'}"
    for name in ("base", "direction-aware", "direction-aware+ties"):
        command = ["evaluate", tmp_path / "out" / "pools" / name, "--data", data, "--beams", "1", "--limit", "2"]
        printed = output_of([*command, "--out", tmp_path / "scores" / name], capsys)
        ours = ScoreTable.load(tmp_path / "scores" / name / "scores" / name)
        runs = ScoreTable.load(tmp_path / "out" / "scores" / name)
        assert [entry.direction for entry in ours.entries] == [entry.direction for entry in runs.entries]
        for entry, expected in zip(ours.entries, runs.entries, strict=True):
            assert entry.figures == expected.figures
            assert entry.checksum == expected.checksum
            assert str(entry.direction) in printed
        again = output_of([*command, "--out", tmp_path / "scores" / name], capsys)
        assert again == printed


def test_evaluate_measures_the_directions_asked_for(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    data = f"reader=tsv path={finished.recipe.parent / 'test.tsv'} name=own rows=0:2"
    command = ["evaluate", finished.pool("separate"), "--data", data, "--directions", "de-en,en-nl"]
    output_of([*command, "--beams", "1", "--metric", "chrf++", "--out", tmp_path / "scores"], capsys)
    table = ScoreTable.load(tmp_path / "scores" / "scores" / "separate")
    assert [(entry.test, str(entry.direction), entry.num_segments) for entry in table.entries] == [
        ("own", "de-en", 2),
        ("own", "en-nl", 2),
    ]
    assert table.metrics == ("chrf++",)


# What is known before


def test_the_plan_counts_what_the_run_made(finished: Finished, capsys: Capture, no_base: None) -> None:
    plan = json.loads(output_of(["plan", finished.recipe, "--json"], capsys))
    assert plan["unknown"] is None
    assert plan["directions"] == ["en-de", "en-nl", "de-en", "nl-en"]
    trained = {}
    for folder in (finished.out / "artifacts").glob("adapter-*"):
        summary = read_json(folder / "training.json")
        trained[summary["adapter"]] = (summary["num_examples"], summary["num_steps"])
    assert {job["name"]: (job["examples"], job["steps"]) for job in plan["jobs"]} == trained
    assert trained["de-en"] == (NUM_TRAIN, NUM_TRAIN // 4)
    assert all(job["flops"] > 0 for job in plan["jobs"])
    for planned in plan["pools"]:
        pool = hexapla.Pool.load(finished.pool(planned["name"]))
        assert (planned["adapters"], planned["parameters"]) == (len(pool.adapters), pool.num_parameters)
        assert plan["routes"][planned["name"]] == POOLS[planned["name"]]
        assert {entry.num_parameters for entry in pool.adapters.values()} == {plan["adapter_parameters"]}
    assert {planned["name"] for planned in plan["pools"]} == set(POOLS) - {"base"}


def test_the_plan_for_people(finished: Finished, capsys: Capture) -> None:
    text = output_of(["plan", finished.recipe], capsys)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "directions 4 (2 to-hub, 2 from-hub)" in lines
    assert "to train 5 adapters of 2.0 K parameters" in lines
    assert "direction-aware+ties 2 4.1 K" in lines
    assert any(re.match(r"en-west en-de en-nl 24 [\d,]+ 6 ", line) for line in lines)  # examples, tokens, steps


def test_the_plan_of_the_dat_paper(capsys: Capture) -> None:
    """57 adapters of 62.6 M, 3.57 B for DAT and 16 of 1.00 B for DATM (DAT, arXiv 2502.11223), without weights."""
    lines = [" ".join(line.split()) for line in output_of(["plan", "x-alma-13b-datm"], capsys).splitlines()]
    assert "to train 57 adapters of 62.6 M parameters" in lines
    assert "direction-aware 57 3.57 B" in lines
    assert "direction-aware+ties 16 1.00 B" in lines
    assert "directions 98 (49 to-hub, 49 from-hub)" in lines
    assert any(line.startswith("Examples are not known: ") for line in lines)


def test_the_plan_of_two_hubs_over_sixty_languages(capsys: Capture) -> None:
    more = ["--set", "languages=lmt", "--set", "hubs=[en, zh]", "--set", "groups=family"]
    plan = json.loads(output_of(["plan", "x-alma-13b-datm", "--json", *more], capsys))
    assert len(plan["directions"]) == 234


def test_check_finds_nothing_wrong(finished: Finished, capsys: Capture, no_base: None, tmp_path: Path) -> None:
    lines = output_of(["check", finished.recipe, "--out", tmp_path / "out"], capsys).splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    subjects = [line.split()[1] for line in lines]
    assert list(dict.fromkeys(subjects)) == ["recipe", "base", "tokenizer", "corpora", "metrics", "disk"]
    assert any("test test: 4 rows" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_check_tells_every_fault_and_goes_on(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in finished.base.iterdir():
        if file.suffix != ".safetensors" and file.is_file():
            (base / file.name).write_bytes(file.read_bytes())
    recipe = write_recipe(tmp_path, base)
    (tmp_path / "test.tsv").unlink()
    assert main(["check", str(recipe)]) == 2
    shown = capsys.readouterr()
    failed = [line for line in shown.out.splitlines() if line.startswith("fail")]
    assert any("no weights" in line for line in failed)
    assert any("test.tsv" in line and "does not exist" in line for line in failed)
    assert "ok    metrics" in shown.out
    assert f"{len(failed)} of the checks above failed" in shown.err


def test_check_warns_of_rows_set_aside_and_untested_directions(
    finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    recipe = write_recipe(tmp_path, finished.base)
    german = (tmp_path / "train.de").read_text(encoding="utf-8").splitlines()
    write_lines(tmp_path / "train.de", ["", *german[1:]])
    table = (tmp_path / "test.tsv").read_text(encoding="utf-8").splitlines()
    write_lines(tmp_path / "test.tsv", [line.rpartition("\t")[0].rpartition("\t")[0] for line in table])
    assert main(["check", str(recipe)]) in (0, 2)
    out = capsys.readouterr().out
    assert "warn  corpora     train train: 12 rows in 3 languages; set aside: 1 empty" in out
    assert "nl" in next(line for line in out.splitlines() if "test" in line and "nl" in line)


def test_the_corpus_is_the_readers(finished: Finished) -> None:
    [folder] = (finished.out / "artifacts").glob("corpus-*")
    corpus = load_corpus(folder)
    assert len(corpus.train) == NUM_TRAIN
    assert {name: len(rows) for name, rows in corpus.tests.items()} == {"test": NUM_TEST}
    assert corpus.train[0].texts == {
        "en": "The red house has 100 doors.",
        "de": "Das rote Haus hat 100 Türen.",
        "nl": "Het rode huis heeft 100 deuren.",
    }
    digests = corpus.summary["files"]
    assert all(digest_file(Path(path)) == entry["sha256"] for path, entry in digests.items())


def test_a_run_of_before_a_kind_of_artifact_existed_is_reported(copied: Finished) -> None:
    record = read_json(copied.out / "run.json")
    for folders in record["parts"].values():
        del folders["representations"]
    (copied.out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert main(["report", str(copied.out)]) == 0
