"""Processes that share out the adapters: what they hand over, how they end, and that the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hexapla.common.artifacts import read_json, write_json
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.bank import capacity
from hexapla.train.bank.waves import PLAN_FILE
from hexapla.train.bank.workers import Call, run_apart
from hexapla.train.spec import BankSpec
from tests.threads import torch_threads
from tests.train.bank import apart
from tests.train.bank.runs import Recorded, outcome, tasks, train
from tests.train.material import train_spec

_DEADLINE_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether a process exists and is more than an entry that nobody has asked for."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_results_events_and_lines_reach_the_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delivered: dict[str, str] = {}
    log = Recorded()

    def deliver(name: str, fill: Any) -> None:
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
        (file,) = (tmp_path / name).iterdir()
        delivered[name] = f"{file.name} {file.read_text()}"

    calls = [Call(f"share-{name}", tmp_path / "aside", apart.work, (name,)) for name in "abc"]
    run_apart(calls, num_processes=2, deliver=deliver, log=log)
    assert sorted(delivered) == ["a", "a-2", "b", "b-2", "c", "c-2"]
    assert (delivered["a"], delivered["b"]) == ("place.txt 0", "place.txt 1")
    assert delivered["c"] in ("place.txt 0", "place.txt 1")
    assert len({delivered[name] for name in ("a-2", "b-2", "c-2")} | {f"process.txt {os.getpid()}"}) == 4
    assert sorted(event["name"] for event in log.of("begin")) == ["a", "b", "c"]
    assert "share-a: about a\n" in capsys.readouterr().err
    assert list((tmp_path / "aside").iterdir()) == []


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        (apart.refuse, CorruptArtifactError, r"here: The file is damaged\. Delete it\."),
        (apart.fail, RuntimeError, r"(?s)failing failed:.*in fail\n.*ZeroDivisionError: one over nothing"),
        (apart.die, UserError, r"The process of failing was killed \(SIGKILL\)"),
    ],
)
def test_an_error_in_one_process_reaches_the_user_and_ends_the_others(
    target: Any, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    calls = [
        Call("sleeping", tmp_path, apart.sleep, (str(note),)),
        Call("failing", tmp_path, target, (str(note),)),
    ]
    with pytest.raises(kind, match=text):
        run_apart(calls, num_processes=2, deliver=lambda _name, _fill: None, log=Recorded())
    assert not is_alive(int(note.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    note = tmp_path / "note"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-m", "tests.train.bank.apart", str(note)], env=environment) as parent:
        try:
            until(note.exists)
            child = int(note.read_text())
            assert is_alive(child)
        finally:
            parent.send_signal(signal.SIGKILL)
        parent.wait()
    until(lambda: not is_alive(child))


# Training


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_two_processes_train_what_one_does_with_their_plan(
    qwen3_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    log = Recorded()
    train(qwen3_base, train_spec(bank=BankSpec(processes=2)), tasks(3), two, log=log)
    told = capsys.readouterr().err.splitlines()
    assert sum(" finished at step " in line for line in told) == 3
    assert "3 adapters (3 finished)" in told[-1]
    assert {event["adapter"] for event in log.of("train-end")} == {"adapter-0", "adapter-1", "adapter-2"}
    plan = read_json(two / "work" / PLAN_FILE)
    assert [[list(wave) for wave in share] for share in plan["shares"]] == [
        [["adapter-0"]],
        [["adapter-1", "adapter-2"]],
    ]
    write_json(one / "work" / PLAN_FILE, plan)
    train(qwen3_base, train_spec(bank=BankSpec(processes=1)), tasks(3), one)
    for name in ("adapter-0", "adapter-1", "adapter-2"):
        assert outcome(one / name) == outcome(two / name)


@pytest.mark.slow
def test_a_cpu_of_two_threads_has_two_processes_where_that_pays(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "_PROCESS_FLOPS", 1.0)
    monkeypatch.setattr(capacity, "_IMBALANCE", 2.0)
    with torch_threads(2):
        train(qwen3_base, train_spec(), tasks(3)[1:], tmp_path)
    plan = read_json(tmp_path / "work" / PLAN_FILE)
    assert [[list(wave) for wave in share] for share in plan["shares"]] == [[["adapter-1"]], [["adapter-2"]]]
