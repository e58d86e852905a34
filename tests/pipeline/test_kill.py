"""Killed by `kill -9` or by Ctrl-C at several moments, the same command continues and ends with the same bytes."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hexapla.common.artifacts import read_jsonl
from tests.pipeline.world import Finished, files_of, results, run

# Checkpoints after every step and batches of a sentence or two: there is much to lose at every moment. Enough steps and
# sentences that a moment is not over before it is seen.
SETTINGS = (
    *("--set", "train.checkpoint_every_s=0", "--set", "train.epochs=5"),
    *("--set", "translate.batch_tokens=30", "--set", "translate.max_extra_tokens=12"),
)
# A shell starts jobs in the background with SIGINT ignored, which children inherit, and the tests may be such a job.
INTERRUPTIBLE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hexapla.cli.main import main; sys.exit(main(sys.argv[1:]))"
)
LIMIT_S = 90.0
ADAPTERS = {"de-en", "en-de", "en-nl", "en-west", "nl-en"}
Moment = Callable[[Path], bool]


def last_event(out: Path) -> tuple[str, str | None]:
    """The newest whole line of the run's log: the event, and its stage if it has one."""
    text = (out / "run.jsonl").read_text(encoding="utf-8") if (out / "run.jsonl").is_file() else ""
    if not text.endswith("\n"):
        return "", None
    [*_, event] = read_jsonl(out / "run.jsonl")
    return event["event"], event.get("stage")


def training_begun(out: Path) -> bool:
    """The bank has a checkpoint, and no adapter is finished."""
    pattern = str(out / "work/adapter-all-*/**/generation-*/artifact.json")
    return any(glob.iglob(pattern, recursive=True))  # pathlib's stops at a folder that is renamed while it looks


def an_adapter_finished(out: Path) -> bool:
    """The first adapter is finished, and not all are."""
    return any(out.glob("artifacts/adapter-*/artifact.json"))


def merging(out: Path) -> bool:
    """The first merge has begun."""
    return last_event(out) == ("stage-start", "merge") and any((out / "artifacts").glob(".pool-*.merging"))


def translating(out: Path) -> bool:
    """The third pool, which is the second of the trained ones, has some of its translations."""
    logs = list(out.glob("translations/*/hypotheses.jsonl"))
    return len(logs) == 3 and min(log.read_bytes().count(b"\n") for log in logs) >= 3


def stop_at(recipe: Path, out: Path, moment: Moment, kind: signal.Signals) -> tuple[int, str]:
    """Run until `moment` and send a signal; returns the exit code and standard error."""
    errors = out.with_suffix(".log")
    command = [sys.executable, "-c", INTERRUPTIBLE, "run", str(recipe), "--out", str(out), *SETTINGS]
    deadline = time.monotonic() + LIMIT_S
    with errors.open("wb") as log, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process:
        while not moment(out) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(kind)
        process.wait(timeout=30)
    return process.returncode, errors.read_text(encoding="utf-8")


def finished_stages(out: Path) -> dict[str, bytes]:
    """Every file of the stages that are finished."""
    files = files_of(out / "artifacts")
    return {name: content for name, content in files.items() if f"{name.split('/')[0]}/artifact.json" in files}


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_with_the_same_bytes(copied: Finished, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    before: dict[str, bytes] = {}
    for moment in (training_begun, an_adapter_finished, merging, translating):
        code, errors = stop_at(copied.recipe, out, moment, signal.SIGKILL)
        assert code == -signal.SIGKILL, errors
        found = finished_stages(out)
        assert [name for name in before if found.get(name) != before[name]] == []
        before = found
    assert {name.split("-")[0] for name in before} == {"corpus", "adapter", "pool", "scores"}
    run(copied.recipe, out, *SETTINGS)
    run(copied.recipe, copied.out, *SETTINGS)
    ended, reference = results(out), results(copied.out)
    assert ended.keys() == reference.keys()
    assert [name for name in ended if ended[name] != reference[name]] == []
    events = read_jsonl(out / "run.jsonl")
    assert {event["adapter"] for event in events if event["event"] == "train-end"} == ADAPTERS
    assert any(event["event"] == "train-resume" for event in events)
    assert list((out / "work").iterdir()) == []
    assert [path for path in out.rglob("*") if path.name.endswith(".part")] == []


@pytest.mark.slow
def test_interrupted_twice_by_the_user(copied: Finished, tmp_path: Path) -> None:
    out = tmp_path / "interrupted"
    for moment in (training_begun, translating):
        code, errors = stop_at(copied.recipe, out, moment, signal.SIGINT)
        assert code == 130, errors
        assert errors.endswith("hexapla: interrupted; the same command continues.\n")
        assert "Traceback" not in errors
    run(copied.recipe, out, *SETTINGS)
    run(copied.recipe, copied.out, *SETTINGS)
    assert results(out) == results(copied.out)


def test_a_reader_that_leaves_is_no_error(finished: Finished, tmp_path: Path) -> None:
    """`hexapla languages | head -1`: no traceback, exit code 0."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "hexapla.cli.main", "languages"], stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        os.close(reading)
        assert process.stderr is not None
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")
