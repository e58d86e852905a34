"""The cleaning engine: what a chain of filters leaves of rows, in one process or several, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.data.filters import engine as engine_module
from hexapla.data.filters.duplicates import DuplicatesFilter
from hexapla.data.filters.engine import Engine, Item
from hexapla.data.filters.filter import Filter, PairFilter, TextFilter
from hexapla.data.filters.judging import Rejection
from hexapla.data.rows import Row

ROOT = Path(__file__).parents[2]


class WordFilter(TextFilter):
    """Rejects texts that hold a word."""

    filter: Literal["word"] = "word"
    word: str
    reasons: ClassVar[Mapping[str, str]] = {}

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The word is the reason."""
        return [self.word if self.word in text.split() else None for text in texts]


class EqualFilter(PairFilter):
    """Rejects pairs of equal texts."""

    filter: Literal["equal"] = "equal"
    reasons: ClassVar[Mapping[str, str]] = {}

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The pair of languages is the reason."""
        return ["-".join(codes) if a == b else None for a, b in zip(first, second, strict=True)]


class FirstFilter(PairFilter):
    """Rejects all pairs whose first side is in a language."""

    filter: Literal["first"] = "first"
    code: str
    reasons: ClassVar[Mapping[str, str]] = {}

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The pair of languages is the reason."""
        return ["-".join(codes) if codes[0] == self.code else None for _ in first]


class HereFilter(TextFilter):
    """Rejects everything; the reason is the process that judged."""

    filter: Literal["here"] = "here"
    one_process: ClassVar[bool] = True
    reasons: ClassVar[Mapping[str, str]] = {}

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """The process's number is the reason."""
        return [str(os.getpid())] * len(texts)


class ThereFilter(HereFilter):
    """The same in any process."""

    one_process: ClassVar[bool] = False


class FatalFilter(TextFilter):
    """Ends its process, or refuses, when it sees a text."""

    filter: Literal["fatal"] = "fatal"
    how: Literal["kill", "refuse"] = "kill"
    reasons: ClassVar[Mapping[str, str]] = {}

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """Die."""
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("No such model.", where="a/path", hint="Get it.")


class SlowFilter(TextFilter):
    """Takes its time."""

    filter: Literal["slow"] = "slow"
    reasons: ClassVar[Mapping[str, str]] = {}

    def judge(self, code: str, texts: Sequence[str]) -> list[str | None]:
        """Keep all, after a while."""
        time.sleep(0.5)
        return [None] * len(texts)


class Notes:
    """A witness that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, tuple[Rejection, ...], bool]] = []

    def rejected(self, row: Row, step: int, rejections: Sequence[Rejection], is_gone: bool) -> None:
        assert all(rejection.step == step and rejection.code in row.texts for rejection in rejections)
        self.heard.append((row.id, step, tuple(rejections), is_gone))


def items(*texts: dict[str, str]) -> list[Item]:
    return [(number + 1, Row(f"c:{number}", each, "c")) for number, each in enumerate(texts)]


def run(
    filters: Sequence[Filter], rows: Sequence[Item], hubs: tuple[str, ...] = ("en",), **options: Any
) -> tuple[list[Item], Notes]:
    notes = Notes()
    terms = {"pairs": options.pop("pairs", True), "min_languages": options.pop("min_languages", 2)}
    with Engine(filters, hubs, **{"processes": 1, **options}) as engine:
        return list(engine.clean(rows, notes, **terms)), notes


def left(filters: Sequence[Filter], *texts: dict[str, str], **options: Any) -> dict[str, dict[str, str]]:
    return {row.id: dict(row.texts) for _, row in run(filters, items(*texts), **options)[0]}


def test_a_text_goes_and_a_row_that_is_too_small_goes_whole() -> None:
    rows = items({"en": "bad", "de": "gut"}, {"en": "bad", "de": "gut", "fr": "bon"}, {"en": "good", "de": "gut"})
    kept, notes = run([WordFilter(word="bad"), WordFilter(word="gut")], rows)
    assert kept == []
    rejected = [(row, step, [each.code for each in rejections], gone) for row, step, rejections, gone in notes.heard]
    assert rejected == [
        ("c:0", 0, ["en"], True),
        ("c:1", 0, ["en"], False),
        ("c:1", 1, ["de"], True),
        ("c:2", 1, ["de"], True),
    ]
    alone = left(
        [WordFilter(word="bad"), WordFilter(word="bon")], *[dict(row.texts) for _, row in rows], min_languages=1
    )
    assert alone == {"c:0": {"de": "gut"}, "c:1": {"de": "gut"}, "c:2": {"en": "good", "de": "gut"}}


def test_provenance_stays_with_the_texts_that_stay() -> None:
    row = Row("c:0", {"en": "a", "de": "bad", "fr": "c"}, "c", "doc", {"de": "m", "fr": "m"})
    kept, _ = run([WordFilter(word="bad")], [(7, row)])
    assert kept == [(7, Row("c:0", {"en": "a", "fr": "c"}, "c", "doc", {"fr": "m"}))]


def test_pairs_are_those_of_every_hub() -> None:
    rows = (
        {"de": "x", "en": "x", "zh": "z"},  # the other text goes, not the hub's
        {"en": "x", "zh": "x", "de": "y"},  # of two hubs the second goes
        {"en": "x", "zh": "z", "de": "z"},  # also beside the second hub
        {"de": "x", "fr": "x", "it": "y"},  # without a hub: the first language
        {"it": "y", "fr": "x", "de": "x"},
    )
    kept = left([EqualFilter()], *rows, hubs=("en", "zh"))
    assert list(map(list, kept.values())) == [
        ["en", "zh"],
        ["en", "de"],
        ["en", "zh"],
        ["de", "it"],
        ["it", "fr", "de"],
    ]
    kept = left([EqualFilter()], *rows, hubs=("zh", "en"))
    assert list(map(list, kept.values()))[:3] == [["en", "zh"], ["zh", "de"], ["en", "zh"]]
    assert left([EqualFilter()], *rows, pairs=False) == left([], *rows)


def test_what_is_rejected_beside_one_hub_is_not_judged_beside_the_next() -> None:
    rows = items({"en": "x", "zh": "x", "de": "x", "fr": "y"})
    _, notes = run([EqualFilter()], rows, ("en", "zh"))
    assert [(each.code, each.reason) for _, _, rejections, _ in notes.heard for each in rejections] == [
        ("zh", "en-zh"),
        ("de", "en-de"),
    ]


def test_two_hubs_are_judged_once() -> None:
    row = {"de": "c", "zh": "b", "en": "a"}
    assert left([FirstFilter(code="zh")], row, hubs=("en", "zh")) == {"c:0": {"zh": "b", "en": "a"}}


WORDS = st.sampled_from(["a", "b", "c", "bad", "worse"])
ROWS = st.lists(st.dictionaries(st.sampled_from(["de", "en", "fr", "zh"]), WORDS, min_size=2), max_size=12)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, order=st.permutations(range(3)))
def test_chain_is_what_it_would_be_row_by_row(rows: list[dict[str, str]], order: list[int]) -> None:
    chain = [[WordFilter(word="bad"), EqualFilter(), WordFilter(word="worse")][place] for place in order]
    expected = {}
    for number, given_texts in enumerate(rows):
        texts = dict(given_texts)
        for each in chain:
            if isinstance(each, WordFilter):
                texts = {code: text for code, text in texts.items() if text != each.word}
            else:
                for hub in [hub for hub in ("en", "zh") if hub in texts] or list(texts)[:1]:
                    if hub in texts:
                        texts = (
                            {
                                code: text
                                for code, text in texts.items()
                                if code in ("en", hub) or text != texts[hub] or (hub == "zh" and code == "en")
                            }
                            if hub != "en"
                            else {c: t for c, t in texts.items() if c == "en" or t != texts["en"]}
                        )
            if len(texts) < 2:
                break
        else:
            expected[f"c:{number}"] = texts
    assert left(chain, *rows, hubs=("en", "zh")) == expected


def many(number: int) -> list[Item]:
    return items(
        *(
            {"en": f"house {n % 97}", "de": f"{'bad' if n % 5 == 0 else 'Haus'} {n % 101}", "fr": f"house {n % 89}"}
            for n in range(number)
        )
    )


def test_the_same_whatever_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CHUNK_TEXTS", 50)
    chain = [WordFilter(word="bad"), DuplicatesFilter(by="source"), EqualFilter(), DuplicatesFilter(by="text")]
    alone, notes = run(chain, many(700))
    assert {step for _, step, _, _ in notes.heard} == {0, 1, 2, 3}
    together, heard = run(chain, many(700), processes=2, patience_s=0.0)
    assert together == alone
    assert heard.heard == notes.heard


def test_filters_that_want_one_process_get_this_one() -> None:
    _, notes = run([WordFilter(word="bad"), HereFilter()], many(20), processes=2, patience_s=0.0)
    pids = {each.reason for _, step, rejections, _ in notes.heard if step == 1 for each in rejections}
    assert pids == {str(os.getpid())}
    _, notes = run([ThereFilter()], many(20), processes=2, patience_s=0.0)
    assert str(os.getpid()) not in {each.reason for _, _, rejections, _ in notes.heard for each in rejections}


def test_a_killed_process_is_reported() -> None:
    with pytest.raises(UserError, match="process that judged texts was killed"):
        run([FatalFilter()], many(20), processes=2, patience_s=0.0)


def test_a_filters_refusal_comes_through_whole() -> None:
    with pytest.raises(UserError) as caught:
        run([FatalFilter(how="refuse")], many(20), processes=2, patience_s=0.0)
    assert (caught.value.what, caught.value.where, caught.value.hint) == ("No such model.", "a/path", "Get it.")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_ends_all_processes_soon(tmp_path: Path, how: signal.Signals) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from tests.data.test_engine import *\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of some shells ignore it\n"
        "    engine_module.CHUNK_TEXTS = 6\n"
        "    print('go', flush=True)\n"
        "    options = {'processes': 2, 'patience_s': 0.6, 'folder': Path(sys.argv[1])}\n"
        "    run([SlowFilter(), DuplicatesFilter()], many(2000), **options)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 30
        while len(_group(process.pid)) < 3 and time.monotonic() < deadline:  # itself, a tracker, and judges
            time.sleep(0.1)
        assert list(tmp_path.iterdir())
        time.sleep(1)
        process.send_signal(how)
        _, error = process.communicate(timeout=20)
        assert process.returncode != 0
        if how is signal.SIGINT:
            assert error.decode().count("Traceback") == 1
            assert "KeyboardInterrupt" in error.decode()
            assert list(tmp_path.iterdir()) == []
        deadline = time.monotonic() + 5
        while _group(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _group(process.pid) == []
    finally:
        if _group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def _group(group: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


MEASURE = """
import resource, sys
from pathlib import Path
from hexapla.data.filters.duplicates import DuplicatesFilter
from hexapla.data.filters.engine import Engine
from hexapla.data.filters.ratio import RatioFilter
from hexapla.data.funnel import Funnel
from hexapla.data.rows import Row

def rows(number):
    for n in range(number):
        k = n % 1500000
        yield n, Row(f"c:{n}", {"en": f"House number {k} is red.", "de": f"Haus Nummer {k} ist rot."}, "c")

def peak_mib():  # not that of getrusage, which begins with what the parent process had
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024

if __name__ == "__main__":
    num_rows = int(sys.argv[1])
    chain = (RatioFilter(), DuplicatesFilter(exact=True))
    funnel = Funnel(chain, 5)
    before = peak_mib()
    with Engine(chain, ("en",), processes=2) as engine:
        kept = sum(1 for _ in engine.clean(funnel.entering(rows(num_rows)), funnel, pairs=True, min_languages=2))
    own = peak_mib()
    print(kept, before, own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def _measure(tmp_path: Path, num_rows: int) -> list[int]:
    script = tmp_path / "measure.py"
    script.write_text(MEASURE, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script), str(num_rows)], check=True, capture_output=True, text=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_million_rows_stay_under_a_gigabyte(tmp_path: Path) -> None:
    kept, before_mib, own_mib, child_mib = _measure(tmp_path, 2_000_000)
    assert kept == 1_500_000
    assert own_mib + 2 * child_mib < 1024
    assert own_mib - before_mib < 150
