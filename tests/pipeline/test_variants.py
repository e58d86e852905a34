"""Runs with variants and a sweep: pre-training, whole models, PMP and downsampling in one recipe; equal work once."""

from __future__ import annotations

import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hexapla
from hexapla.base import fingerprint
from hexapla.cli.main import main
from hexapla.common.artifacts import read_json, read_jsonl
from hexapla.data.storage import Corpus, load_corpus
from hexapla.languages import Direction
from hexapla.pipeline.analysis import analyze_run
from hexapla.pipeline.corpora import Corpora
from hexapla.pipeline.finished import FinishedPart, FinishedRun
from tests.pipeline.world import Finished, run, write_recipe

Capture = pytest.CaptureFixture[str]
PARTS = ["plain", "pre", "pmp", "to_hub=0", "to_hub=1"]


def _lmt(document: dict[str, Any]) -> None:
    """Two hubs, everything that LMT does, a few steps of each."""
    folder = Path(document["data"]["train"][0]["path"]).parent
    moses = document["data"]["train"][0]
    document |= {
        "languages": ["en", "de", "nl", "fr"],
        "hubs": ["en", "fr"],
        "groups": {"west": ["de", "nl"]},
        "data": {
            **document["data"],
            "monolingual": [{"reader": "text", "path": str(folder / "train.nl"), "language": "nl", "name": "mono"}],
            "bilingual": [{**moses, "name": "pairs"}],
            "clean": {"filters": [{"filter": "length-ratio", "max": 3}, "identical"]},
            "downsample": {"to_hub": 1},
        },
        "pretrain": {
            "mix": {"weights": {"monolingual": 1, "en": 1, "fr": 1}},
            "tokens": 800,
            "length": 128,
            "batch": 4,
            "optimizer": {"lr": 1e-3},
            "precision": "fp32",
        },
        "train": {
            "strategy": "multilingual",
            "method": "full",
            "optimizer": {"lr": 1e-3},
            "batch": 16,
            "precision": "fp32",
        },
        "evaluate": {"metrics": ["chrf"], "limit": 2},
        "variants": {
            "plain": {"pretrain": None},
            "pre": {},
            "pmp": {"pretrain": None, "data.pmp": {"share": 0.5}, "translate.pmp": "self"},
        },
        "sweep": {"data.downsample.to_hub": [0, 1]},
    }
    del document["merge"]


@pytest.fixture(scope="module")
def lmt(tmp_path_factory: pytest.TempPathFactory, qwen3_base: Path) -> Finished:
    folder = tmp_path_factory.mktemp("lmt")
    recipe = write_recipe(folder, qwen3_base, _lmt)
    run(recipe, folder / "out")
    return Finished(recipe, folder / "out", qwen3_base)


def _pool(lmt: Finished, name: str) -> hexapla.Pool:
    return hexapla.Pool.load(lmt.pool(name))


def test_every_variant_leaves_a_pool_with_a_model_of_its_own(lmt: Finished) -> None:
    assert sorted(path.name for path in (lmt.out / "pools").iterdir()) == sorted(["base", "pretrained", *PARTS])
    for name in PARTS:
        pool = _pool(lmt, name)
        assert not pool.adapters
        assert set(pool.description.routes.values()) == {None}
        assert pool.own_model is not None
        assert fingerprint(pool.description.base) == pool.description.base_fingerprint
    assert _pool(lmt, "base").own_model is None
    assert _pool(lmt, "pretrained").own_model is not None
    weights = {name: _pool(lmt, name).description.base_fingerprint for name in ("pretrained", *PARTS)}
    assert weights["to_hub=1"] == weights["pre"]  # the very same training
    assert len(set(weights.values())) == len(PARTS)


def test_what_variants_have_in_common_is_made_once(lmt: Finished) -> None:
    kinds = [folder.name.split("-")[0] for folder in (lmt.out / "artifacts").iterdir()]
    assert kinds.count("corpus") == 1
    assert kinds.count("model") == 5  # pre-trained; plain, pre, pmp, to_hub=0
    events = read_jsonl(lmt.out / "run.jsonl")
    assert sum(event["event"] == "train-start" for event in events) == 5


def test_a_model_is_translated_with_again_only_in_another_way(lmt: Finished) -> None:
    """`pre` and `to_hub=1` are one model; `pmp` decodes otherwise than the others."""
    assert len(list((lmt.out / "translations").iterdir())) == 6  # two bases, four models
    assert _pool(lmt, "pmp").description.auxiliaries[Direction("fr", "de")] == "en"
    assert not _pool(lmt, "pre").description.auxiliaries


def test_a_pool_with_its_own_model_works_elsewhere(lmt: Finished, tmp_path: Path) -> None:
    shutil.copytree(lmt.pool("plain"), tmp_path / "moved")
    here = hexapla.Translator(lmt.pool("plain")).translate("We see 7 birds today.", source="en", target="de")
    there = hexapla.Translator(tmp_path / "moved").translate("We see 7 birds today.", source="en", target="de")
    assert here == there


def test_the_report_compares_the_variants_and_draws_the_sweep(lmt: Finished) -> None:
    report = (lmt.out / "report.html").read_text(encoding="utf-8")
    assert "Ablation" in report
    assert "data.downsample.to_hub" in report
    svg = (lmt.out / "figures" / "sweep-data.downsample.to_hub-chart.svg").read_text(encoding="utf-8")
    for shown in ("chrF", "mean occurrences of a target", "off-target"):
        assert shown in svg
    sources = (lmt.out / "tables" / "pretraining-sources.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in sources[1:]] == ["monolingual", "en", "fr"]
    assert (lmt.out / "tables" / "vocabulary.csv").is_file()
    steps = (lmt.out / "tables" / "ablation.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in steps[1:]] == ["base", "pretrained", "plain", "pre", "pmp"]


def test_what_a_variant_is_for_is_said_and_is_no_warning(lmt: Finished) -> None:
    assert FinishedRun.load(lmt.out).on_purpose == {"pmp": {"pmp"}}
    told = "pmp (pmp self instead of none)"
    comparison = (lmt.out / "comparison.txt").read_text(encoding="utf-8")
    assert f"Decoded differently on purpose: {told}\n" in comparison
    report = (lmt.out / "report.html").read_text(encoding="utf-8")
    assert told in report
    assert "Not comparable" not in comparison + report
    assert "Read this first" not in report


def test_variants_of_one_corpus_hold_one_copy(lmt: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(folder: Path) -> Corpus:
        read.append(folder)
        return load_corpus(folder)

    monkeypatch.setattr("hexapla.pipeline.corpora.load_corpus", counting)
    found = FinishedRun.load(lmt.out)
    assert len({id(part.corpus) for part in found.parts.values()}) == 1
    assert list(analyze_run(found))
    assert len(read) == 1
    apart = {
        label: FinishedPart(part.recipe, part.folders) for label, part in found.parts.items()
    }  # as a run gives them
    joined = replace(found, parts=apart)
    assert len({id(part.corpus) for part in joined.parts.values()}) == 1


def test_of_several_corpora_the_latest_is_held(lmt: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [folder] = [path for path in (lmt.out / "artifacts").iterdir() if path.name.startswith("corpus")]
    shutil.copytree(folder, tmp_path / "other")
    corpora = Corpora()
    first = weakref.ref(corpora.read(folder))
    assert corpora.read(folder) is first()
    held: list[Corpus | None] = []

    def looking(folder: Path) -> Corpus:
        held.append(first())
        return load_corpus(folder)

    monkeypatch.setattr("hexapla.pipeline.corpora.load_corpus", looking)
    other = corpora.read(tmp_path / "other")
    assert held == [None], "the one before goes first: there is never room needed for two"
    assert corpora.read(tmp_path / "other") is other


def test_the_second_run_makes_nothing(lmt: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lmt.artifacts()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr("hexapla.translate.engines.torch_engine.load_model", refuse)
    run(lmt.recipe, lmt.out)
    assert lmt.artifacts() == before


def test_a_finished_run_is_read_again_with_its_parts(lmt: Finished, capsys: Capture) -> None:
    found = FinishedRun.load(lmt.out)
    assert list(found.parts) == PARTS
    assert found.only is None
    assert found.costs["plain"].num_parameters == _pool(lmt, "plain").num_parameters > 0
    assert found.costs["pre"].seconds is not None
    assert main(["report", str(lmt.out)]) == 0
    assert main(["analyze", str(lmt.out)]) == 0
    assert "report" in capsys.readouterr().out


def test_a_row_that_two_variants_need_differently_is_cleaned_once(lmt: Finished) -> None:
    [corpus] = [folder for folder in (lmt.out / "artifacts").iterdir() if folder.name.startswith("corpus")]
    summary = read_json(corpus / "summary.json")
    assert summary["train"]["train"]["rows"] == summary["bilingual"]["pairs"]["rows"]
    assert summary["monolingual"]["mono"]["texts"] == {"nl": 12}


def test_the_plan_and_the_check_show_every_variant(lmt: Finished, capsys: Capture) -> None:
    assert main(["plan", str(lmt.recipe)]) == 0
    planned = capsys.readouterr().out
    assert all(f"== {name} ==" in planned for name in PARTS)
    assert "the whole model" in planned
    assert "800 tokens in 2 steps" in planned
    main(["check", str(lmt.recipe)])
    checked = capsys.readouterr().out
    assert "plain: 10 directions, a whole model to train" in checked
    assert checked.count("round trip of 4 languages") == 1
