"""The report in a browser, opened from the disk: heat map, sentences, downloads; nothing may end up in the console."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hexapla.analyze.browser import Browser
from hexapla.analyze.observed import keys
from hexapla.analyze.report import RunInfo, write_report
from hexapla.common.artifacts import write_jsonl
from hexapla.data.rows import Row
from hexapla.evaluate.comparison import PoolCost
from hexapla.evaluate.scores import Figure, ScoreTable
from hexapla.languages import Direction
from hexapla.plan import Side
from tests.analyze.blocks import unpack
from tests.evaluate.world import Evaluation, Said

NUM_ROWS = 47
NOUNS = ("house", "river", "train", "garden", "window", "letter", "bridge")
GERMAN = ("Haus", "Fluss", "Zug", "Garten", "Fenster", "Brief", "Brücke")
DE_EN = Direction("de", "en")
ROWS = [
    Row(
        f"book:{number}",
        {
            "en": f'The {NOUNS[number % 7]} is number {number}, and <b>this</b> is the "rest" of the sentence.',
            "de": f"{GERMAN[number % 7]}: Nummer {number}, und dies ist der Rest des Satzes.",
            "nl": f"Nummer {number} is hier, en dit is de rest van de zin.",
        },
        "book",
    )
    for number in range(NUM_ROWS)
]


def typist(num_errors: Callable[[int], int]) -> Any:
    """Translates as the reference has it, without some of its last words; without any where the number is 13."""
    references = {
        (row.texts[source], target): (number, row.texts[target])
        for number, row in enumerate(ROWS)
        for source in row.texts
        for target in row.texts
    }

    def translate(requests: list[tuple[str, Direction]]) -> Iterator[tuple[int, Said]]:
        for position, (text, direction) in enumerate(requests):
            number, reference = references[text, direction.target]
            words = reference.split()[: -num_errors(number) or None]
            yield position, Said("" if number == 13 else " ".join(words), "length" if number == 5 else "stop")

    return translate


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[ScoreTable]:
    folder = tmp_path_factory.mktemp("tables")
    errors = {"base": lambda n: (5 * n) % 8, "dat": lambda n: (3 * n) % 5}
    return [
        Evaluation(folder / name).run(typist(wrong), pool_name=name, tests={"book": ROWS})
        for name, wrong in errors.items()
    ]


@pytest.fixture(scope="module")
def folder(tables: list[ScoreTable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    costs = {"dat": PoolCost(3, 62_600_000, 12.4)}
    run = RunInfo("tiny", {"base": "builtin:tiny"}, {}, {}, {"corpus": 1.0}, costs, {"rows": NUM_ROWS})
    write_report(folder, run=run, tables=tables, training={}, merges={})
    return folder


def test_blocks_hold_every_sentence_and_every_score(tables: list[ScoreTable]) -> None:
    browser = Browser(tables)
    for key in keys(tables):
        browser.add(key, {table.pool: table.segments(*key) for table in tables})
    index = browser.index()
    assert browser.num_rows == 4 * NUM_ROWS == sum(entry["rows"] for entry in index["directions"])
    assert len(browser.blocks) == 4 + 3  # directions, and languages of which each is shared by all its directions
    for entry in index["directions"]:
        block, sources, targets = (
            json.loads(unpack(browser.blocks[entry[name]])) for name in ("block", "sourceBlock", "targetBlock")
        )
        for pool, table in enumerate(tables):
            for row, segment in enumerate(table.segments(entry["test"], Direction.parse(entry["direction"]))):
                assert block["ids"][row] == segment["id"]
                assert sources[segment["id"]] == segment["source"]
                assert targets[segment["id"]] == segment["reference"]
                assert block["outputs"][row][pool] == segment["hypothesis"]
                assert block["scores"]["chrf++"][pool][row] == round(segment["scores"]["chrf++"], 1)
                assert block["finish"][pool].get(str(row), "stop") == segment["finish"]
                failed = {index["failures"][bit]["name"] for bit in range(9) if block["failed"][pool][row] >> bit & 1}
                assert failed == {name["name"] for name in index["failures"] if segment["scores"].get(name["name"])}


def test_a_text_that_differs_between_directions_is_not_shared(tables: list[ScoreTable]) -> None:
    browser = Browser(tables[:1])
    first, second = keys(tables)[:2]
    segments = [dict(segment) for segment in tables[0].segments(*second)]
    shared = "source" if first[1].source == second[1].source else "reference"
    segments[0][shared] = "something else"
    browser.add(first, {"base": tables[0].segments(*first)})
    browser.add(second, {"base": segments})
    entries = browser.index()["directions"]
    assert shared not in json.loads(unpack(browser.blocks[entries[0]["block"]]))
    assert json.loads(unpack(browser.blocks[entries[1]["block"]]))[shared][0] == "something else"


# In Chromium


@pytest.fixture(scope="module")
def driver(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no Chromium with its chromedriver here (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless=new",
        "no-sandbox",  # CI runs as root
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        "host-resolver-rules=MAP * ~NOTFOUND",
        "window-size=1280,900",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The path is given: otherwise selenium would look for a driver in the network.
    service = webdriver.ChromeService(executable_path=chromedriver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture
def page(driver: Any, folder: Path) -> Iterator[Any]:
    driver.get((folder / "report.html").as_uri())
    yield driver
    assert driver.get_log("browser") == []


def eventually(ask: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, "this never came"
        time.sleep(0.02)
    return answer


def choose(page: Any, form: str, **values: str) -> None:
    """Set controls as a person does: each by its visible effect, the events of the page included."""
    for name, value in values.items():
        page.execute_script(
            """
            const control = document.querySelector(arguments[0]).elements[arguments[1]];
            if (control.tagName === "SELECT") {
              const option = [...control.options].find((found) => found.text === arguments[2]);
              if (!option) throw new Error(`no option ${arguments[2]}`);
              control.value = option.value;
            } else control.value = arguments[2];
            control.dispatchEvent(new Event("input", { bubbles: true }));
            control.dispatchEvent(new Event("change", { bubbles: true }));
            """,
            f"[data-controls={form}]",
            name,
            value,
        )


def listed(page: Any) -> list[str]:
    """Ids of the sentences on all pages of the list, in order."""
    return page.execute_async_script(
        """
        const done = arguments[0], found = [];
        const next = document.querySelector("[data-step='1']");
        document.querySelector("[data-step='-1']").disabled || alert("not on the first page");
        for (;;) {
          for (const id of document.querySelectorAll("#listed h3 small:first-of-type")) found.push(id.textContent);
          if (next.disabled) break;
          next.click();
        }
        done(found);
        """
    )


def reading(page: Any, expected: str) -> None:
    eventually(lambda: page.find_element("css selector", "#segments output").text == expected)


def test_the_heat_map_shows_figures_differences_and_details(page: Any, tables: list[ScoreTable]) -> None:
    def cell(pool: int) -> Any:
        return page.find_element(
            "css selector", f"[data-view=quality]:not([hidden]) td[data-direction='de-en'][data-pool='{pool}']"
        )

    values = [table.by_direction("chrf++")[DE_EN] for table in tables]
    choose(page, "heat", view="chrF++")
    assert [cell(pool).text for pool in (0, 1)] == [f"{value:.1f}" for value in values]
    choose(page, "heat", against="difference to base")
    assert cell(0).text == f"{values[0]:.1f}"
    assert cell(1).text == f"{values[1] - values[0]:+.1f}".replace("-", "−")
    detail = json.loads(unpack(page.find_element("id", "details").get_attribute("textContent")))
    low, high = detail["gaps"][1]["de-en"][0]
    assert low < values[1] - values[0] < high
    eventually(lambda: ("sure" in cell(1).get_attribute("class")) == (low > 0 or high < 0))
    choose(page, "heat", against="values")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", cell(0))
    page.execute_script("arguments[0].tabIndex = 0; arguments[0].focus()", cell(0))
    cell(0).send_keys("\ue014")  # arrow to the right
    assert page.switch_to.active_element == cell(1)
    detail = eventually(lambda: page.find_element("id", "detail").text)
    assert detail.startswith("dat, German → English")
    assert f"chrF++ {values[1]:.1f}" in detail
    assert str(tables[1].signature("chrf++", "book", DE_EN)) in detail.replace("\n", "")
    cell(1).send_keys("\ue007")  # enter
    reading(page, f"{NUM_ROWS} of {NUM_ROWS} sentences")
    assert page.find_element("css selector", "#segments [name=direction]").get_property("value") == "de-en"


def test_sentences_are_filtered(page: Any) -> None:
    choose(page, "segments", direction=f"German → English ({NUM_ROWS})")
    reading(page, f"{NUM_ROWS} of {NUM_ROWS} sentences")
    choose(page, "segments", words="RIVER is number 1,")
    reading(page, f"1 of {NUM_ROWS} sentences")
    assert listed(page) == ["book:1"]
    choose(page, "segments", words="", failure="empty")
    reading(page, f"1 of {NUM_ROWS} sentences")
    assert page.find_element("css selector", "#listed .badge").text == "empty"
    choose(page, "segments", failure="cut off")
    eventually(lambda: listed(page) == ["book:5"])
    choose(page, "segments", failure="all sentences", low="0", high="0", scope="dat")
    eventually(lambda: listed(page) == ["book:13"])
    choose(page, "segments", low="", high="", direction="all directions")
    reading(page, f"{4 * NUM_ROWS} of {4 * NUM_ROWS} sentences")


def test_sentences_are_sorted(page: Any, tables: list[ScoreTable]) -> None:
    scores = [{s["id"]: round(s["scores"]["chrf++"], 1) for s in table.segments("book", DE_EN)} for table in tables]
    choose(page, "segments", direction=f"German → English ({NUM_ROWS})")
    reading(page, f"{NUM_ROWS} of {NUM_ROWS} sentences")
    choose(page, "segments", metric="chrF++", sort="score", first="dat")
    lowest = eventually(lambda: (found := listed(page))[0] != "book:0" and found)
    assert lowest == sorted(scores[1], key=lambda row: scores[1][row])
    choose(page, "segments", sort="difference", first="dat", second="base", order="highest")
    gaps = {row: scores[1][row] - scores[0][row] for row in scores[0]}
    best = eventually(lambda: page.find_elements("css selector", "#listed .gap") and listed(page))
    assert len(best) == NUM_ROWS
    assert [round(gaps[row], 6) for row in best] == sorted((round(gap, 6) for gap in gaps.values()), reverse=True)


def test_a_difference_holds_both_texts(page: Any) -> None:
    pairs = [
        ("", "abc"),
        ("abc", ""),
        ("same", "same"),
        ("Der Fahrer mag Katzen.", "Mein Sohn mag Katzen."),
        ("نص عربي قصير", "نص عربي طويل"),
        ("👩‍👩‍👧 e\u0301t\u00e9", "👩‍👧 \u00e9te\u0301"),
        ("x" * 2000, "y" * 2000),
        ("a b " * 400, "b a " * 400),
    ]
    for first, second in pairs:
        pieces = page.execute_script("return difference(arguments[0], arguments[1])", first, second)
        assert "".join(text for kind, text in pieces if kind != "ins") == first
        assert "".join(text for kind, text in pieces if kind != "del") == second
    pieces = page.execute_script("return difference('the old house stands', 'the new house stood')")
    assert ["same", " house st"] in pieces
    choose(page, "segments", direction=f"German → English ({NUM_ROWS})", words="book:7")
    reading(page, f"1 of {NUM_ROWS} sentences")
    shown = page.find_elements("css selector", "#listed tbody tr")
    texts = [row.find_element("css selector", "td").text for row in shown]
    assert "<b>this</b>" in texts[1]
    assert shown[2].find_elements("css selector", "del")


SPANS = [  # places count code points: the family is three of them
    {"text": "<s>", "severity": "minor", "start": 0, "end": 0, "confidence": 0.5512},
    {"text": "<b>Ein", "severity": "critical", "start": 4, "end": 10, "confidence": 0.98},
    {"text": "in", "severity": "major", "start": 9, "end": 10, "confidence": 0.7},
    {"text": "Haus", "severity": "major", "start": 11, "end": 15, "confidence": 0.7049},
]
MARKED = "👩\u200d👧 <b>Ein Haus"


def found_in(row: int) -> list[dict[str, Any]]:
    return [] if row == 0 else SPANS[:1] if row == 5 else SPANS


@pytest.fixture(scope="module")
def with_errors(tables: list[ScoreTable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of scores in which only the second pool's hold errors, as those of an earlier Hexapla do not."""
    folder = tmp_path_factory.mktemp("errors")
    copies = []
    for table in tables:
        shutil.copytree(table.folder, folder / table.pool)
        loaded = ScoreTable.load(folder / table.pool)
        for entry in loaded.entries:
            figures: Any = entry.figures
            figures["xcomet-xl"] = Figure(None if entry.file is None else 90.0, "by hand")
            records = loaded.segments(entry.test, entry.direction)
            for number, record in enumerate(records):
                record["scores"]["xcomet-xl"], record["statistics"]["xcomet-xl"] = 90.0, [0.9, 1.0]
                if table.pool == "dat":
                    record["hypothesis"] = MARKED
                    record["errors"] = {"xcomet-xl": found_in(number)}
            if entry.file is not None:
                write_jsonl(loaded.folder / entry.file, records)
        copies.append(replace(loaded, metrics=(*loaded.metrics, "xcomet-xl")))
    run = RunInfo("tiny", {"base": "builtin:tiny"}, {}, {}, {}, {}, {})
    return write_report(folder, run=run, tables=copies, training={}, merges={})


def test_blocks_hold_the_errors_where_they_were_kept(with_errors: Path) -> None:
    tables = [ScoreTable.load(with_errors.parent / name) for name in ("base", "dat")]
    tables = [replace(table, metrics=(*table.metrics, "xcomet-xl")) for table in tables]
    browser = Browser(tables)
    for key in keys(tables):
        browser.add(key, {table.pool: table.segments(*key) for table in tables})
    index = browser.index()
    assert [metric["title"] for metric in index["withErrors"]] == ["xCOMET-XL"]
    for entry in index["directions"]:
        block = json.loads(unpack(browser.blocks[entry["block"]]))
        assert block["errors"] == {"xcomet-xl": [[None] * NUM_ROWS, [found_in(row) for row in range(NUM_ROWS)]]}


def test_errors_are_marked(driver: Any, with_errors: Path) -> None:
    def shown() -> list[list[Any]]:
        bodies = driver.find_elements("css selector", "#listed tbody")
        return [body.find_elements("css selector", "tr:not(.given)") for body in bodies]

    def key(kind: str) -> Any:
        return driver.find_element("css selector", f"[data-key={kind}]")

    driver.get(with_errors.as_uri())
    choose(driver, "segments", direction=f"German → English ({NUM_ROWS})")
    reading(driver, f"{NUM_ROWS} of {NUM_ROWS} sentences")
    rows = shown()
    for number in (1, 2):
        base, dat = rows[number]
        assert not base.find_elements("css selector", "mark")
        assert "errors were not kept" in base.text
        marks = dat.find_elements("css selector", "mark")
        assert [mark.get_attribute("textContent") for mark in marks] == ["", "<b>Ein", "", "Haus"]
        assert [mark.get_attribute("class") for mark in marks] == [span["severity"] for span in SPANS]
        assert marks[3].get_attribute("title") == "major error, 70 % sure"
        assert dat.find_element("css selector", ".text").get_attribute("textContent") == MARKED
        assert "not kept" not in dat.text
    assert not rows[0][1].find_elements("css selector", "mark")  # looked for, and none found
    assert "not kept" not in rows[0][1].text
    styles = [mark.value_of_css_property("text-decoration-style") for mark in marks]
    assert styles == ["dotted", "wavy", "solid", "solid"]
    assert "as xCOMET-XL sees it" in key("errors").text
    assert not key("differences").is_displayed()
    choose(driver, "segments", failure="critical errors, by xCOMET-XL")
    reading(driver, f"{NUM_ROWS - 2} of {NUM_ROWS} sentences")
    choose(driver, "segments", scope="base")
    reading(driver, f"0 of {NUM_ROWS} sentences")
    choose(driver, "segments", failure="all sentences")
    reading(driver, f"{NUM_ROWS} of {NUM_ROWS} sentences")
    choose(driver, "segments", mark="differences from the reference")
    eventually(lambda: key("differences").is_displayed() and not key("errors").is_displayed())
    assert not driver.find_elements("css selector", "#listed mark")
    assert driver.find_elements("css selector", "#listed ins")
    choose(driver, "segments", mark="nothing")
    eventually(lambda: not driver.find_elements("css selector", "#listed ins"))
    assert not key("differences").is_displayed()
    assert driver.get_log("browser") == []


def test_without_errors_there_is_nothing_to_choose(page: Any) -> None:
    choices = page.find_element("css selector", "#segments [name=mark]").text.split("\n")
    assert [choice.strip() for choice in choices if choice.strip()] == [
        "differences from the reference", "differences from base", "differences from dat", "nothing",
    ]  # fmt: skip


def test_downloads_are_the_files_beside_the_page(page: Any, folder: Path, tmp_path: Path) -> None:
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    names = {button.get_attribute("data-csv") for button in page.find_elements("css selector", "button[data-csv]")}
    assert {"summary", "figures", "failures"} <= names <= {path.stem for path in (folder / "tables").iterdir()}
    for name in ("summary", "pools-to-hub-chrf++"):
        page.execute_script(f"document.querySelector(\"button[data-csv='{name}']\").click()")
        text = eventually(lambda name=name: (path := tmp_path / f"{name}.csv").is_file() and path.read_bytes())
        assert text == (folder / "tables" / f"{name}.csv").read_bytes()
    choose(page, "segments", direction=f"German → English ({NUM_ROWS})", words="number 13,")
    reading(page, f"1 of {NUM_ROWS} sentences")
    page.execute_script("document.querySelector('[data-listed]').click()")
    path = tmp_path / "sentences.csv"
    text = eventually(lambda: path.is_file() and path.read_text(encoding="utf-8"))
    head, line = csv.reader(io.StringIO(text))
    shown = dict(zip(head, line, strict=True))
    assert [shown["id"], shown["source"], shown["reference"]] == ["book:13", ROWS[13].texts["de"], ROWS[13].texts["en"]]
    assert [shown["dat"], shown["dat chrF++"], shown["dat failures"]] == ["", "0", "empty; lost items: number"]


def test_an_old_browser_is_told_what_it_lacks(page: Any) -> None:
    page.execute_script("window.DecompressionStream = undefined; document.getElementById('segments').scrollIntoView()")
    said = eventually(lambda: page.find_element("id", "listed").text)
    assert said.startswith("This browser cannot unpack the data in this page")


def test_without_scripts_all_figures_are_shown(driver: Any, folder: Path, tables: list[ScoreTable]) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get((folder / "report.html").as_uri())
    views = [view for view in driver.find_elements("css selector", "[data-view=quality]") if view.is_displayed()]
    assert len(views) == 2
    assert f"{tables[0].mean('bleu', Side.TO_HUB):.1f}" in driver.find_element("css selector", ".summary").text
    assert "needs JavaScript" in driver.find_element("css selector", "#segments").text
    assert not [b for b in driver.find_elements("css selector", "button, select") if b.is_displayed()]
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
