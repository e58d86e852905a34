"""The funnel as people read it, and the choice of samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.data.filters.identical import IdenticalFilter
from hexapla.data.filters.judging import Rejection
from hexapla.data.funnel import Funnel, funnel_table
from hexapla.data.rows import Row
from hexapla.data.stage import check_corpus
from tests.data.material import data_spec, numbered, write_pairs


def test_table_shows_the_way_of_the_rows(tmp_path: Path) -> None:
    rows = [*numbered(0, 14), ("Taxi!", "taxi"), ("Radio", "Radio"), ("No", "Niemals " * 9), *numbered(0, 2), ("", "x")]
    write_pairs(tmp_path / "news", rows)
    spec = data_spec(
        train=[{"reader": "moses", "path": tmp_path / "news"}],
        split={"test": 2},
        contamination={"action": "drop"},
        clean={"filters": ["identical", "length-ratio", "duplicates"], "samples": 1, "processes": 1},
    )
    summary = check_corpus(spec, ("en", "de"), hubs=("en",), seed=1)
    lines = funnel_table(summary).splitlines()
    table = {name: figures.split() for name, _, figures in (line.partition("  ") for line in lines)}
    assert lines[0] == "train news"
    shown = list(table)
    order = ["records read", "- empty-side", "- held out", "judged by the filters", "1. identical", "kept"]
    assert [shown.index(name) for name in order] == sorted(shown.index(name) for name in order)
    assert table["records read"][0] == "20"
    kept = summary["train"]["news"]["rows"]
    assert table["kept"] == [str(kept), f"{5 * kept:.1f}", str(2 * kept), table["kept"][3]]
    losses = [int(line.split()[-4]) for line in lines if line[:2] in ("1.", "2.", "3.")]
    assert sum(losses) == kept - summary["clean"]["train"]["corpora"]["news"]["rows_judged"]
    assert "The 2 held-out rows stay as they are. Texts that the filters would reject: 0." in lines
    assert any("for example" in line and "identical" in line for line in lines)
    assert sum(line.startswith("  news:") for line in lines) == len(losses)


def test_table_tells_what_the_filters_would_do_to_held_out_rows(tmp_path: Path) -> None:
    write_pairs(tmp_path / "news", [*numbered(0, 3), *((f"Taxi {n}", f"Taxi {n}") for n in range(20))])
    spec = data_spec(
        train=[{"reader": "moses", "path": tmp_path / "news"}],
        split={"test": 8},
        clean={"filters": ["length-ratio", "identical"], "processes": 1},
    )
    summary = check_corpus(spec, ("en", "de"), hubs=("en",))
    (entry,) = summary["clean"]["held_out"]["rejected"]
    assert entry["texts"]["de"] >= 5
    assert (
        f"held-out rows stay as they are. Texts that the filters would reject: identical {entry['texts']['de']}."
        in (funnel_table(summary))
    )


def test_table_without_filters(tmp_path: Path) -> None:
    write_pairs(tmp_path / "news", numbered(0, 20))
    spec = data_spec(train=[{"reader": "moses", "path": tmp_path / "news"}], split={"test": 5})
    text = funnel_table(check_corpus(spec, ("en", "de")))
    assert "judged" not in text
    assert [line.split()[-4:] for line in text.splitlines() if line.startswith(("records", "kept"))] == [
        ["records", "read", "20"][-4:],
        ["kept", "15", "75.0", "30"],
    ]


@pytest.mark.parametrize("num_samples", [0, 1, 4, 50])
def test_samples_do_not_depend_on_the_order(num_samples: int) -> None:
    rows = [Row(f"c:{n}", {"en": f"text {n}", "de": f"text {n}"}, "c") for n in range(40)]
    found = []
    for order in (rows, rows[::-1]):
        funnel = Funnel([IdenticalFilter()], num_samples)
        for row in order:
            funnel.rejected(row, 0, [Rejection(0, "de", "identical", "en")], True)
        found.append(funnel.to_record()["samples"])
    assert found[0] == found[1]
    assert sum(len(entry["texts"]) for entry in found[0]) == min(num_samples, 40)
