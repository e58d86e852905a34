"""Artifacts appear whole or not at all; seeds depend on names only; other people's text is read line by line."""

import errno
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.common import artifacts
from hexapla.common.errors import CorruptArtifactError, UserError, nearest, require_extra
from hexapla.common.progress import Progress, duration
from hexapla.common.seeds import derive_seed, stable_order, uniform
from hexapla.common.textfiles import read_lines


def test_a_failed_build_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "thing"
    with artifacts.new_artifact(folder, {"kind": "first"}) as aside:
        (aside / "data").write_text("1")
    with pytest.raises(RuntimeError), artifacts.new_artifact(folder, {"kind": "second"}) as aside:  # noqa: PT012
        (aside / "data").write_text("2")
        raise RuntimeError
    assert artifacts.is_complete(folder)
    assert (folder / "data").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_folder_without_manifest_is_not_complete_and_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "half").write_text("x")
    assert not artifacts.is_complete(folder)
    with artifacts.new_artifact(folder, {}) as aside:
        (aside / "whole").write_text("y")
    assert sorted(path.name for path in folder.iterdir()) == ["artifact.json", "whole"]


def test_a_full_disk_is_a_clear_error_and_keeps_the_old_file() -> None:
    # /dev/full refuses every write with ENOSPC: the real error, not an imitation of it.
    full = Path("/dev/full")
    with pytest.raises(UserError, match="disk is full"), artifacts.explain_os_errors(full), full.open("w") as file:
        file.write("x" * 100_000)


def test_other_os_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="odd") as caught, artifacts.explain_os_errors(tmp_path):
        raise OSError(errno.EIO, "odd")
    assert not isinstance(caught.value, UserError)


def test_damaged_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text('{"a": 1')
    with pytest.raises(CorruptArtifactError, match=r"pool\.json"):
        artifacts.read_json(path)


def test_seeds_do_not_depend_on_the_process() -> None:
    code = (
        "from hexapla.common.seeds import *; "
        "print(derive_seed(0, 'de-en'), uniform(0, 'a'), stable_order(1, ['x', 'y', 'z'], 'e'))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(outputs) == 1
    assert derive_seed(0, "a", "b") != derive_seed(0, "ab")
    assert derive_seed(0, "a") != derive_seed(1, "a")


@given(st.lists(st.text(min_size=1), unique=True, min_size=2), st.randoms())
def test_stable_order_does_not_depend_on_the_input_order(ids: list[str], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(ids)
    random.shuffle(shuffled)
    first = [ids[i] for i in stable_order(5, ids, "epoch", 0)]
    second = [shuffled[i] for i in stable_order(5, shuffled, "epoch", 0)]
    assert first == second


def test_uniform_is_uniform() -> None:
    values = [uniform(3, f"row:{i}") for i in range(20_000)]
    assert abs(sum(values) / len(values) - 0.5) < 0.01
    assert abs(sum(value < 0.05 for value in values) / len(values) - 0.05) < 0.006


def test_lines_of_every_kind_of_file(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfone\r\ntwo\xe2\x80\xa8still two\n\xff broken\n\nlast"
    expected = ["one", "two\u2028still two", None, "", "last"]
    plain, zipped = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_bytes(content)
    zipped.write_bytes(gzip.compress(content))
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "a.txt.zst").write_bytes(zstandard.ZstdCompressor().compress(content))
    for path in (plain, zipped, tmp_path / "a.txt.zst"):
        assert list(read_lines(path)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt.gz", gzip.compress(b"some text\n" * 1000, mtime=0)[:-40], "not sound gzip"),
        ("b.txt.gz", b"not gzip at all", "not sound gzip"),
        ("c.txt.zst", b"not zstandard", "not sound Zstandard"),
        ("d.txt", "hello\n".encode("utf-16"), "UTF-16"),
    ],
    ids=["cut-gzip", "no-gzip", "no-zstandard", "utf-16"],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        list(read_lines(path))
    assert caught.value.where == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        list(read_lines(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is a folder"):
        list(read_lines(tmp_path))


def test_nearest_and_extras() -> None:
    assert nearest("Germn", ["German", "French"]) == "Did you mean 'German'?"
    assert nearest("qqq", ["a", "b"]) == "Known: a, b."
    with pytest.raises(UserError, match=r'pip install "hexapla\[zstd\]"'):
        require_extra("no_such_module_at_all", "zstd", "Reading x.zst")


def test_durations_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert [duration(s) for s in (4.4, 75, 7500)] == ["4 s", "1 min 15 s", "2 h 05 min"]
    progress = Progress("train", 10, unit="steps")
    progress.advance(10)
    progress.close("loss 1.0")
    assert "train: 10/10 steps" in capsys.readouterr().err


def test_jsonl_round_trip_keeps_odd_line_separators(tmp_path: Path) -> None:
    records = [{"text": "a\u2028b"}, {"text": "c\u0085d"}]
    artifacts.write_jsonl(tmp_path / "r.jsonl", records)
    assert artifacts.read_jsonl(tmp_path / "r.jsonl") == records
    assert json.loads((tmp_path / "r.jsonl").read_text(encoding="utf-8").split("\n")[0]) == records[0]
