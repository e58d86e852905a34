"""The live table, on a pseudo-terminal and in a log: true figures, inside its bounds, and never in training's way."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.languages import Direction
from hexapla.plan import Job
from hexapla.train.bank.life import AdapterLife
from hexapla.train.bank.schedule import Clock
from hexapla.train.bank.table import LiveTable
from hexapla.train.encoding import EncodedSet
from hexapla.train.result import StepRecord
from hexapla.train.spec import OptimizerSpec, TrainSpec
from hexapla.train.task import PreparedTask
from tests.train.bank.packs import example
from tests.train.bank.terminal import Terminal, Watch

_TOKENS = 10  # of every example; batches have two
_RATE = 1e-3


def life(name: str, slot: int = 0, num_steps: int = 100) -> AdapterLife:
    """An adapter of so many steps of two examples, at its start."""
    examples = [example(_TOKENS, seed=number) for number in range(2 * num_steps)]
    spec = TrainSpec(batch=2, optimizer=OptimizerSpec(lr=_RATE, schedule="constant", warmup=0.0))
    task = PreparedTask(Job(name, (Direction("de", "en"),)), spec, EncodedSet(examples, {}), [], [], "digest")
    return AdapterLife(Clock.start(slot, task, seed=0))


def bank(number: int, num_steps: int = 20) -> list[AdapterLife]:
    return [life(f"adapter-{slot:02d}", slot, num_steps) for slot in range(number)]


def step(adapter: AdapterLife, loss: float = 2.0, gradient_norm: float = 1.0) -> None:
    """One whole update."""
    adapter.advance(record(adapter, loss, gradient_norm))


def record(adapter: AdapterLife, loss: float = 2.0, gradient_norm: float = 1.0) -> StepRecord:
    return StepRecord(adapter.clock.step + 1, loss, _RATE, gradient_norm, _TOKENS, 2 * _TOKENS)


def diverge(adapter: AdapterLife) -> None:
    """A step that cannot be made; the second one is the adapter's end."""
    if not adapter.diverged(record(adapter, math.nan, math.inf)):
        adapter.end("diverged")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal(80, 24) as opened:
        yield opened


def cells(lines: list[str], name: str) -> list[str]:
    """The cells of an adapter's row."""
    return next(re.split(r"\s{2,}", line) for line in lines if re.match(rf"{name}\s", line))


def test_figures_of_a_table(terminal: Terminal, watch: Watch) -> None:
    lives = [life("de-en", 0, 100), life("germanic-en", 1, 50)]
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    for number in range(20):
        step(lives[0], loss=100.0 if number < 4 else 2.0)  # only the latest sixteen losses are shown
    for _ in range(10):
        step(lives[1], loss=3.0)
    lives[1].measured(2.5)
    table.advance(600)
    watch.time_s += 10
    table.show()
    assert terminal.look() == [
        "bank: 20 %, 60 tokens/s, 40 s left, 2 training",
        "adapter        step   loss     rate  tokens/s  dev best  state",
        "de-en        20/100  2.000  1.0e-03        40            training",
        "germanic-en   10/50  3.000  1.0e-03        20     2.500  training",
        "loss: mean of 16 steps; dev best: least on development rows",
    ]


def test_it_is_drawn_in_place(terminal: Terminal, watch: Watch) -> None:
    terminal.stream.write("what stood there before\n")
    lives = bank(3)
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    for _ in range(5):
        step(lives[0])
        table.show()
        seen = terminal.look()
        assert seen[0] == "what stood there before"
        assert len(seen) == 1 + 2 + 3 + 1
    assert cells(seen, "adapter-00")[1] == "5/20"


def test_what_is_said_after_an_interruption_stands_below(terminal: Terminal, watch: Watch) -> None:
    table = LiveTable(bank(57), stream=terminal.stream, now=watch)
    table.show()
    table.show()
    terminal.stream.write("^C\nInterrupted.\n")
    terminal.stream.flush()
    seen = terminal.look()
    assert seen[-3:] == ["loss: mean of 16 steps", "^C", "Interrupted."]


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 5), (8, 3), (200, 70), (1, 1)])
def test_it_fits_the_terminal(size: tuple[int, int], watch: Watch) -> None:
    lives = bank(57)
    for place in range(0, 57, 5):
        lives[place].end("finished")
    with Terminal(*size) as terminal:
        table = LiveTable(lives, stream=terminal.stream, now=watch)
        for _ in range(3):
            table.show()
        seen = terminal.look()
        assert len(terminal.screen.rows) <= size[1]  # nothing was scrolled out of sight, so nothing is left behind
        assert max(map(len, seen), default=0) <= max(1, size[0] - 1)


def test_those_behind_or_in_trouble_are_shown_the_rest_is_counted(terminal: Terminal, watch: Watch) -> None:
    lives = bank(57)
    for adapter in lives[:40]:
        for _ in range(10):
            step(adapter)
    for adapter in lives[:12]:
        adapter.end("finished")
    for place in (15, 32, 32):
        lives[place].good_step = 10  # no further behind than the others
        diverge(lives[place])
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    table.show()
    seen = terminal.look()
    assert len(seen) == 23
    names = [line.split()[0] for line in seen[2:-2]]
    assert len(names) == 19
    assert set(names) == {"adapter-15", "adapter-32", *(f"adapter-{place}" for place in range(40, 57))}
    assert names == sorted(names)
    assert cells(seen, "adapter-15")[-1] == "at half rate"
    assert cells(seen, "adapter-15")[-2] == "5.0e-04"
    assert cells(seen, "adapter-32")[-1] == "diverged"
    assert seen[-2] == "… and 38 more: 26 training, 12 finished"


def test_a_narrow_terminal_drops_columns_before_names(watch: Watch) -> None:
    lives = [life("direction-aware-germanic-en")]
    step(lives[0])
    with Terminal(44, 24) as terminal:
        LiveTable(lives, stream=terminal.stream, now=watch).show()
        assert terminal.look()[1:3] == [
            "adapter               step   loss  state",
            "direction-aware-ge…  1/100  2.000  training",
        ]


@pytest.mark.parametrize("size", [(50, 24), (30, 24), (100, 30), (80, 12)])
def test_a_new_size_leaves_nothing_behind(size: tuple[int, int], terminal: Terminal, watch: Watch) -> None:
    lives = bank(5)
    for adapter in lives:
        step(adapter)
        adapter.measured(1.0)
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    table.show()
    terminal.resize(*size)
    table.show()
    seen = terminal.look()
    assert sum(line.startswith("bank:") for line in seen) == 1
    assert sum(line.startswith("adapter ") for line in seen) == 1
    assert len(seen) <= size[1] - 1


def test_a_table_that_becomes_shorter_leaves_no_line_below(watch: Watch) -> None:
    lives = bank(3)
    lives[0].end("finished")
    with Terminal(30, 24) as terminal:
        table = LiveTable(lives, stream=terminal.stream, now=watch)
        table.show()
        assert terminal.look()[:2] == ["bank: 0 %", "2 training, 1 finished"]
        terminal.resize(100, 24)
        table.show()
        assert terminal.look()[0] == "bank: 0 %, 2 training, 1 finished"
        assert len(terminal.look()) == 6


def test_ends_and_divergences_stay_above_the_table(terminal: Terminal, watch: Watch) -> None:
    lives = bank(3)
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    step(lives[0])
    lives[0].measured(1.5)
    lives[0].end("stopped-early")
    table.advance(20)
    diverge(lives[1])
    table.advance(20)
    diverge(lives[1])
    step(lives[2])
    table.advance(20)
    table.close()
    seen = terminal.look()
    assert "\n".join(seen[:6]) == (
        "bank: adapter-00 stopped early at step 1 of 20, loss 2.000, dev best 1.500 at st\nep 1\n"
        "bank: adapter-01 diverged at step 1 (loss nan, gradient norm inf): again from st\nep 0 at half rate\n"
        "bank: adapter-01 diverged at step 1 (loss nan, gradient norm inf): parked as it\nwas at step 0"
    )
    assert seen[6].startswith("bank: ")
    assert len(seen) == 6 + 2 + 3 + 1


def test_a_log_gets_a_line_every_ten_seconds_and_events_at_once(watch: Watch) -> None:
    log = io.StringIO()
    lives = [life("de-en", 0, 10), life("en-de", 1, 10)]
    table = LiveTable(lives, stream=log, now=watch)
    for number in range(10):
        watch.time_s += 2
        for adapter in lives:
            if adapter.clock.running:
                step(adapter, loss=2.0 if adapter is lives[0] else 3.0)
        if number == 6:
            lives[0].end("stopped-early")
        table.advance(40 if number < 7 else 20)
        table.show()
    lives[1].end("finished")
    table.close()
    assert log.getvalue().splitlines() == [
        "bank: 10/20 steps, 2 adapters, loss 2.500, 20 tokens/s, 10 s left",
        "bank: de-en stopped early at step 7 of 10, loss 2.000",
        "bank: 17/17 steps, 2 adapters (1 stopped early), loss 3.000, 17 tokens/s, 0 s left",
        "bank: en-de finished at step 10 of 10, loss 3.000",
        "bank: 17/17 steps, 2 adapters (1 finished, 1 stopped early), loss 2.500, 17 tokens/s, 20 s",
    ]


def test_a_resumed_run_counts_what_was_done_but_not_its_speed(terminal: Terminal, watch: Watch) -> None:
    log = io.StringIO()
    lives = bank(2, num_steps=100)
    for _ in range(90):
        step(lives[0])
    for _ in range(50):
        step(lives[1])
    lives[0].end("finished")
    lives[1].good_step = 50
    diverge(lives[1])
    tables = [LiveTable(lives, stream=stream, now=watch) for stream in (log, terminal.stream)]
    watch.time_s += 10
    step(lives[1])
    for table in tables:
        table.advance(20)
        table.show()
    assert cells(terminal.look(), "adapter-01")[4] == "2"
    assert log.getvalue() == "bank: 141/190 steps, 2 adapters (1 finished), loss 2.000, 2 tokens/s, 8 min 10 s left\n"


def test_rates_are_those_of_the_last_minute_and_work_done_twice_is_work(terminal: Terminal, watch: Watch) -> None:
    lives = bank(1, num_steps=1000)
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    for second in range(200):
        watch.time_s += 1
        for _ in range(1 if second < 100 else 3):
            step(lives[0])
            table.advance(20)
        if second == 150:
            lives[0].good_step = 200
            diverge(lives[0])
        table.show()
    assert cells(terminal.look(), "adapter-00")[4] == "59"  # one of sixty seconds was undone before it was seen
    assert "60 tokens/s" in terminal.look()[-4]


def test_a_batch_that_is_given_up_was_work(terminal: Terminal, watch: Watch) -> None:
    lives = bank(1)
    table = LiveTable(lives, stream=terminal.stream, now=watch)
    lives[0].note(1.0, 5, 20)
    table.show()
    watch.time_s += 10
    diverge(lives[0])
    table.show()
    assert cells(terminal.look(), "adapter-00")[3] == "2"


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf, 1e300, -1.0])
def test_any_loss_can_be_shown(loss: float, terminal: Terminal, watch: Watch) -> None:
    lives = bank(1)
    for _ in range(20):
        step(lives[0], loss=loss)
    for stream in (terminal.stream, io.StringIO()):
        LiveTable(lives, stream=stream, now=watch).close()
    shown = cells(terminal.look(), "adapter-00")[2]
    assert len(shown) <= 9
    assert float(shown) == pytest.approx(loss, nan_ok=True)


def test_nothing_left_to_do_is_all_done(watch: Watch) -> None:
    log = io.StringIO()
    lives = bank(1)
    lives[0].end("finished")
    LiveTable(lives, stream=log, now=watch).close()
    LiveTable([], stream=log, now=watch).close()
    assert log.getvalue().splitlines() == [
        "bank: 0/0 steps, 1 adapter (1 finished), 0 s",
        "bank: 0/0 steps, 0 adapters, 0 s",
    ]


def test_a_closed_stream_does_not_stop_training(watch: Watch) -> None:
    lives = bank(2)
    closed = io.StringIO()
    closed.close()
    reader, writer = os.pipe()
    os.close(reader)
    broken = open(writer, "w", encoding="utf-8", buffering=1)  # noqa: SIM115  its close would raise once more
    with Terminal(80, 24) as terminal:
        tables = [LiveTable(lives, stream=stream, now=watch) for stream in (closed, broken, terminal.stream)]
        tables[-1].show()
        terminal.hang_up()
        for _ in range(3):
            watch.time_s += 10
            for table in tables:
                table.advance(20)
                table.show()
        for table in tables:
            table.close()
        with pytest.raises(OSError, match=r"Broken pipe|Input/output"):
            broken.close()
        with pytest.raises(OSError, match="Input/output"):
            terminal.stream.close()


def test_names_and_signs_that_a_stream_cannot_hold(watch: Watch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    lives = [life("häuser\n\x1b[2J")]
    table = LiveTable(lives, stream=stream, now=watch)
    lives[0].end("finished")
    table.close()
    assert raw.getvalue().splitlines()[0] == b"bank: h?user??[2J finished at step 0 of 100"


@given(
    progress=st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["run", "finish", "diverge"])), max_size=30),
    columns=st.integers(1, 120),
    lines=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_every_adapter_is_shown_or_counted(progress: list[tuple[int, str]], columns: int, lines: int) -> None:
    lives = bank(len(progress))
    for adapter, (steps, end) in zip(lives, progress, strict=True):
        for _ in range(steps):
            step(adapter)
        if end == "finish" or steps == 20:
            adapter.end("finished")
        elif end == "diverge":
            diverge(adapter)
    with Terminal(columns, lines) as terminal:
        LiveTable(lives, stream=terminal.stream, now=Watch()).show()
        seen = terminal.look()
        assert len(terminal.screen.rows) <= lines
        if columns > 60 and lines > 4:
            rows = sum(line.startswith("adapter-") for line in seen)
            more = [int(match[1]) for line in seen if (match := re.match(r"… and (\d+) more", line))]
            assert rows + sum(more) == len(lives)
