"""The report: nothing is loaded, everything is escaped, missing is shown, figures are those of the scores."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree, html

from hexapla.analyze.curves import Course, loss_curve
from hexapla.analyze.present import Column, LineChart, Point, Section, Series, Table
from hexapla.analyze.report import RunInfo, write_report
from hexapla.evaluate.comparison import PoolCost
from hexapla.evaluate.metrics import METRICS
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.languages import Direction
from hexapla.plan import Layout, Side
from tests.analyze.blocks import unpack
from tests.evaluate.world import ROWS, Evaluation, Reverser, Said

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"


def evil(requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
    yield from ((position, Said(EVIL + "\u202e", "loop")) for position in range(len(requests)))


def run_info(**changes: Any) -> RunInfo:
    fields: dict[str, Any] = {
        "recipe_name": "tiny",
        "recipe": {"base": "builtin:tiny", "name": EVIL},
        "versions": {"hexapla": "0.1.0"},
        "machine": {"cores": "2"},
        "stage_seconds": {"corpus": 1.25},
        "costs": {"dat": PoolCost(3, 62_600_000, 12.4)},
        "corpus": {"rows": 3},
    }
    return RunInfo(**{**fields, **changes})


@pytest.fixture
def tables(tmp_path: Path) -> list[ScoreTable]:
    base = Evaluation(tmp_path / "base").run(evil, pool_name="base")
    dat = Evaluation(tmp_path / "dat").run(Reverser(), pool_name="dat")
    return [base, dat]


def page_of(folder: Path, tables: list[ScoreTable], **changes: Any) -> tuple[str, Any]:
    given: dict[str, Any] = {"run": run_info(), "tables": tables, "training": {}, "merges": {}}
    text = write_report(folder, **{**given, **changes}).read_text(encoding="utf-8")
    return text, html.fromstring(text)


class _Tags(HTMLParser):
    """Collects every tag with its attributes, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_nothing_of_the_users_becomes_markup(tmp_path: Path, tables: list[ScoreTable]) -> None:
    section = Section(
        "evil",
        EVIL,
        EVIL,
        (
            Table("evil-table", EVIL, (Column(EVIL), Column(EVIL, 1)), ((EVIL, 1.0),), EVIL),
            LineChart("evil-chart", EVIL, EVIL, EVIL, (Series(EVIL, (Point(1, 2, label=EVIL), Point(2, 2))),), EVIL),
        ),
        (EVIL,),
    )
    text, page = page_of(tmp_path, tables, run=run_info(recipe_name=EVIL, warnings=(EVIL,)), sections=(section,))
    tags = _Tags()
    tags.feed(text)
    scripts = [attributes.get("type") for tag, attributes in tags.seen if tag == "script"]
    assert scripts.count(None) == 1
    assert set(scripts) == {None, "application/json", "application/gzip"}
    assert not [tag for tag, _ in tags.seen if tag == "img"]
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on")]
    assert page.xpath("//h1")[0].text_content() == EVIL
    assert page.xpath("//section[@id='evil']/h2")[0].text_content() == EVIL
    assert EVIL in (tmp_path / "tables" / "evil-table.csv").read_text(encoding="utf-8").replace('""', '"')
    assert etree.parse(tmp_path / "figures" / "evil-chart.svg").getroot().xpath("//*[local-name()='script']") == []


def test_the_page_loads_nothing(tmp_path: Path, tables: list[ScoreTable]) -> None:
    text, _ = page_of(tmp_path, tables)
    tags = _Tags()
    tags.feed(text)
    assert not {tag for tag, _ in tags.seen} & {"link", "iframe", "img", "object", "embed", "audio", "video", "base"}
    assert not [attributes for _, attributes in tags.seen if {"src", "srcset", "action", "data"} & set(attributes)]
    assert all((attributes.get("href") or "#").startswith("#") for _, attributes in tags.seen)
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://", text)
    policy = next(attributes for tag, attributes in tags.seen if attributes.get("http-equiv"))
    assert str(policy["content"]).startswith("default-src 'none'")


def share_failed(table: ScoreTable, side: Side) -> str:
    """Mean over directions of the percentage with any failure, from the records on disk."""
    shares = []
    for entry in table.entries:
        segments = table.segments(entry.test, entry.direction)
        if segments and table.layout.side(entry.direction) is side:
            signs = [
                [score for name, score in segment["scores"].items() if METRICS[name].is_failure and name != "related"]
                for segment in segments
            ]
            shares.append(100 * sum(100.0 in found for found in signs) / len(signs))
    return f"{sum(shares) / len(shares):.1f}"


def test_summary_shows_means_with_intervals_beside_failures(tmp_path: Path, tables: list[ScoreTable]) -> None:
    _, page = page_of(tmp_path, tables)
    base, dat = page.xpath("//section[@id='summary']//table[contains(@class,'summary')]/tbody/tr")
    shown = [cell.xpath("string(text()[1])").strip() for cell in dat.xpath("td")]
    into, out = ([f"{tables[1].mean(metric, side):.1f}" for metric in ("bleu", "chrf++")] for side in list(Side)[:2])
    failed = [share_failed(tables[1], side) for side in list(Side)[:2]]
    assert shown == [*into, failed[0], *out, failed[1], "3", "62.6 M", "12"]
    chrf = dat.xpath("td")[1]
    assert "best" in chrf.get("class")
    low, high = (float(end) for end in chrf.xpath("string(small)").split(" – "))
    assert low < tables[1].mean("chrf++", Side.TO_HUB) < high
    assert not base.xpath("td[position() != 3 and position() != 6][contains(@class, 'best')]")
    assert [cell.text_content() for cell in base.xpath("td")][6:] == ["—", "—", "—"]
    cards = [" ".join(card.text_content().split()) for card in page.xpath("//div[@class='card']")]
    assert [card.startswith(f"Best {side} English") for card, side in zip(cards, ("into", "from"), strict=True)]
    assert f"chrF++ dat {into[1]} [" in cards[0]
    assert f"{failed[0]} % failed" in cards[0]
    gap = tables[1].mean("chrf++", Side.TO_HUB) - tables[0].mean("chrf++", Side.TO_HUB)
    [(low, high)] = re.findall(rf"chrF\+\+ .*; {gap:.1f} better than base \[(.*), (.*)\]", cards[0])
    assert float(low.replace("−", "-")) < gap < float(high)


def test_no_figure_of_quality_stands_alone(tmp_path: Path, tables: list[ScoreTable]) -> None:
    """Empty translations: the failure rates are in the summary, in their own section, and by direction."""

    def silent(requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
        yield from ((position, Said("", "stop")) for position in range(len(requests)))

    mute = Evaluation(tmp_path / "mute").run(silent, pool_name="mute")
    _, page = page_of(tmp_path, [tables[1], mute])
    summary = page.xpath("//section[@id='summary']//table[contains(@class,'summary')]/tbody/tr")[1]
    assert [summary.xpath(f"string(td[{place}]/text())") for place in (3, 6)] == ["100.0", "100.0"]
    rows = page.xpath("//section[@id='failures']//table[contains(@class,'plain')]/tbody/tr")
    shown = {(row.xpath("string(th)"), row.xpath("string(td[1])")): row.xpath("string(td[2]/text())") for row in rows}
    assert shown[("to-hub", "mute")] == "100.0"
    assert shown[("to-hub", "dat")] == share_failed(tables[1], Side.TO_HUB)
    views = page.xpath("//div[@data-view='failures']")
    assert views[0].xpath("string(.//caption)") == "any failure, percent (lower is better)"
    assert views[0].xpath(".//td[@data-direction='de-en'][@data-pool='1']/text()") == ["100.0"]


def test_missing_is_a_dash_in_the_heat_map(tmp_path: Path, tables: list[ScoreTable]) -> None:
    _, page = page_of(tmp_path, tables)
    rows = {
        row.xpath("string(th/text())").strip(): row
        for row in page.xpath("(//table[contains(@class,'heat')])[2]//tr[td]")
    }
    french = rows["French"].xpath("td")
    assert [cell.text for cell in french] == ["—"] * 4
    assert not rows["French"].xpath("td[@data-value]")
    german = rows["German"].xpath("td[@data-pool='1']")
    assert f"{tables[1].by_direction('chrf++')[Direction('de', 'en')]:.1f}" == german[0].text
    details = json.loads(unpack(page.xpath("string(//script[@id='details'])")))
    entry = details["cells"]["de-en"][1][0]
    place = [metric["title"] for metric in details["metrics"]].index("chrF++")
    value, low, high, signature = entry["figures"][place]
    assert f"{value:.1f}" == german[0].text
    assert low <= value <= high
    expected = tables[1].signature("chrf++", "book", Direction("de", "en"))
    assert details["signatures"][signature] + entry["context"] == expected
    assert details["cells"]["fr-en"][1][0]["figures"] == [None] * len(details["metrics"])
    assert expected in (tmp_path / "tables" / "figures.csv").read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_page(tmp_path: Path, tables: list[ScoreTable]) -> None:
    first, _ = page_of(tmp_path / "one", tables)
    again, _ = page_of(tmp_path / "two", tables)
    assert first == again


def test_training_and_merges_with_gaps(tmp_path: Path, tables: list[ScoreTable]) -> None:
    training = {
        "de-en": {
            "status": "finished",
            "num_examples": 9984,
            "num_steps": 312,
            "seconds": 4.25,
            "set_asides": {"long": 3},
        },
        "fr-en": {"status": "diverged", "story": "not finite at step 7", "num_steps": 0, "final_loss": None},
    }
    total = {"relative_error": 0.21, "sign_conflict_share": 0.5, "kept_mass": None}
    merges = {"dat+ties": {"germanic-en": {"experts": {"de-en": 1.0, "nl-en": 1.0}, "rank": 16, "total": total}}}
    _, page = page_of(tmp_path, tables, training=training, merges=merges)
    rows = [
        [cell.text_content() for cell in row.xpath("th|td")]
        for row in page.xpath("//section[@id='adapters']//tbody/tr")
    ]
    assert rows[0] == ["de-en", "finished", "9,984", "3", "312", "—", "—", "—", "4.2", "—"]
    assert rows[1] == ["fr-en", "diverged", "—", "—", "0", "—", "—", "—", "—", "—"]
    assert rows[2] == ["not finite at step 7"]
    assert rows[3] == ["dat+ties", "germanic-en", "de-en, nl-en", "16", "21.0", "50.0", "—"]


def bank_summary(**changes: Any) -> dict[str, Any]:
    """A `training.json` of the bank."""
    return {
        "status": "finished",
        "num_steps": 100,
        "num_planned_steps": 100,
        "num_examples": 200,
        "set_asides": {},
        "num_target_tokens": 5000,
        "num_input_tokens": 12_000,
        "seconds": 8.0,
        "first_loss": 4.0,
        "final_loss": 2.0,
        "development": [],
        "story": None,
        "trainer": "bank",
        "company": 3,
        **changes,
    }


def test_training_in_a_bank(tmp_path: Path, tables: list[ScoreTable]) -> None:
    training = {
        "de-en": bank_summary(development=[[50, 3.0], [75, 2.25], [100, 2.5]], num_steps=75),
        "fr-en": bank_summary(status="stopped-early", num_steps=40, development=[[40, 2.125]]),
        "nl-en": bank_summary(story="at step 7, then again: " + EVIL, losses=[[1, 4.0], [2, math.nan], [100, 2.0]]),
        "alone": bank_summary(trainer="peft", company=1),
    }
    _, page = page_of(tmp_path, tables, training=training)
    section = page.xpath("//section[@id='adapters']")[0]
    heads = [head.text_content() for head in section.xpath(".//table[1]/thead//th")]
    rows = {
        row.xpath("string(th)"): dict(zip(heads, row.xpath("th|td"), strict=True))
        for row in section.xpath(".//tbody/tr[th]")
    }
    shown = {name: {head: cell.text_content() for head, cell in row.items()} for name, row in rows.items()}
    assert shown["de-en"]["steps"] == "75 of 100"
    assert shown["de-en"]["best development loss"] == "2.250"
    assert shown["de-en"]["tokens/s"] == "1,500"
    assert shown["nl-en"]["best development loss"] == "—"
    assert [row["status"] for row in shown.values()] == [
        "finished",
        "stopped early",
        "finished, second try",
        "finished",
    ]
    assert not section.xpath(".//td[contains(@class, 'bad')]")
    assert section.xpath("string(.//tr[@class='story'])").strip() == training["nl-en"]["story"]
    notes = section.xpath("string(p[1])")
    assert "Trained by the bank: 3, up to 3 beside each other" in notes
    assert "one after another with peft: 1." in notes
    curves = {name: row["loss"].xpath(".//polyline/@points") for name, row in rows.items()}
    assert curves == {
        "de-en": ["50.0,0.0 75.0,24.0 100.0,16.0"],
        "fr-en": [],
        "nl-en": ["1.0,0.0 100.0,24.0"],
        "alone": [],
    }
    assert rows["nl-en"]["loss"].xpath(".//svg/@aria-label") == ["training loss from 4.000 to 2.000"]


def test_what_no_adapter_has_is_no_column(tmp_path: Path, tables: list[ScoreTable]) -> None:
    _, page = page_of(tmp_path, tables, training={"de-en": bank_summary()})
    heads = page.xpath("//section[@id='adapters']//table[1]/thead//th/text()")
    assert not {"best development loss", "loss"} & set(heads)
    assert not page.xpath("//section[@id='adapters']//svg")


@given(
    losses=st.lists(st.one_of(st.floats(0, 100), st.just(math.nan), st.just(math.inf)), max_size=300),
    num_points=st.integers(1, 80),
)
def test_a_curve_keeps_the_mean_and_stays_in_its_box(losses: list[float], num_points: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        log.write_text("".join(f"{json.dumps({'step': step, 'loss': loss})}\n" for step, loss in enumerate(losses, 1)))
        curve = loss_curve(log, num_points)
    finite = [loss for loss in losses if math.isfinite(loss)]
    assert len(curve) <= num_points
    assert [step for step, _ in curve] == sorted(step for step, _ in curve)
    if finite:
        assert min(finite) - 1e-9 <= min(loss for _, loss in curve)
        assert max(loss for _, loss in curve) <= max(finite) + 1e-9
    course = Course.of(curve, [], len(losses))
    assert (course is None) == (len(curve) < 2)
    if course is not None:
        for point in course.training.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 100
            assert 0 <= y <= 24


def test_a_curve_is_the_mean_of_neighbours(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f'{{"step": {step}, "loss": {10 - step}.0}}\n' for step in range(1, 6)))
    assert loss_curve(log, 3) == [[1.5, 8.5], [3.5, 6.5], [5.0, 5.0]]
    assert loss_curve(tmp_path / "missing.jsonl") == []


def test_tables_that_cannot_be_compared_are_called_so(tmp_path: Path, tables: list[ScoreTable]) -> None:
    beam = Evaluation(tmp_path / "beam").run(Reverser(), pool_name="beam", identity={"translate": {"beams": 5}})
    _, page = page_of(tmp_path, [*tables, beam], run=run_info(warnings=("fr-en diverged",)))
    warnings = [item.text_content() for item in page.xpath("//aside//li")]
    assert warnings == [
        "fr-en diverged",
        "Not comparable: beam was decoded with other settings than base (beams 5 instead of 1).",
    ]
    assert "on purpose" not in page.text_content()


def test_what_a_variant_is_for_is_no_warning(tmp_path: Path, tables: list[ScoreTable]) -> None:
    beam = Evaluation(tmp_path / "beam").run(Reverser(), pool_name="beam", identity={"translate": {"beams": 5}})
    _, page = page_of(tmp_path, [*tables, beam], run=run_info(on_purpose={"beam": {"beams"}}))
    assert page.xpath("//aside") == []
    facts = dict(
        zip(*([each.text_content() for each in page.xpath(f"//dl/div/{tag}")] for tag in ("dt", "dd")), strict=True)
    )
    assert facts["decoded differently on purpose"] == "beam (beams 5 instead of 1)"
    written = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "* decoded differently on purpose: beam (beams 5 instead of 1)" in written
    assert "Not comparable" not in written


def test_several_hubs_and_test_sets(tmp_path: Path) -> None:
    layout = Layout(("en", "de", "nl"), ("en", "de"), {"low": ("nl",)})
    table = Evaluation(tmp_path / "hubs").run(Reverser(), layout=layout, tests={"a": ROWS, "b": ROWS[:1]})
    _, page = page_of(tmp_path, [table])
    views = page.xpath("//table[contains(@class,'heat')]")
    assert [" ".join(view.xpath("string(caption)").split()) for view in views[:3]] == [
        "BLEU, mean of the test sets",
        "BLEU on a",
        "BLEU on b",
    ]
    english = next(row for row in views[0].xpath(".//tr") if row.xpath("string(th/text())").strip() == "English")
    assert [("void" in (cell.get("class") or "")) for cell in english.xpath("td")] == [True, True, False, False]
    sides = [head.text_content().split()[0] for head in page.xpath("//table[contains(@class,'summary')]//th[@colspan]")]
    assert sides == ["to-hub", "from-hub", "between-hubs", "cost"]


def test_failures_alone(tmp_path: Path) -> None:
    """A recipe may ask for nothing but failure rates."""
    table = Evaluation(tmp_path / "failures").run(Reverser(), spec=EvaluateSpec(metrics=("off-target",)))
    _, page = page_of(tmp_path, [table])
    heads = page.xpath("//table[contains(@class,'summary')]/thead/tr[2]/th/text()")
    assert heads[:2] == ["failed %", "failed %"]
    assert not page.xpath("//div[@data-view='quality'] | //form[@data-heat='quality']")
    assert page.xpath("//div[@data-view='failures']")


def test_no_tables_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        page_of(tmp_path, [])
