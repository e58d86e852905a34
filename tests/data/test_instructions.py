"""General instructions: what is read, what is set aside, what is refused, and how they are mixed with translation."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hexapla.common.errors import UserError
from hexapla.common.seeds import stable_order
from hexapla.data.instructions import (
    TRANSLATION,
    Instruction,
    InstructionFile,
    InstructionMix,
    InstructionSource,
    InstructionsSpec,
    mix_counts,
    mix_instructions,
)

RECORDS = [
    {"instruction": "Name a river.", "input": "", "output": "The Danube."},
    {"instruction": " Sum up. ", "input": "It rains.\nIt pours.\n", "output": "Wet."},
    {"instruction": "Zähle drei Tiere auf.", "input": None, "output": "Hund, Katze, Maus", "id": "alpaca-7"},
    {"instruction": "Say yes.", "output": "はい"},
]


def _write(path: Path, content: bytes | str) -> Path:
    raw = content.encode("utf-8") if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def _lines(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _survey(path: Path, **settings: Any) -> InstructionFile:
    return InstructionFile.survey(InstructionSource(path=str(path), **settings))


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".json.gz", ".jsonl.gz"])
@pytest.mark.parametrize("as_list", [False, True])
def test_lists_and_lines_are_told_apart_by_what_they_hold(tmp_path: Path, ending: str, as_list: bool) -> None:
    content = "\ufeff" + (json.dumps(RECORDS, indent=1) if as_list else _lines(RECORDS) + "\n")
    found = _survey(_write(tmp_path / f"de{ending}", content), language="german")
    assert found.set_asides == {}
    assert len(found) == 4
    assert (
        list(found)
        == list(found)
        == [
            Instruction("de#1", "de", "Name a river.", "", "The Danube."),
            Instruction("de#2", "de", "Sum up.", "It rains.\nIt pours.", "Wet."),
            Instruction("de#alpaca-7", "de", "Zähle drei Tiere auf.", "", "Hund, Katze, Maus"),
            Instruction("de#4", "de", "Say yes.", "", "はい"),
        ]
    )


def test_a_file_may_have_got_a_compression_ending(tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl.gz", _lines(RECORDS))
    assert len(_survey(tmp_path / "a.jsonl")) == 4


def test_bad_records_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    bad = [
        {"instruction": " ", "output": "x"},
        {"output": "x"},
        {"instruction": "x", "output": ""},
        {"instruction": "x", "output": None},
        {"instruction": "x", "output": 3},
        {"instruction": ["x"], "output": "y"},
        {"instruction": "x", "input": {}, "output": "y"},
        "a string",
        None,
        {"instruction": "x", "output": "\ud800"},
        {"instruction": "again", "output": "y", "id": "alpaca-7"},
    ]
    content = _lines(RECORDS).encode() + json.dumps(bad[9]).encode() + b"\n"
    content += _lines(bad[:9] + bad[10:]).encode() + b'{"instruction": "x", \n' + b'{"instruction": "\xff"}\n' + b"  \n"
    found = _survey(_write(tmp_path / "a.jsonl", content))
    assert found.set_asides == {
        "duplicate-id": 1,
        "invalid-utf8": 2,
        "no-instruction": 2,
        "no-output": 2,
        "not-a-record": 2,
        "not-json": 1,
        "not-text": 3,
    }
    assert len(found) == 4
    assert [each.id for each in found] == ["a#1", "a#2", "a#alpaca-7", "a#4"]


@pytest.mark.parametrize(
    ("name", "content", "where", "message"),
    [
        ("a.jsonl", "", "a.jsonl", "no instruction that can be used: it is empty"),
        ("a.json", "[]", "a.json", "it is empty"),
        ("a.jsonl", '\n{"prompt": "x"}\n{}', "a.jsonl:2", r"\(2 no-instruction\).*a record a line, or one list"),
        ("a.json", '{"data": [{"instruction": "x", "output": "y"}]}', "a.json:1", r"\(1 no-instruction\)"),
        ("a.json", '{\n "data": [\n1\n]}', "a.json:1", r"3 not-json.*one list of records"),
        ("a.json", '[{"instruction": "x"', "a.json:1", "JSON list cannot be read"),
        ("a.json", b'[\n{"instruction": "\xff", "output": "y"}]', "a.json:2", "not valid UTF-8"),
        ("a.json", "[]".encode("utf-16"), "a.json", "UTF-16"),
    ],
)
def test_files_without_a_usable_record_are_refused(
    tmp_path: Path, name: str, content: bytes | str, where: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _survey(_write(tmp_path / name, content))
    assert caught.value.where == str(tmp_path / where)


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        _survey(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="folder"):
        _survey(tmp_path)
    whole = gzip.compress(_lines(RECORDS * 50).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not sound gzip"):
        _survey(tmp_path / "cut.jsonl.gz")


def test_names_are_made_from_files_and_must_be_distinct() -> None:
    assert InstructionSource(path="data/Bactrian X (de).json.gz").source == "Bactrian_X_de"
    twice = [{"path": "de/alpaca.json"}, {"path": "en/alpaca.json"}]
    with pytest.raises(ValidationError, match="two files are called alpaca"):
        InstructionsSpec(sources=twice)
    named = InstructionsSpec(sources=[twice[0], {**twice[1], "name": "english"}])
    assert [source.source for source in named.sources] == ["alpaca", "english"]
    with pytest.raises(ValidationError, match="the name translation stands for"):
        InstructionsSpec(sources=[{"path": "translation.json"}])
    with pytest.raises(ValidationError, match="name"):
        InstructionSource(path="a.json", name="a b")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"alpaca": 1.0}, "No weight is given for translation"),
        ({"translation": 1.0}, "No weight is given for alpaca"),
        ({"translation": 1.0, "alpacca": 1.0}, "Did you mean 'alpaca'"),
        ({"translation": 0.0, "alpaca": 1.0}, "mix.weights.translation: must be above 0"),
    ],
)
def test_weights_name_the_sources(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InstructionsSpec(sources=[{"path": "alpaca.json"}], mix={"unit": "rows", "weights": weights})


def test_of_equal_ids_the_first_stands_wherever_they_are(tmp_path: Path) -> None:
    ids = ["x", "y", "x", None, 4, "y", "x", 8]  # the fourth is called 4 by its line, the eighth by its id
    records = [{"instruction": f"Do {n}.", "output": "Done.", "id": own} for n, own in enumerate(ids, 1)]
    found = _survey(_write(tmp_path / "a.jsonl", _lines(records)))
    assert [each.instruction for each in found] == ["Do 1.", "Do 2.", "Do 4.", "Do 8."]
    assert found.set_asides == {"duplicate-id": 4}
    assert found.repeats == {3, 5, 6, 7}


def test_a_survey_knows_how_long_the_instructions_are(tmp_path: Path) -> None:
    spoken = [r["instruction"].strip() + (r.get("input") or "").strip() + r["output"] for r in RECORDS]
    assert _survey(_write(tmp_path / "a.jsonl", _lines(RECORDS))).num_bytes == len("".join(spoken).encode())


def test_a_file_that_is_changed_while_it_is_used_is_refused(tmp_path: Path) -> None:
    found = _survey(_write(tmp_path / "a.jsonl", _lines(RECORDS)))
    _write(tmp_path / "a.jsonl", _lines(RECORDS[:3]))
    with pytest.raises(UserError, match="it had 4 instructions and now has 3"):
        list(found)


# Mixing

TRANSLATIONS = [f"row:{number} de-en" for number in range(100)]


def _made(name: str, number: int) -> list[Instruction]:
    return [Instruction(f"{name}#{index}", None, f"Do {index}.", "", f"Done {index}.") for index in range(number)]


def _mix(
    translations: list[str] = TRANSLATIONS, seed: int = 0, a: int = 40, b: int = 400, **mix: Any
) -> InstructionMix:
    spec = InstructionsSpec(sources=[{"path": "a.json"}, {"path": "b.json"}], mix={"unit": "rows", **mix})
    return mix_instructions(spec, {"a": _made("a", a), "b": _made("b", b)}, translations, seed)


def _counts(mixed: InstructionMix) -> tuple[int, int, int]:
    counts = Counter(each.id[0] for each in mixed.instructions)
    return len(mixed.translations), counts["a"], counts["b"]


def test_without_weights_everything_stands_once() -> None:
    for exhaustion in ("repeat", "stop", "drop"):
        mixed = _mix(exhaustion=exhaustion)
        assert _counts(mixed) == (100, 40, 400)
        assert {each.id for each in mixed.instructions} == {each.id for each in _made("a", 40) + _made("b", 400)}


@pytest.mark.parametrize(
    ("exhaustion", "counts"),
    [
        ("repeat", (100, 100, 50)),  # the 40 of a two and a half times
        ("drop", (100, 40, 50)),
        ("stop", (40, 40, 20)),  # a ends first
    ],
)
def test_shares_hold_for_one_pass_over_the_translations(exhaustion: str, counts: tuple[int, int, int]) -> None:
    mixed = _mix(weights={"translation": 2.0, "a": 2.0, "b": 1.0}, exhaustion=exhaustion)
    assert _counts(mixed) == counts
    ids = [each.id for each in mixed.instructions]
    assert len(set(ids)) == len(ids)
    assert mixed.translations == sorted(set(mixed.translations))


def test_what_stands_again_has_an_id_of_its_own_and_stands_as_often_as_the_others() -> None:
    mixed = _mix(weights={"translation": 2.0, "a": 2.0, "b": 0.0})
    times = Counter(each.instruction for each in mixed.instructions)
    assert len(times) == 40
    assert set(times.values()) == {2, 3}
    firsts = {each.id for each in mixed.instructions if " " not in each.id}
    assert firsts == {each.id for each in _made("a", 40)}
    assert {each.id.partition(" ")[2] for each in mixed.instructions} == {"", "(2)", "(3)"}


def test_a_temperature_evens_sizes_out() -> None:
    assert _counts(_mix(temperature=2.0, a=25)) == (100, 50, 200)  # 100 · (25/100)^½ and 100 · (400/100)^½
    assert _counts(_mix(temperature=2.0, a=25, exhaustion="drop")) == (100, 25, 200)


def test_which_ones_is_a_matter_of_seed_and_id() -> None:
    def chosen(translations: list[str], seed: int) -> tuple[set[str], set[str]]:
        mixed = _mix(translations, seed, weights={"translation": 2.0, "a": 2.0, "b": 1.0}, exhaustion="stop")
        return {translations[each] for each in mixed.translations}, {each.id for each in mixed.instructions}

    assert chosen(TRANSLATIONS, 0) == chosen(TRANSLATIONS[::-1], 0)
    assert chosen(TRANSLATIONS, 0)[0] != chosen(TRANSLATIONS, 1)[0]
    assert chosen(TRANSLATIONS, 0)[1] != chosen(TRANSLATIONS, 1)[1]


def test_nothing_to_mix_with_is_refused() -> None:
    with pytest.raises(UserError, match="no translation examples"):
        _mix([])
    with pytest.raises(UserError, match="'translation' is to be mixed in, but holds nothing"):
        _mix([], weights={"translation": 2.0, "a": 2.0, "b": 1.0})


@settings(deadline=None)
@given(
    weights=st.tuples(*[st.integers(1, 20)] * 3),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    exhaustion=st.sampled_from(["repeat", "stop", "drop"]),
)
def test_counts_are_never_further_from_their_shares_than_exhaustion_allows(
    weights: tuple[int, int, int], sizes: tuple[int, int], exhaustion: str
) -> None:
    a, b = sizes
    named = dict(zip(("translation", "a", "b"), map(float, weights), strict=True))
    num, *found = _counts(_mix(weights=named, a=a, b=b, exhaustion=exhaustion))
    if exhaustion == "stop":
        pass_length = min(100 / weights[0], a / weights[1], b / weights[2])
        wanted = [pass_length * weight for weight in weights]
        assert all(abs(n - w) <= 0.5 + 1e-9 for n, w in zip((num, *found), wanted, strict=True))
        return
    assert num == 100
    for number, size, weight in zip(found, sizes, weights[1:], strict=True):
        wanted = 100 * weight / weights[0]
        assert abs(number - (min(wanted, size) if exhaustion == "drop" else wanted)) <= 0.5 + 1e-9


def test_a_choice_is_what_it_was_when_everything_was_held(tmp_path: Path) -> None:
    """Positions of the translations and what is chosen, in order, as recorded when whole files were read (2026-11)."""
    made = [[{"instruction": f"Do {k}.", "output": f"Done {k}."} for k in range(number)] for number in (90, 240)]
    lines = [{**record, "id": f"x{k % 70}"} if k % 3 else record for k, record in enumerate(made[1])]
    sources = [
        {"path": str(_write(tmp_path / "a.jsonl", _lines(made[0])))},
        {"path": str(_write(tmp_path / "b.json", json.dumps(lines)))},
    ]
    uneven = {"weights": {"translation": 2.0, "a": 3.0, "b": 1.0}}
    recorded = {
        "69e59cdd89267715": ({}, 0),
        "36524893e1247db9": ({"temperature": 2.0}, 0),
        "bfff168ca5566448": ({"temperature": 2.0}, 7),
        "2fcc56b930908c7e": ({**uneven, "exhaustion": "repeat"}, 0),
        "381d8a07a165a15d": ({**uneven, "exhaustion": "repeat"}, 7),
        "44f7f2dd32b7a7af": ({**uneven, "exhaustion": "drop"}, 0),
        "bbee4998d174b06d": ({**uneven, "exhaustion": "stop"}, 0),
        "a645f8ab9d9f7395": ({**uneven, "exhaustion": "stop"}, 7),
    }
    found = []
    for mix, seed in recorded.values():
        spec = InstructionsSpec(sources=sources, mix={"unit": "rows", **mix})
        files = {source.source: InstructionFile.survey(source) for source in spec.sources}
        mixed = mix_instructions(spec, files, TRANSLATIONS, seed)
        chosen = [[each.id, each.instruction, each.output] for each in mixed.instructions]
        found.append(hashlib.sha256(json.dumps([mixed.translations, chosen]).encode()).hexdigest()[:16])
    assert found == list(recorded)


@settings(deadline=None)
@given(number=st.integers(0, 60), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_cut_first_pass_takes_what_the_whole_order_begins_with(number: int, size: int, seed: int) -> None:
    instructions = _made("a", size)
    order = stable_order(seed, [each.id for each in instructions], "instructions", 1)
    spec = InstructionsSpec(
        sources=[{"path": "a.json"}], mix={"weights": {"translation": 100, "a": number}, "unit": "rows"}
    )
    mixed = mix_instructions(spec, {"a": instructions}, TRANSLATIONS, seed)
    assert [each.id for each in mixed.instructions][:size] == [instructions[at].id for at in order[:number]]


def test_counts_are_known_from_sizes_alone() -> None:
    mix = {"weights": {"translation": 2.0, "a": 2.0, "b": 1.0}, "exhaustion": "stop"}
    spec = InstructionsSpec(sources=[{"path": "a.json"}, {"path": "b.json"}], mix={"unit": "rows", **mix})
    assert mix_counts(spec, {TRANSLATION: 100, "a": 40, "b": 400}) == {TRANSLATION: 40, "a": 40, "b": 20}


MEASURE = """
import sys
from pathlib import Path
from hexapla.data.instructions import InstructionFile, InstructionsSpec, mix_instructions

def peak_mib():  # not that of getrusage, which begins with what the parent process had
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

def survey(spec):
    return {source.source: InstructionFile.survey(source) for source in spec.sources}

mix = {"unit": "rows", "weights": {"translation": 1, "a": 1}}
few, many = (InstructionsSpec(sources=[{"path": path, "name": "a"}], mix=mix) for path in sys.argv[1:])
translations = [f"row:{number} de-en" for number in range(500)]
mix_instructions(few, survey(few), translations, 0)
before = peak_mib()
found = survey(many)
mixed = mix_instructions(many, found, translations, 0)
print(len(found["a"]), len(mixed.instructions), peak_mib() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what a process takes")
@pytest.mark.parametrize("as_list", [False, True])
def test_no_more_is_held_than_is_chosen(tmp_path: Path, as_list: bool) -> None:
    """30 MB of instructions, of which 500 are taken, add a few MiB to what a small file needs."""
    paths = []
    for name, number in (("few.json", 1_500), ("many.json", 15_000)):
        lines = [json.dumps({"instruction": f"Do {k}.", "output": f"{k} " + "y" * 2_000}) for k in range(number)]
        content = "[" + ",\n".join(lines) + "]" if as_list else "\n".join(lines)
        paths.append(str(_write(tmp_path / name, content)))
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], check=True, capture_output=True, text=True)
    num_found, num_chosen, grown_mib = done.stdout.split()
    assert (num_found, num_chosen) == ("15000", "500")
    assert float(grown_mib) < 10, grown_mib
