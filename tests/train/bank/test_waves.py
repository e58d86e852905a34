"""Shares, waves, and the plan on disk."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.bank.memory import Room
from hexapla.train.bank.waves import (
    PLAN_FILE,
    BankPlan,
    BankSettings,
    PlannedWave,
    changed_names,
    changed_settings,
    cut,
    number_at_once,
    refuse_other_plan,
    share_out,
)
from hexapla.train.spec import BankSpec, TrainSpec

_SETTINGS = BankSettings("float32", 1024, "fp32")
_PLAN = BankPlan(
    _SETTINGS,
    (
        (
            PlannedWave("share-00/wave-000", {"a": "1", "d": "4"}),
            PlannedWave("share-00/wave-001", {"e": "5"}),
        ),
        (PlannedWave("share-01/wave-000", {"b": "2", "c": "3"}),),
    ),
)


@given(st.integers(1, 60), st.integers(1, 60))
def test_waves_are_few_and_nearly_equal(number: int, at_once: int) -> None:
    names = [str(index) for index in range(number)]
    waves = cut(names, at_once)
    assert [name for wave in waves for name in wave] == names
    sizes = [len(wave) for wave in waves]
    assert max(sizes) <= at_once
    assert max(sizes) - min(sizes) <= 1
    assert len(waves) == -(-number // at_once)


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 1000), min_size=1), st.integers(1, 5))
def test_shares_are_whole_sorted_and_independent_of_the_order(work: dict[str, int], num_shares: int) -> None:
    shares = share_out(work, num_shares)
    assert sorted(name for share in shares for name in share) == sorted(work)
    assert all(shares)
    assert len(shares) == min(num_shares, len(work))
    for share in shares:
        assert [work[name] for name in share] == sorted((work[name] for name in share), reverse=True)
    assert share_out(dict(reversed(work.items())), num_shares) == shares


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8))
def test_two_shares_are_close_to_the_best_possible(sizes: list[int]) -> None:
    work = {str(index): size for index, size in enumerate(sizes)}
    heaviest = max(sum(work[name] for name in share) for share in share_out(work, 2))
    best = min(
        max(sum(chosen), sum(sizes) - sum(chosen))
        for number in range(len(sizes) + 1)
        for chosen in combinations(sizes, number)
    )
    assert heaviest <= 7 / 6 * best  # 4/3 − 1/(3·shares)


def test_a_plan_comes_back_from_disk(tmp_path: Path) -> None:
    assert BankPlan.load(tmp_path / PLAN_FILE) is None
    _PLAN.save(tmp_path / PLAN_FILE)
    assert BankPlan.load(tmp_path / PLAN_FILE) == _PLAN


@pytest.mark.parametrize("content", ["[]", "{}", '{"shares": 3}', "no json"])
def test_a_damaged_plan_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text(content)
    with pytest.raises(CorruptArtifactError, match=PLAN_FILE):
        BankPlan.load(tmp_path / PLAN_FILE)


def test_waves_remain_until_all_of_their_adapters_are_finished() -> None:
    first, second, third = _PLAN.waves
    assert _PLAN.remaining(["a", "e"]) == {"share-00": [first], "share-01": [third]}
    assert _PLAN.remaining(["a", "d", "b"]) == {"share-00": [second], "share-01": [third]}
    assert _PLAN.remaining(["b", "c"]) == {"share-00": [first, second]}
    assert _PLAN.remaining_names(["a", "e"]) == ["a", "d", "b", "c"]


def test_what_a_plan_needs_and_what_it_lacks_is_named() -> None:
    assert changed_names(_PLAN, ["a", "b", "c", "d", "e"], []) == []
    assert changed_names(_PLAN, ["b", "c", "d", "e"], ["d"]) == ["the adapter 'a' is missing"]
    assert changed_names(_PLAN, ["b", "c", "e"], ["a", "d"]) == []  # a finished wave needs nothing
    assert changed_names(_PLAN, ["a", "b", "c", "d", "e", "f", "g"], ["g"]) == ["the adapter 'f' is new"]


@pytest.mark.parametrize(
    ("changes", "dtype", "expected"),
    [
        ({}, "float32", []),
        ({"micro_batch_tokens": 1024, "bank": BankSpec(adapters_at_once=2, processes=7)}, "float32", []),
        ({"micro_batch_tokens": 512}, "float32", ["micro_batch_tokens is 512, was 1024"]),
        ({"bank": BankSpec(adapters_at_once=1)}, "float32", ["adapters_at_once is 1, was at least 2"]),
        ({"bank": BankSpec(optimizer_states="8bit")}, "float32", ["8bit, were in fp32"]),
        ({"bank": BankSpec(optimizer_states="host")}, "float32", []),
        ({}, "bfloat16", ["bfloat16, was float32"]),
    ],
)
def test_settings_that_a_plan_depends_on_may_not_change(
    changes: dict[str, Any], dtype: str, expected: list[str]
) -> None:
    found = changed_settings(_PLAN, TrainSpec(**changes), dtype, [])
    assert len(found) == len(expected)
    assert all(text in difference for text, difference in zip(expected, found, strict=True))


def test_another_plan_is_refused_with_what_changed(tmp_path: Path) -> None:
    refuse_other_plan(tmp_path, [])
    with pytest.raises(UserError, match=r"another plan: this; that\. Give back .* or delete that folder") as raised:
        refuse_other_plan(tmp_path, ["this", "that"])
    assert raised.value.where == str(tmp_path)


def _rooms(*free: int | None) -> list[Room]:
    return [Room(f"memory {number}", bytes_, 1000, 100, 800) for number, bytes_ in enumerate(free)]


@pytest.mark.parametrize(
    ("asked", "free", "expected"),
    [
        (None, (1500,), 5),
        (None, (1999,), 9),
        (None, (10**6,), 12),
        (None, (None,), 12),
        (None, (10**6, 1300), 3),
        (4, (1500,), 4),
        (5, (1500,), 5),
        (99, (10**6,), 12),
        (99, (None,), 12),
    ],
)
def test_as_many_adapters_as_fit_or_are_asked_for(
    asked: int | None, free: tuple[int | None, ...], expected: int
) -> None:
    assert number_at_once(TrainSpec(bank=BankSpec(adapters_at_once=asked)), 12, _rooms(*free), 512) == expected


def test_more_than_fit_are_refused_with_the_number_that_would() -> None:
    spec = TrainSpec(bank=BankSpec(adapters_at_once=8))
    rooms = [Room("GPU memory", 48 * 2**30, 8 * 2**30, 10 * 2**30)]
    with pytest.raises(UserError) as raised:
        number_at_once(spec, 12, rooms, 512)
    text = raised.value.paragraph()
    assert "8 adapters at once with 512 tokens in a micro-batch would need 88.0 GiB of GPU memory" in text
    assert "48.0 GiB can be used" in text
    assert "Set it to 4 or less" in text
    assert raised.value.where == "train.bank.adapters_at_once"


@pytest.mark.parametrize(("free", "tokens"), [(700, "train.micro_batch_tokens to about 256"), (50, None)])
def test_where_not_one_fits_it_is_said_what_would_help(free: int, tokens: str | None) -> None:
    with pytest.raises(UserError, match="One adapter with 512 tokens") as raised:
        number_at_once(TrainSpec(gradient_checkpointing=True, precision="fp32"), 12, _rooms(free), 512)
    hint = raised.value.hint or ""
    assert (tokens in hint) if tokens else ("micro_batch_tokens" not in hint)
    assert "gradient_checkpointing" not in hint
    assert "train.precision to bf16" in hint
