"""JSON lists read element by element: the same elements as a parser of whole files gives, wherever reading is cut."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.data import json_list
from hexapla.data.json_list import stream_json_list

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(VALUES, max_size=6),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    around=st.sampled_from(["", "\n ", "\ufeff"]),
)
def test_elements_are_those_of_the_whole_list(
    tmp_path: Path, values: list[Any], chunk: int, indent: int | None, ascii_only: bool, around: str
) -> None:
    path = tmp_path / "a.json"
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes((around + text + around.strip("\ufeff")).encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "_CHUNK_BYTES", chunk)
        found = list(stream_json_list(path))
    assert repr(found) == repr(values)  # 1 and 1.0 and True are told apart


@pytest.mark.parametrize("number", ["12", "1.5", "1e5", "-0.25E-3", "-Infinity", "true", '"\\ud83d\\ude00"'])
def test_what_the_end_of_a_chunk_cuts_is_put_together(tmp_path: Path, number: str) -> None:
    for blanks in range(30):
        path = tmp_path / "a.json"
        path.write_text(f"[{' ' * blanks}{number}{' ' * 40},{number}]", encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_list, "_CHUNK_BYTES", 20)
            assert list(stream_json_list(path)) == [json.loads(number)] * 2


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[1,\n2", 2, "Expecting ',' delimiter"),
        ("[1,\n]", 2, "Expecting value"),
        ("[1\n2]", 2, "Expecting ',' delimiter"),
        ("[1]\n\n[2]", 3, "Extra data"),
        ('[\n\n{"a": "b', 3, "Unterminated string"),
        ('[\n{"a" 1}]', 2, "Expecting ':' delimiter"),
        ("", 1, "Expecting a list"),
    ],
)
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_what_is_no_list_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_list, "_CHUNK_BYTES", chunk)
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"JSON list cannot be read .*{words}") as caught:
        list(stream_json_list(path))
    assert caught.value.where == f"{path}:{line}"


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "9" * 5_000 + "]"])
def test_what_python_does_not_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"JSON list cannot be read .*(recursion|limit)"):
        list(stream_json_list(tmp_path / "a.json"))


@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_broken_utf8_is_refused_with_its_line(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_list, "_CHUNK_BYTES", chunk)
    for content, line in ((b'["a",\n"b",\n"\xff"]', 3), ('["a",\n"ä'.encode()[:-1], 2)):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(UserError, match="not valid UTF-8") as caught:
            list(stream_json_list(tmp_path / "a.json"))
        assert caught.value.where == f"{tmp_path / 'a.json'}:{line}"


def test_a_fault_is_found_without_reading_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong far from the end of what is read is wrong whatever follows: nothing more is held to make sure."""
    monkeypatch.setattr(json_list, "_CHUNK_BYTES", 64)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b'[{"a" 1}, ' + b" " * 1_000)[:-4])  # its end is missing
    with pytest.raises(UserError, match="Expecting ':' delimiter"):
        list(stream_json_list(tmp_path / "a.json.gz"))
