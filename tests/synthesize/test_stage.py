"""Pseudo-parallel text: made once, marked, judged, chosen, and continued after an interruption."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from hexapla.base import Base
from hexapla.common.errors import UserError
from hexapla.data.rows import Row
from hexapla.evaluate.metrics import comet
from hexapla.neural import load_scorer
from hexapla.plan import Layout
from hexapla.pool import Pool, describe_base
from hexapla.prompts import get_template
from hexapla.synthesize import stage
from hexapla.synthesize.stage import Maker, require_directions, synthesis_key
from tests.data.material import harvest
from tests.neural.conftest import ENCODER, FIXTURES
from tests.synthesize.world import LABEL, MAKER, Said, Scripted, World

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
GERMAN = dict(zip(NUMBERS, ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"], strict=True))
FRENCH = dict(zip(NUMBERS, ["un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit"], strict=True))
LINES = [f"I have {number} houses in the old city." for number in NUMBERS]


def say(text: str, direction: str) -> str:
    """What a translator would say of LINES, from English and from German."""
    number = next(word for word in (*NUMBERS, *GERMAN.values()) if word in text.split())
    english = next((e for e, g in GERMAN.items() if g == number), number)
    return {
        "de": f"Ich habe {GERMAN[english]} Häuser in der alten Stadt.",
        "fr": f"J'ai {FRENCH[english]} maisons dans la vieille ville.",
    }[direction[-2:]]


def test_rows_and_where_they_come_from(world: World) -> None:
    own = Row("web:7", {"de": "Haus", "en": LINES[1], "nl": "huis"}, "web", "doc", {"en": "x@1 from nl", "de": "y"})
    (world.folder / "web.jsonl").write_text(f"{json.dumps(own.to_record())}\n{json.dumps({'de': 'allein'})}\n")
    many = {"reader": "jsonl", "path": str(world.folder / "web.jsonl")}
    found = world.run(world.spec(sources=[world.text(LINES[0], "", LINES[0]), many]), Scripted(say))
    marks = {"de": f"{LABEL} from en", "fr": f"{LABEL} from en"}
    texts = [{"en": line, "de": say(line, "en-de"), "fr": say(line, "en-fr")} for line in LINES[:2]]
    assert found.rows == [
        {"id": "syn:mono:0000", "corpus": "syn", "texts": texts[0], "synthetic": marks},
        {"id": "syn:mono:0002", "corpus": "syn", "texts": texts[0], "synthetic": marks},
        {
            "id": "syn:web:7",
            "corpus": "syn",
            "texts": texts[1],
            "document": "doc",
            "synthetic": {"en": "x@1 from nl", **marks},
        },
    ]
    assert found.summary["rows"] == {
        "read": 3,
        "set_aside": {"empty-side": 1, "too-few-languages": 1},
        "written": 3,
    }
    assert found.summary["made"]["de"] == {"translated": 3, "dropped": {}, "kept": 3}
    # read as a corpus, and once more from what that wrote, the rows are the same
    path = world.folder / "out-1" / "rows.jsonl"
    rows, asides = harvest("en de fr", reader="jsonl", path=path, name="syn")
    assert (asides, [row.to_record() for row in rows]) == ([], found.rows)


def test_equal_texts_are_translated_once(world: World) -> None:
    translator = Scripted(say)
    world.run(world.spec(LINES[0], LINES[1], LINES[0]), translator)
    assert Counter(translator.asked) == Counter((line, d) for line in LINES[:2] for d in ("en-de", "en-fr"))


@pytest.mark.parametrize("rows_per_unit", [2, 2048])
def test_drops_are_counted_by_reason(world: World, monkeypatch: pytest.MonkeyPatch, rows_per_unit: int) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_UNIT", rows_per_unit)
    said: dict[tuple[str, str], Said | str] = {
        (LINES[0], "en-de"): Said("", "too-long"),
        (LINES[1], "en-de"): Said(say(LINES[1], "en-de"), "length"),
        (LINES[2], "en-de"): LINES[2],
        (LINES[3], "en-de"): "",
        (LINES[3], "en-fr"): Said("J'ai", "loop"),
    }
    found = world.run(world.spec(*LINES[:6]), Scripted(lambda t, d: said.get((t, d), say(t, d))))
    assert found.summary["made"] == {
        "de": {
            "translated": 6,
            "dropped": {"copied": 1, "cut-off": 1, "empty": 1, "source-too-long": 1},
            "kept": 2,
        },
        "fr": {"translated": 6, "dropped": {"looping": 1}, "kept": 5},
    }
    # a row stays with the targets that are left, and goes when none is
    assert [(row["id"][-1], sorted(row["texts"])) for row in found.rows] == [
        ("0", ["en", "fr"]),
        ("1", ["en", "fr"]),
        ("2", ["en", "fr"]),
        ("4", ["de", "en", "fr"]),
        ("5", ["de", "en", "fr"]),
    ]


@pytest.mark.parametrize("rows_per_unit", [2, 2048])
def test_through_a_pivot(world: World, monkeypatch: pytest.MonkeyPatch, rows_per_unit: int) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_UNIT", rows_per_unit)
    german = [say(line, "en-de") for line in LINES]
    said: dict[tuple[str, str], Said | str] = {
        (LINES[1], "en-de"): Said("Ich habe", "length"),
        (german[2], "de-fr"): german[2],
        ("OK, OK.", "en-de"): "Gut, gut.",
        ("Gut, gut.", "de-fr"): "OK! OK!",  # what the pivot was made of
    }
    translator = Scripted(lambda t, d: said.get((t, d)) or say(t, d))
    found = world.run(world.spec(*LINES[:3], "OK, OK.", targets=["fr"], pivot="de"), translator)
    assert Counter(translator.asked) == Counter(
        [(text, "en-de") for text in (*LINES[:3], "OK, OK.")]
        + [(text, "de-fr") for text in (german[0], german[2], "Gut, gut.")]
    )
    assert found.rows == [
        {
            "id": "syn:mono:0000",
            "corpus": "syn",
            "texts": {"en": LINES[0], "de": german[0], "fr": say(LINES[0], "en-fr")},
            "synthetic": {"de": f"{LABEL} from en", "fr": f"{LABEL} from en via de"},
        }
    ]
    assert found.summary["made"] == {
        "de": {"translated": 4, "dropped": {"cut-off": 1}, "kept": 3},
        "fr": {"translated": 3, "dropped": {"copied": 2, "no-pivot": 1}, "kept": 1},
    }


@pytest.mark.parametrize("fail_after", [0, 1, 5, 9, 15])
@pytest.mark.parametrize("pivot", [None, "de"])
def test_continues_after_an_interruption(
    world: World, monkeypatch: pytest.MonkeyPatch, fail_after: int, pivot: str | None
) -> None:
    whole = World(world.folder / "whole")
    whole.folder.mkdir()
    targets = ["de", "fr"] if pivot is None else ["fr"]
    expected = whole.run(whole.spec(*LINES, targets=targets, pivot=pivot), Scripted(say))
    monkeypatch.setattr(stage, "ROWS_PER_UNIT", 3)
    spec = world.spec(*LINES, targets=targets, pivot=pivot)
    killed, healthy = Scripted(say, fail_after), Scripted(say)
    with pytest.raises(KeyboardInterrupt):
        world.run(spec, killed)
    assert world.run(spec, healthy).content == expected.content
    assert len(killed.asked) == fail_after
    assert len({*killed.asked, *healthy.asked}) == len(killed.asked) + len(healthy.asked) == 16
    assert not list((world.folder / "translations").rglob("*.part"))


def test_what_was_translated_before_serves_other_specs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_UNIT", 3)
    world.run(world.spec(*LINES), Scripted(say))
    assert len(world.run(world.spec(*LINES, name="other", targets=["fr"]), None).rows) == 8
    more = Scripted(say)
    world.run(world.spec(*LINES, targets=["fr", "nl"]), Scripted(lambda t, d: say(t, "en-de") if d == "en-nl" else "?"))
    world.run(world.spec(*LINES[:6], LINES[0]), more)  # two units as before, the third another
    assert Counter(more.asked) == Counter([(LINES[0], "en-de"), (LINES[0], "en-fr")])
    # another translator, other settings of decoding
    for maker, settings in ((Maker("lmt", "another"), {}), (MAKER, {"translate": {"beams": 2}})):
        again = Scripted(say)
        world.run(world.spec(*LINES, **settings), again, maker)
        assert len(again.asked) == 16
    assert world.run(world.spec(*LINES, translate={"beams": 1, "batch_tokens": 7}), None).rows


def test_damaged_translations_are_named(world: World) -> None:
    world.run(world.spec(LINES[0]), Scripted(say))
    [file] = (world.folder / "translations" / "en-de").iterdir()
    file.write_text('{"text": "cut', encoding="utf-8")
    with pytest.raises(UserError, match=f"{file.name}: This is not readable JSON lines"):
        world.run(world.spec(LINES[0]), None)


# --- scores


def no_scorer(*_: object) -> None:
    pytest.fail("a scorer was asked for")


def kiwi(**keep: float) -> dict[str, Any]:
    models = {"cometkiwi22": str(FIXTURES / "unified-patched")}
    return {"keep": keep, "neural": {"models": models, "tokenizer": ENCODER, "precision": "fp32"}}


def test_the_best_by_score_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_UNIT", 3)
    scorer = load_scorer(str(FIXTURES / "unified-patched"), tokenizer=ENCODER, precision="fp32", device="cpu")
    scores = scorer.score(LINES, [say(line, "en-fr") for line in LINES])
    ranked = sorted(range(8), key=lambda number: -scores[number])
    found = world.run(world.spec(*LINES, targets=["fr"], **kiwi(best=0.5)), Scripted(say))
    assert {row["texts"]["en"] for row in found.rows} == {LINES[number] for number in ranked[:4]}
    made = found.summary["made"]["fr"]
    assert (made["dropped"], made["kept"]) == ({"not-among-the-best": 4}, 4)
    assert made["scores"]["0"] == pytest.approx(min(scores), abs=1e-4)
    assert made["scores"]["1"] == pytest.approx(max(scores), abs=1e-4)
    assert found.summary["metric"].startswith("model:unified-patched@")
    assert comet._shared_scorer.cache_info().currsize == 0  # its memory is there for what comes next
    # another threshold neither translates nor scores anew
    monkeypatch.setattr(comet, "_shared_scorer", lru_cache(no_scorer))
    middle = (scores[ranked[5]] + scores[ranked[6]]) / 2
    found = world.run(world.spec(*LINES, targets=["fr"], **kiwi(threshold=middle)), None)
    assert {row["texts"]["en"] for row in found.rows} == {LINES[number] for number in ranked[:6]}
    assert found.summary["made"]["fr"]["dropped"] == {"low-score": 2}


def test_a_pivot_is_scored_and_dropped_by_itself(world: World) -> None:
    found = world.run(world.spec(*LINES, targets=["fr"], pivot="de", **kiwi(best=0.5)), Scripted(say))
    made = found.summary["made"]
    assert [made[code]["kept"] for code in ("de", "fr")] == [4, 4]
    assert all("fr" in row["texts"] for row in found.rows)
    assert len(found.rows) == 4


def test_nothing_left_says_why(world: World) -> None:
    with pytest.raises(
        UserError, match=r"No translation of 2 rows is left.*'de': \{'copied': 2\}.*'fr': \{'copied': 2"
    ):
        world.run(world.spec(*LINES[:2]), Scripted(lambda text, _: text))


# --- refused before anything is translated


def test_sources_are_checked_first(world: World) -> None:
    (world.folder / "cut.txt.gz").write_bytes(gzip.compress(b"".join(b"line\n" for _ in range(9999)))[:-9])
    cut = {"reader": "text", "path": str(world.folder / "cut.txt"), "language": "en"}
    with pytest.raises(UserError, match="not sound gzip"):
        world.run(world.spec(sources=[world.text(LINES[0]), cut]), None)
    with pytest.raises(UserError, match="No row is left"):
        world.run(world.spec(sources=[world.text("", "")]), None)
    with pytest.raises(UserError, match="in de, which is not asked for"):
        world.run(world.spec(sources=[{**world.text(LINES[0]), "language": "de"}]), None)


def test_a_model_that_is_missing_is_named_first(world: World) -> None:
    neural = {"models": {"cometkiwi22": str(world.folder / "none")}}
    with pytest.raises(UserError, match="checkpoint of cometkiwi22"):
        world.run(world.spec(LINES[0], keep={}, neural=neural), None)


def test_every_direction_that_a_pool_lacks_is_named(world: World) -> None:
    layout = Layout(("en", "de", "nl"), ("en",), {"germanic": ("de", "nl")})
    template = get_template("alma")
    base = describe_base(name="small", base=Base("builtin:tiny"), tokenizer=None, template=template, layout=layout)
    pool = Pool(world.folder, base, {})  # to and from English
    require_directions(world.spec("x", targets=["de", "nl"]), pool)
    require_directions(world.spec("x", source="de", targets=["nl"], pivot="en"), pool)
    require_directions(world.spec("x", targets=["zh"]), None)
    with pytest.raises(UserError, match=r"'small' does not translate en-fr, en-zh\..*It translates: de-en, en-de"):
        require_directions(world.spec("x", targets=["fr", "de", "zh"]), pool)
    with pytest.raises(UserError, match=r"does not translate nl-de"):
        require_directions(world.spec("x", source="en", targets=["de"], pivot="nl"), pool)
    with pytest.raises(UserError, match="does not translate en-fr"):
        world.run(world.spec("x"), Unusable(pool))


@dataclass
class Unusable:
    """A translator of a pool that must not be asked."""

    pool: Pool


def test_what_the_corpus_depends_on(world: World) -> None:
    def key(**settings: Any) -> dict[str, Any]:
        return synthesis_key(world.spec("x", **settings), MAKER)

    same = key()
    assert same == key(into="bilingual") == key(pool="elsewhere") == key(translate={"beams": 1, "batch_tokens": 1})
    for changed in (
        key(targets=["de"]),
        key(pivot="nl"),
        key(translate={"beams": 2}),
        key(name="other"),
        key(keep={"best": 0.5}, neural=kiwi()["neural"]),
        key(identification={"confidence": 0.5}),
        synthesis_key(world.spec("y"), MAKER),
        synthesis_key(world.spec("x"), Maker("lmt", "another")),
    ):
        assert changed != same
        json.dumps(changed)
