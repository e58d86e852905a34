"""One table for several processes: what children tell is all that the table needs, and the parent draws it once."""

from __future__ import annotations

import copy
import io
import pickle
import random
from typing import Any

import pytest

from hexapla.train.bank.joint import JointTable, ToldTable
from hexapla.train.bank.life import AdapterLife
from hexapla.train.bank.table import LiveTable
from tests.train.bank.terminal import Terminal, Watch
from tests.train.bank.test_table import bank, diverge, step


class Wire:
    """A link whose messages arrive at once, as copies."""

    def __init__(self, table: JointTable, process: str) -> None:
        self._table, self._process = table, process

    def send(self, kind: str, *content: Any) -> None:
        assert kind == "told"
        self._table.hear(self._process, *pickle.loads(pickle.dumps(content)))


def joint(lives: list[AdapterLife], stream: Any, num_processes: int = 2) -> JointTable:
    return JointTable([life.clock.task for life in lives], seed=0, num_processes=num_processes, stream=stream)


@pytest.mark.parametrize("seed", range(5))
def test_it_shows_what_a_table_of_one_process_shows(seed: int, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hexapla.train.bank.joint.LiveTable", lambda lives, stream: LiveTable(lives, stream=stream, now=watch)
    )
    rng = random.Random(seed)
    lives = bank(6, num_steps=12)
    for life in lives[:2]:  # as after a resumption
        step(life)
    with Terminal(90, 24) as alone, Terminal(90, 24) as together:
        expected = LiveTable(lives, stream=alone.stream, now=watch)
        table = joint(lives, together.stream)
        children = [ToldTable(Wire(table, name), lives[part]) for name, part in (("a", slice(3)), ("b", slice(3, 6)))]  # type: ignore[arg-type]
        for _ in range(40):
            for life in [life for life in lives if life.clock.running]:
                if (turn := rng.random()) < 0.1 and life.clock.step > 2:
                    life.good_step = rng.randrange(life.clock.step)
                    diverge(life)
                    if life.clock.running:
                        step(life, loss=9.0)
                elif turn < 0.6:
                    step(life, loss=rng.random())
                if life.clock.running and rng.random() < 0.1:
                    life.measured(rng.random())
                if life.clock.running and life.clock.step == 12:
                    life.end("finished")
            watch.time_s += 1.0
            for each in (expected, *children):
                each.advance(20)
        for child in children:
            child.close()
        expected.close()
        table.close()
        seen = together.look()
        # twenty tokens a second in one, two times twenty in the other
        assert [_without_rates(line) for line in seen] == [_without_rates(line) for line in alone.look()]
        assert any("diverged" in line for line in seen)


def _without_rates(line: str) -> str:
    return "" if "tokens/s" in line else line


def test_it_waits_until_all_have_told(watch: Watch) -> None:
    lives, stream = bank(2), io.StringIO()
    table = joint(lives, stream)
    first = ToldTable(Wire(table, "a"), lives[:1])  # type: ignore[arg-type]
    table.say("a: a warning")
    step(lives[0])
    first.show()
    assert stream.getvalue() == "a: a warning\n"
    ToldTable(Wire(table, "b"), lives[1:])  # type: ignore[arg-type]
    lives[0].end("stopped-early")
    first.advance(10)
    table.say("b: another")
    table.close()
    said = stream.getvalue().splitlines()[1:]
    assert said[0].startswith("bank: adapter-00 stopped early at step 1 of 20")
    assert said[1] == "b: another"
    assert said[2].startswith("bank: 1/21 steps, 2 adapters (1 stopped early)")


def test_only_what_is_new_is_told() -> None:
    sent: list[Any] = []

    class Kept:
        def send(self, _kind: str, *content: Any) -> None:
            sent.append(copy.deepcopy(content))

    [life] = bank(1)
    table = ToldTable(Kept(), [life])  # type: ignore[arg-type]
    for number in range(3):
        step(life, loss=float(number))
    table.show()
    step(life, loss=3.0)
    life.good_step = 2
    diverge(life)
    step(life, loss=4.0)
    table.advance(7)
    told = [
        (num_tokens, standing.num_kept, [record.loss for record in standing.new_records])
        for num_tokens, [standing] in sent
    ]
    assert told == [(0, 0, []), (0, 0, [0.0, 1.0, 2.0]), (7, 2, [4.0])]
