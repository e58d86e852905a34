"""Evaluation of a pool: files, signatures, resume, missing directions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sacrebleu

from hexapla.common.errors import UserError
from hexapla.data.rows import Row
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.evaluate.stage import require_metrics
from hexapla.languages import Direction
from hexapla.plan import Layout, Side
from tests.evaluate.world import ROWS, Evaluation, Reverser, Said

DE_EN = Direction("de", "en")
EN_DE = Direction("en", "de")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_figures_equal_sacrebleu_on_the_written_segments(evaluation: Evaluation) -> None:
    translate = Reverser()
    table = evaluation.run(translate)
    assert translate.num_calls == 1
    segments = table.segments("book", EN_DE)
    assert [segment["id"] for segment in segments] == ["book:1", "book:2", "book:3"]
    assert segments[0]["hypothesis"] == "station? the is Where"
    hypotheses = [segment["hypothesis"] for segment in segments]
    references = [segment["reference"] for segment in segments]
    assert table.by_direction("chrf++")[EN_DE] == sacrebleu.corpus_chrf(hypotheses, [references], word_order=2).score
    entry = table.entry("book", EN_DE)
    assert entry is not None
    assert (entry.num_segments, entry.finish, entry.figures["empty"].value) == (3, {"stop": 3}, 0)


def test_missing_is_none_and_left_out_of_means(evaluation: Evaluation) -> None:
    table = evaluation.run(Reverser())
    chrf = table.by_direction("chrf++")
    assert chrf[Direction("fr", "en")] is None
    assert {str(entry.direction) for entry in table.missing} == {"en-fr", "fr-en"}
    assert table.mean("chrf++", group="romance") is None
    to_hub = [chrf[DE_EN], chrf[Direction("nl", "en")]]
    assert table.mean("chrf++", Side.TO_HUB) == sum(to_hub) / 2  # type: ignore[arg-type]
    assert table.mean("chrf++", Side.TO_HUB, "germanic") == table.mean("chrf++", Side.TO_HUB)
    record = json.loads((table.folder / "scores.json").read_text())
    assert record["missing"] == ["book en-fr", "book fr-en"]
    assert record["means"]["chrf++"]["groups"]["romance"] == {"to-hub": None, "from-hub": None}
    assert (
        next(item for item in record["directions"] if item["direction"] == "fr-en")["figures"]["bleu"]["value"] is None
    )


def test_what_is_loaded_is_what_was_made(evaluation: Evaluation) -> None:
    table = evaluation.run(Reverser())
    assert ScoreTable.load(table.folder) == table


def test_signature_holds_metric_test_set_and_decoder(evaluation: Evaluation) -> None:
    table = evaluation.run(Reverser())
    signature = table.signature("bleu", "book", EN_DE)
    entry = table.entry("book", EN_DE)
    assert entry is not None
    assert entry.checksum is not None
    assert signature is not None
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert signature.endswith(f"|test:book@{entry.checksum[:12]}|segments:3|lang:en-de|beams:1")
    assert table.signature("bleu", "book", Direction("en", "fr")) is None


def test_checksum_changes_with_a_reference(evaluation: Evaluation, tmp_path: Path) -> None:
    before = evaluation.run(Reverser()).entry("book", EN_DE)
    changed = [Row(ROWS[0].id, {**ROWS[0].texts, "de": "Wo ist denn der Bahnhof?"}, "book"), *ROWS[1:]]
    after = Evaluation(tmp_path / "other").run(Reverser(), tests={"book": changed}).entry("book", EN_DE)
    assert before is not None
    assert after is not None
    assert before.checksum != after.checksum


@pytest.mark.parametrize("num_done", [0, 1, 4, 9])
def test_resumed_gives_the_same_bytes_and_repeats_nothing(
    evaluation: Evaluation, tmp_path: Path, num_done: int
) -> None:
    first = Reverser(fail_after=num_done)
    with pytest.raises(KeyboardInterrupt):
        evaluation.run(first)
    second = Reverser()
    table = evaluation.run(second)
    assert len(first.asked) == num_done
    assert sorted(first.asked + second.asked) == sorted(set(first.asked) | set(second.asked))
    assert len(first.asked) + len(second.asked) == 10
    straight = Evaluation(tmp_path / "straight").run(Reverser())
    assert contents(table.folder) == contents(straight.folder)


def test_every_translation_is_on_disk_before_the_next_is_asked_for(evaluation: Evaluation) -> None:
    log = evaluation.folder / "translations" / "hypotheses.jsonl"

    def translate(requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
        for position in range(len(requests)):
            assert len(log.read_bytes().splitlines()) == position
            yield position, Said("x")

    evaluation.run(translate)


@pytest.mark.parametrize(
    "tail", [b'["book","en-de","bo', b'["book","en-de","book:1","0","\xc3', b"\x00\x00\x00\n", b'{"a": 1}\n', b"7\n"]
)
def test_a_half_written_line_is_dropped(evaluation: Evaluation, tail: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluation.run(Reverser(fail_after=3))
    log = evaluation.folder / "translations" / "hypotheses.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + tail)
    again = Reverser()
    evaluation.run(again)
    assert len(again.asked) == 7
    assert log.read_bytes().startswith(whole)
    assert len(log.read_bytes().splitlines()) == 10


def test_a_changed_source_is_translated_again(evaluation: Evaluation) -> None:
    evaluation.run(Reverser())
    changed = [Row(ROWS[0].id, {**ROWS[0].texts, "en": "Where is that station?"}, "book"), *ROWS[1:]]
    again = Reverser()
    table = evaluation.run(again, tests={"book": changed})
    assert sorted(again.asked) == [("Where is that station?", "en-de"), ("Where is that station?", "en-nl")]
    assert table.segments("book", EN_DE)[0]["hypothesis"] == "station? that is Where"


def test_another_identity_is_refused(evaluation: Evaluation) -> None:
    evaluation.run(Reverser())
    with pytest.raises(UserError, match="what differs: translate"):
        evaluation.run(Reverser(), identity={"pool": "abc", "translate": {"beams": 5}})


def test_line_separators_inside_a_translation_stay_inside(evaluation: Evaluation) -> None:
    def translate(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
        return [(position, Said(f"one\u2028two\x85three\n{position}")) for position in range(len(requests))]

    evaluation.run(translate)
    table = evaluation.run(translate)
    assert table.segments("book", DE_EN)[0]["hypothesis"].startswith("one\u2028two\x85three\n")


def test_empty_copied_and_cut_translations_are_counted(evaluation: Evaluation) -> None:
    answers = {
        "Wo ist der Bahnhof?": Said(" ", "stop"),
        "Der Zug hat heute Verspätung.": Said("Der Zug hat heute Verspätung."),
    }

    def translate(requests: list[tuple[str, Direction]]) -> list[tuple[int, Said]]:
        return [(i, answers.get(text, Said("tickets " * 9, "loop"))) for i, (text, _) in enumerate(requests)]

    answers["OK"] = Said("OK")  # no copy: the reference is the same
    rows = [*ROWS, Row("book:4", {"en": "OK", "de": "OK"}, "book")]
    table = evaluation.run(translate, tests={"book": rows}, spec=EvaluateSpec(directions=(DE_EN,)))
    (entry,) = table.entries
    assert (entry.figures["empty"].value, entry.figures["copied"].value) == (25, 25)
    assert entry.finish == {"loop": 1, "stop": 3}
    assert table.finish_counts() == {"loop": 1, "stop": 3}


def test_the_limit_takes_the_same_rows_in_every_direction_in_any_order(evaluation: Evaluation, tmp_path: Path) -> None:
    rows = [Row(f"r{i}", {"en": f"sentence {i}", "de": f"Satz {i}", "nl": f"zin {i}"}, "c") for i in range(50)]
    table = evaluation.run(Reverser(), tests={"c": rows}, spec=EvaluateSpec(limit=7))
    ids = [segment["id"] for segment in table.segments("c", EN_DE)]
    assert len(ids) == 7
    assert ids == [segment["id"] for segment in table.segments("c", Direction("nl", "en"))]
    shuffled = Evaluation(tmp_path / "b").run(Reverser(), tests={"c": rows[::-1]}, spec=EvaluateSpec(limit=7))
    assert {segment["id"] for segment in shuffled.segments("c", EN_DE)} == set(ids)
    other_seed = Evaluation(tmp_path / "c").run(Reverser(), tests={"c": rows}, spec=EvaluateSpec(limit=7), seed=1)
    assert {segment["id"] for segment in other_seed.segments("c", EN_DE)} != set(ids)


def test_several_test_sets_are_told_apart(evaluation: Evaluation) -> None:
    table = evaluation.run(Reverser(), tests={"book": ROWS, "a/b": ROWS[:1]})
    values = [table.by_direction("chrf++", test)[EN_DE] for test in ("book", "a/b")]
    assert values[0] != values[1]
    assert table.by_direction("chrf++")[EN_DE] == sum(values) / 2  # type: ignore[arg-type]
    assert [segment["id"] for segment in table.segments("a/b", EN_DE)] == ["book:1"]


def test_no_rows_at_all_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(UserError, match=r"No test set has rows.*fr-en"):
        evaluation.run(Reverser(), spec=EvaluateSpec(directions=(Direction("fr", "en"),)))


def test_missing_packages_are_reported_before_translation(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    layout = Layout(("en", "ja"), ("en",), {"japonic": ("ja",)})
    with pytest.raises(UserError, match=r"bleu into ja.*hexapla\[ja\]"):
        require_metrics(EvaluateSpec(), layout)
    require_metrics(EvaluateSpec(metrics=("chrf++",)), layout)
    require_metrics(EvaluateSpec(directions=(Direction("ja", "en"),)), layout)
    translate = Reverser()
    with pytest.raises(UserError, match="bleu into ja"):
        evaluation.run(translate, layout=layout, tests={"t": [Row("1", {"en": "a", "ja": "b"}, "t")]})
    assert not translate.asked


def test_a_given_auxiliary_is_part_of_the_request_and_of_the_key(evaluation: Evaluation) -> None:
    asked: list[tuple[object, ...]] = []

    def translate(requests: list[tuple[object, ...]]) -> list[tuple[int, Said]]:
        asked.extend(requests)
        return [(position, Said("x")) for position in range(len(requests))]

    spec = EvaluateSpec(directions=(EN_DE, DE_EN))
    table = evaluation.run(translate, spec=spec, auxiliaries={EN_DE: "nl"})
    first, second = (ROWS[0].texts, ROWS[1].texts)
    assert asked[:2] == [(first["en"], EN_DE, ("nl", first["nl"])), (second["en"], EN_DE)]  # row 2 has no Dutch
    assert all(len(request) == 2 for request in asked[3:])
    assert len(asked) == 6
    segments = table.segments("book", EN_DE)
    assert [segment.get("auxiliary") for segment in segments[:2]] == [["nl", first["nl"]], None]
    asked.clear()
    changed = [Row(ROWS[0].id, {**first, "nl": "Waar?"}, "book"), *ROWS[1:]]
    evaluation.run(translate, spec=spec, auxiliaries={EN_DE: "nl"}, tests={"book": changed})
    assert asked == [(first["en"], EN_DE, ("nl", "Waar?"))]
    asked.clear()
    evaluation.run(translate, spec=spec)
    assert [request[:2] for request in asked] == [(first["en"], EN_DE), (ROWS[2].texts["en"], EN_DE)]
    assert all(len(request) == 2 for request in asked)


def test_spec_reads_and_writes_directions() -> None:
    spec = EvaluateSpec.model_validate({"metrics": ["ter"], "directions": ["de-en"]})
    assert spec.directions == (DE_EN,)
    assert spec.resolved()["directions"] == ["de-en"]
    assert EvaluateSpec.model_validate(spec.resolved()) == spec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["blue"]}, "'bleu'"),
        ({"metrics": []}, "at least 1"),
        ({"metrics": ["ter", "ter"]}, "twice"),
        ({"limit": 0}, "greater"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateSpec.model_validate(settings)


def test_only_the_directions_of_the_spec_are_measured(evaluation: Evaluation) -> None:
    table = evaluation.run(Reverser(), spec=EvaluateSpec(directions=(DE_EN,)))
    assert table.directions == (DE_EN,)
