"""Comparisons of scores on disk and of files: figures, tests, what is set aside, what is refused."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.rows import Row
from hexapla.evaluate.compare import Comparison, DirectionComparison, MetricComparison, compare
from hexapla.evaluate.compare_files import material_of
from hexapla.evaluate.compare_material import distinct_names, material_of_tables
from hexapla.evaluate.compare_text import comparison_text
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.significance import interval
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Side
from tests.evaluate.world import Evaluation, Said

WORDS = ["red", "old", "train", "house", "river", "goes", "stands", "under", "near", "far", "green", "stone"]
DIRECTIONS = ("en-de", "en-nl", "de-en", "nl-en")


def sentences(name: str, count: int) -> list[Row]:
    chance = random.Random(name)
    return [
        Row(f"{name}:{n}", {code: " ".join(chance.choices(WORDS, k=8)) for code in ("en", "de", "nl")}, name)
        for n in range(count)
    ]


ROWS = sentences("book", 60)
MORE = sentences("news", 40)


class Noisy:
    """Gives the reference with some words wrong, more of them the higher `errors`; empty where `lost` says so."""

    def __init__(self, errors: float, lost: Callable[[str], bool] = lambda direction: False) -> None:
        self.errors, self.lost = errors, lost

    def __call__(self, requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
        known = {(row.texts[d.source], d): row.texts[d.target] for row in (*ROWS, *MORE) for _, d in requests}
        said = []
        for position, (text, direction) in enumerate(requests):
            chance = random.Random(f"{self.errors} {text} {direction}")
            words = known[text, direction].split()
            words = ["wrong" if chance.random() < self.errors else word for word in words]
            said.append((position, Said("" if self.lost(str(direction)) and position % 5 == 0 else " ".join(words))))
        return said


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ScoreTable]:
    """Poor, fair and good systems on the same rows."""
    folder = tmp_path_factory.mktemp("systems")
    systems = {
        "poor": Noisy(0.5, lambda direction: direction == "en-de"),
        "fair": Noisy(0.3),
        "good": Noisy(0.1),
    }
    return {name: measured(folder / name, name, system) for name, system in systems.items()}


def measured(folder: Path, name: str, system: Noisy, **changes: Any) -> ScoreTable:
    spec = EvaluateSpec(directions=DIRECTIONS, metrics=("bleu", "ter"))
    return Evaluation(folder).run(system, **{"pool_name": name, "tests": {"book": ROWS}, "spec": spec, **changes})


def compared(*tables: ScoreTable, metrics: tuple[str, ...] | None = None, **options: Any) -> Comparison:
    return compare(material_of_tables(tables, metrics), **options)


@pytest.fixture(scope="module")
def gain(tables: dict[str, ScoreTable]) -> Comparison:
    """The good system against the poor one, by everything."""
    return compared(tables["poor"], tables["good"])


def of(comparison: Comparison, metric: str) -> MetricComparison:
    return next(found for found in comparison.metrics if found.metric == metric)


def place(metric: MetricComparison, direction: str) -> DirectionComparison:
    return next(found for found in metric.directions if found.direction == direction)


def test_figures_are_those_of_the_tables_and_a_clear_gain_is_significant(
    tables: dict[str, ScoreTable], gain: Comparison
) -> None:
    poor, good = tables["poor"], tables["good"]
    comparison = gain
    assert comparison.systems == ("poor", "good")
    assert comparison.procedure == "ar:10000|seed:12345"
    for name, sign in (("bleu", 1), ("ter", -1)):
        metric = of(comparison, name)
        assert [found.direction for found in metric.directions] == [str(d) for d in poor.directions]
        for found in metric.directions:
            entries = [table.entry("book", Direction.parse(found.direction)) for table in (poor, good)]
            for figure, entry in zip(found.figures, entries, strict=True):
                assert figure.value == pytest.approx(entry.figures[name].value, abs=1e-9)
                assert figure.interval == pytest.approx(entry.figures[name].interval, abs=1e-9)
            (contrast,) = found.contrasts
            assert contrast.difference.value == pytest.approx(found.figures[1].value - found.figures[0].value)
            assert contrast.difference.value * sign > 20
            assert contrast.difference.num_segments == found.num_segments == 60
            assert contrast.difference.p_value == pytest.approx(1 / 10_001)
            assert contrast.p_holm == pytest.approx(4 / 10_001)
            assert contrast.verdict == "better"
        assert asdict(metric.tallies[0]) == {
            "system": "good", "better": 4, "worse": 0, "equal": 0, "significantly_better": 4, "significantly_worse": 0,
        }  # fmt: skip


def test_means_are_those_of_the_tables(tables: dict[str, ScoreTable], gain: Comparison) -> None:
    poor, good = tables["poor"], tables["good"]
    metric = of(gain, "bleu")
    assert [(mean.side, mean.num_directions) for mean in metric.means] == [
        (None, 4), (Side.TO_HUB, 2), (Side.FROM_HUB, 2),
    ]  # fmt: skip
    for mean in metric.means:
        for figure, table in zip(mean.figures, (poor, good), strict=True):
            assert figure.value == pytest.approx(table.mean("bleu", mean.side))
            assert figure.interval[0] < figure.value < figure.interval[1]
        assert mean.contrasts[0].verdict == "better"
    assert metric.num_mean_tests == 3


def test_swapped_systems_mirror(tables: dict[str, ScoreTable]) -> None:
    metrics = ("bleu", "ter", "empty")
    there, back = (compared(tables[a], tables[b], metrics=metrics) for a, b in (("fair", "good"), ("good", "fair")))
    for ours, theirs in zip(there.metrics, back.metrics, strict=True):
        assert ours.tallies[0].significantly_better == theirs.tallies[0].significantly_worse
        for a, b in zip((*ours.directions, *ours.means), (*theirs.directions, *theirs.means), strict=True):
            assert a.contrasts[0].difference.value == pytest.approx(-b.contrasts[0].difference.value)
            assert a.contrasts[0].p_holm == b.contrasts[0].p_holm


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
def test_equal_systems_do_not_differ(tables: dict[str, ScoreTable], test: Any) -> None:
    comparison = compared(tables["fair"], tables["fair"], metrics=("bleu", "empty"), test=test)
    for metric in comparison.metrics:
        for found in (*metric.directions, *metric.means):
            for contrast in found.contrasts:
                if contrast.difference is not None:
                    assert (contrast.difference.value, contrast.p_holm, contrast.verdict) == (0, 1, "equal")
    assert comparison.segments == ()
    assert comparison.systems == ("fair (1)", "fair (2)")
    text = comparison_text(comparison)
    assert "B and A do not differ in failure rates" in text
    assert "better in 0 of 4" in text.replace("is better than A", "better")


def test_all_systems_of_a_metric_are_one_family(tables: dict[str, ScoreTable]) -> None:
    comparison = compared(tables["poor"], tables["fair"], tables["good"], metrics=("bleu",))
    metric = of(comparison, "bleu")
    assert metric.num_tests == 8
    assert [contrast.system for contrast in metric.directions[0].contrasts] == ["fair", "good"]
    assert place(metric, "de-en").contrasts[1].p_holm == pytest.approx(8 / 10_001)


def test_failures_that_differ_are_shown_and_others_not(gain: Comparison) -> None:
    comparison = gain
    empty = of(comparison, "empty")
    assert place(empty, "en-de").contrasts[0].verdict == "better"
    assert place(empty, "en-nl").contrasts[0].verdict == "equal"
    table = comparison_text(comparison).split("Where B and A differ in failure rates")[1].split("\n\n")[0]
    shown = [line.split()[:2] for line in table.splitlines() if line.startswith("empty ")]
    assert shown[0] == ["empty", "en-de"]
    assert ["empty", "en-nl"] not in shown


def test_the_mean_over_directions_takes_the_mean_of_test_sets_first(tmp_path: Path) -> None:
    spec = EvaluateSpec(directions=("en-de", "de-en"), metrics=("bleu",))
    rows = {"book": ROWS, "news": MORE}
    first = measured(tmp_path / "a", "a", Noisy(0.4), tests=rows, spec=spec)
    second = measured(tmp_path / "b", "b", Noisy(0.2), tests=rows, spec=spec)
    metric = of(compared(first, second, metrics=("bleu",)), "bleu")
    assert len(metric.directions) == 4
    mean = metric.means[0]
    assert mean.num_directions == 2
    assert mean.figures[1].value == pytest.approx(second.mean("bleu"))
    # with one direction on two test sets there is no mean over directions
    spec = EvaluateSpec(directions=("en-de",), metrics=("bleu",))
    third = measured(tmp_path / "c", "c", Noisy(0.4), tests=rows, spec=spec)
    assert of(compared(third, third, metrics=("bleu",)), "bleu").means == ()


def test_a_direction_without_a_figure_is_left_out_of_the_means_of_all(
    tables: dict[str, ScoreTable], tmp_path: Path
) -> None:
    """`copied` cannot be judged in one direction: for no segment of one system anything counts there."""

    def unjudged(record: dict[str, Any]) -> None:
        record["statistics"]["copied"] = [0.0, 0.0]
        record["scores"]["copied"] = None

    other = tampered(tables["good"], tmp_path, "en-de", unjudged)
    edit_scores(other, "en-de", "copied", {"value": None, "interval": None})
    comparison = compared(tables["fair"], ScoreTable.load(other), metrics=("copied",))
    metric = of(comparison, "copied")
    found = place(metric, "en-de")
    assert found.figures[1].value is None
    assert found.contrasts[0].difference is None
    assert found.contrasts[0].p_holm is None
    assert metric.num_tests == 3
    assert metric.means[0].num_directions == 3
    (line,) = [line for line in comparison_text(comparison).splitlines() if line.startswith("copied  ")]
    assert line.split()[:3] == ["copied", "en-de", "0.00"]
    assert line.count("—") == 4


def tampered(table: ScoreTable, folder: Path, direction: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the scores with every segment of a direction changed."""
    copy = folder / "copy"
    shutil.copytree(table.folder, copy)
    file = copy / "segments" / "book" / f"{direction}.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records:
        change(record)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return copy


def edit_scores(folder: Path, direction: str, metric: str, changes: dict[str, Any]) -> None:
    path = folder / "scores.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    (entry,) = [item for item in record["directions"] if item["direction"] == direction]
    entry["figures"][metric].update(changes)
    path.write_text(json.dumps(record), encoding="utf-8")


def test_other_rows_and_signatures_are_set_aside_with_the_reason(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    copy = tampered(tables["good"], tmp_path, "en-de", lambda record: None)
    edit_scores(copy, "en-nl", "bleu", {"signature": "tok:other"})
    path = copy / "scores.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["directions"] = [item for item in record["directions"] if item["direction"] != "nl-en"]
    for item in record["directions"]:
        if item["direction"] == "en-de":
            item["checksum"] = "0" * 64
    record["identity"]["translate"] = {"beams": 5}
    path.write_text(json.dumps(record), encoding="utf-8")
    comparison = compared(tables["poor"], ScoreTable.load(copy), metrics=("bleu", "ter"))
    assert [found.direction for found in of(comparison, "bleu").directions] == ["de-en"]
    assert {found.direction for found in of(comparison, "ter").directions} == {"de-en", "en-nl"}
    reasons = {(item.direction, item.metric): item.reason for item in comparison.excluded}
    assert reasons["en-de", None] == "good: measured on other rows than poor."
    assert reasons["nl-en", None] == "good: not measured there."
    assert "tok:other (good)" in reasons["en-nl", "bleu"]
    assert comparison.notes[0] == "good was decoded otherwise than poor: beams 5 instead of 1."
    text = comparison_text(comparison)
    assert "Not compared: book en-de. good: measured on other rows than poor." in text
    edit_scores(copy, "de-en", "bleu", {"signature": "tok:other"})
    other = ScoreTable.load(copy)
    with pytest.raises(UserError, match=r"poor and good cannot be compared by bleu.*not measured there"):
        compared(tables["poor"], other, metrics=("bleu",))


def test_nothing_in_common_is_refused(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    spec = EvaluateSpec(directions=DIRECTIONS, metrics=("bleu",), limit=10)
    fewer = measured(tmp_path, "fewer", Noisy(0.1), spec=spec)
    with pytest.raises(UserError, match=r"good and fewer cannot be compared\. fewer: measured on other rows than good"):
        compared(tables["good"], fewer)
    with pytest.raises(UserError, match="The metric 'ter' was not measured"):
        compared(tables["good"], fewer, metrics=("ter",))
    with pytest.raises(UserError, match=r"There is no metric 'blue'. Did you mean 'bleu'"):
        compared(tables["good"], fewer, metrics=("blue",))


def set_nan(record: dict[str, Any]) -> None:
    record["statistics"]["ter"][0] = math.nan


def drop(record: dict[str, Any]) -> None:
    if record["id"] == "book:2":
        del record["statistics"]["ter"]


def one_more_edit(record: dict[str, Any]) -> None:
    record["statistics"]["ter"][0] += 1


def text_for_number(record: dict[str, Any]) -> None:
    record["statistics"]["bleu"] = "5"


def shorter(record: dict[str, Any]) -> None:
    record["statistics"]["bleu"] = record["statistics"]["bleu"][:3]


def no_source(record: dict[str, Any]) -> None:
    record["source"] = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_nan, r"en-de\.jsonl:1: The statistics of ter are missing here, or no finite numbers"),
        (drop, r"en-de\.jsonl:3: The statistics of ter are missing"),
        (one_more_edit, r"en-de\.jsonl: These segments give .* as ter of en-de, scores\.json says"),
        (text_for_number, r"en-de\.jsonl:1: The statistics of bleu"),
        (shorter, r"en-de\.jsonl: These are no statistics of bleu"),
        (no_source, r"en-de\.jsonl:1: A text is missing here"),
    ],
)
def test_damaged_segments_are_refused_with_file_and_line(
    tables: dict[str, ScoreTable], tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    copy = tampered(tables["good"], tmp_path, "en-de", change)
    with pytest.raises(CorruptArtifactError, match=message):
        compared(tables["poor"], ScoreTable.load(copy))


def test_a_cut_file_is_refused(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    copy = tampered(tables["good"], tmp_path, "en-de", lambda record: None)
    file = copy / "segments" / "book" / "en-de.jsonl"
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:-2]), encoding="utf-8")
    with pytest.raises(CorruptArtifactError, match=r"en-de\.jsonl: This file holds 58 segments, scores\.json says 60"):
        compared(tables["poor"], ScoreTable.load(copy))


def test_the_segments_that_differ_most_come_first(tables: dict[str, ScoreTable]) -> None:
    quick: dict[str, Any] = {"metrics": ("bleu", "ter"), "test": "bootstrap"}
    comparison = compared(tables["poor"], tables["good"], num_segments_shown=4, **quick)
    shown = [segment for segment in comparison.segments if segment.metric == "bleu"]
    assert len(shown) == 4
    gaps = [abs(segment.score - segment.baseline_score) for segment in shown]
    assert gaps == sorted(gaps, reverse=True)
    largest = max(
        abs(b["scores"]["bleu"] - a["scores"]["bleu"])
        for direction in tables["poor"].directions
        for a, b in zip(*(tables[name].segments("book", direction) for name in ("poor", "good")), strict=True)
    )
    assert gaps[0] == pytest.approx(largest)
    assert {segment.metric for segment in comparison.segments} == {"bleu", "ter"}
    assert shown[0].hypothesis in comparison_text(comparison)
    assert compared(tables["poor"], tables["good"], num_segments_shown=0, **quick).segments == ()


def test_a_test_too_coarse_for_the_correction_says_so(tables: dict[str, ScoreTable]) -> None:
    many = compared(*[tables["poor"]] * 14, tables["good"], metrics=("bleu",), test="bootstrap")
    assert "no difference in a single direction can be significant" in many.notes[0]
    assert compared(tables["poor"], tables["good"], metrics=("bleu",), test="bootstrap").notes == ()


def test_everything_can_be_written_as_json(gain: Comparison) -> None:
    record = json.loads(json.dumps(asdict(gain), allow_nan=False))
    assert record["metrics"][0]["means"][1]["side"] == "to-hub"


def test_a_figure_that_is_missing_in_the_table_only_is_refused(tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    copy = tampered(tables["good"], tmp_path, "en-de", lambda record: None)
    edit_scores(copy, "en-de", "bleu", {"value": None})
    with pytest.raises(CorruptArtifactError, match=r"give .* as bleu of en-de, scores\.json says None"):
        compared(tables["poor"], ScoreTable.load(copy))


@pytest.mark.parametrize(
    ("names", "paths", "expected"),
    [
        (["a", "b"], ["x/a", "x/b"], ("a", "b")),
        (["base", "base"], ["runs/one/scores/base", "runs/two/scores/base"], ("one", "two")),
        (["t.en", "t.en"], ["/w/ALMA/deen/t.en", "/w/GPT/deen/t.en"], ("ALMA", "GPT")),
        (["t", "t", "t"], ["a/x/t", "a/y/t", "b/x/t"], ("a/x/t", "a/y/t", "b/x/t")),
        (["t", "t"], ["a/t", "a/t"], ("t (1)", "t (2)")),
        (["t", "t", "t"], ["a/t", "a/t", "b/t"], ("a/t (1)", "a/t (2)", "b/t (3)")),
        (["t", "t"], ["t", "a/t"], ("t", "a")),
    ],
)
def test_systems_have_distinct_names(names: list[str], paths: list[str], expected: tuple[str, ...]) -> None:
    assert distinct_names(names, [Path(path) for path in paths]) == expected


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    chance = random.Random(1)
    references = [" ".join(chance.choices(WORDS, k=8)) for _ in range(50)]
    better = [" ".join("x" if chance.random() < 0.1 else word for word in line.split()) for line in references]
    worse = [" ".join("x" if chance.random() < 0.4 else word for word in line.split()) for line in references]
    texts = {"ref": references, "a": worse, "b": better, "src": [f"source {n}" for n in range(50)], "short": better[:9]}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return {name: tmp_path / name for name in texts}


def test_files_are_compared_line_by_line(files: dict[str, Path]) -> None:
    material = material_of([files["a"], files["b"]], references=files["ref"], sources=files["src"], to="de")
    assert material.metrics[:3] == ("bleu", "chrf++", "empty")
    assert "copied" in material.metrics
    comparison = compare(material)
    (found,) = of(comparison, "bleu").directions
    assert (found.test, found.direction, found.side, found.num_segments) == (None, "into de", None, 50)
    assert found.contrasts[0].verdict == "better"
    assert found.figures[0].interval == pytest.approx(
        interval_of(material.places[0].tracks["bleu"].statistics[0]), abs=1e-9
    )
    assert comparison.segments[0].source.startswith("source ")
    assert of(comparison, "bleu").means == ()


def test_means_over_the_same_sentences_are_less_sure(files: dict[str, Path]) -> None:
    """Two directions of other sentences make the interval of the mean narrower by the root of two."""
    material = material_of([files["a"], files["b"]], references=files["ref"], to="de", metrics=("chrf++",))
    (first,) = material.places
    widths = []
    for rows in (first.rows, tuple(f"other {row}" for row in first.rows)):
        twin = replace(first, direction="elsewhere", rows=rows)
        (mean,) = compare(replace(material, places=(first, twin)), test="bootstrap").metrics[0].means
        low, high = mean.contrasts[0].difference.interval
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(2), rel=0.1)


def interval_of(statistics: Any) -> tuple[float, float]:
    from hexapla.evaluate.metrics import METRICS

    return interval(METRICS["bleu"], statistics)


def test_without_references_what_needs_none_can_be_compared(files: dict[str, Path]) -> None:
    material = material_of([files["a"], files["b"]], to="de", metrics=("empty",))
    assert compare(material).metrics[0].metric == "empty"
    with pytest.raises(UserError, match=r"The metric 'bleu' needs references. Give them with --ref FILE"):
        material_of([files["a"], files["b"]], to="de")
    with pytest.raises(UserError, match=r"The metric 'copied' needs sources. Give them with --src FILE"):
        material_of([files["a"], files["b"]], references=files["ref"], to="de", metrics=("copied",))
    with pytest.raises(UserError, match=r"short: This file has 9 lines, .*/a has 50"):
        material_of([files["a"], files["short"]], to="de", metrics=("empty",))
    with pytest.raises(UserError, match=r"short: This file has 9 lines, .*/ref has 50"):
        material_of([files["a"], files["short"]], references=files["ref"], to="de")


def test_what_is_given_must_fit_together(files: dict[str, Path], tables: dict[str, ScoreTable], tmp_path: Path) -> None:
    folder = tables["good"].folder
    with pytest.raises(UserError, match="nothing to compare with"):
        material_of([files["a"]], to="de")
    with pytest.raises(UserError, match="no such file or folder"):
        material_of([files["a"], tmp_path / "absent"], to="de")
    with pytest.raises(UserError, match="need their target language"):
        material_of([files["a"], files["b"]], references=files["ref"])
    with pytest.raises(UserError, match=r"is a folder, .*/a is a file"):
        material_of([folder, files["a"]], to="de")
    with pytest.raises(UserError, match="--ref is for files of translations"):
        material_of([folder, folder], references=files["ref"])
    with pytest.raises(UserError, match=r"This folder holds no scores\.json"):
        material_of([folder, tmp_path])
    run = tmp_path / "run"
    shutil.copytree(folder, run / "scores" / "good")
    with pytest.raises(UserError, match=r"scores of several pools. Give one of them: .*/run/scores/good"):
        material_of([folder, run])
    assert len(material_of([folder, run / "scores" / "good"]).places) == 4
