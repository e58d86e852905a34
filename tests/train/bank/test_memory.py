"""What memory there is, and what work takes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hexapla.base import Base
from hexapla.train.bank import memory
from hexapla.train.bank.memory import DryStep, free_bytes, gibibytes, peak_growth
from hexapla.train.bank.share import load_banked
from tests.train.bank.aligned import OBJECTIVES, aligned_spec
from tests.train.material import train_spec

_MIB = 2**20
_CPU = torch.device("cpu")

needs_linux = pytest.mark.skipif(not memory._reset_peak(), reason="the system does not measure peaks")


def machine(root: Path, files: dict[str, str]) -> Path:
    """A file system with what Linux says of memory: 8 GiB are available."""
    said = {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 * 1024 * 1024} kB\n", **files}
    for name, text in said.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(folder: str, limit: str, used_mib: int, inactive_mib: int, *, version: int) -> dict[str, str]:
    """The files of a control group."""
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}[version]
    stat = f"anon 5\ninactive_file {inactive_mib * _MIB}\n"
    return {f"{folder}/{names[0]}": limit, f"{folder}/{names[1]}": str(used_mib * _MIB), f"{folder}/memory.stat": stat}


def test_a_machine_without_limits_has_what_is_available(tmp_path: Path) -> None:
    assert memory._host_free_bytes(machine(tmp_path, {})) == 8 * 2**30


def test_a_system_that_says_nothing_is_not_guessed(tmp_path: Path) -> None:
    assert memory._host_free_bytes(tmp_path) is None


def test_a_limit_of_version_2_counts_with_files_that_would_be_given_up(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/user/job\n",
        **group("sys/fs/cgroup/user/job", "max\n", 900, 0, version=2),
        **group("sys/fs/cgroup/user", str(1000 * _MIB), 900, 300, version=2),
    }
    assert memory._host_free_bytes(machine(tmp_path, files)) == 400 * _MIB


def test_a_limit_of_version_1_counts_also_where_the_own_folder_is_hidden(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n",
        **group("sys/fs/cgroup/memory", str(2000 * _MIB), 1500, 100, version=1),
    }
    assert memory._host_free_bytes(machine(tmp_path, files)) == 600 * _MIB


def test_the_largest_number_of_version_1_is_no_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n",
        **group("sys/fs/cgroup/memory", "9223372036854771712", 1, 0, version=1),
    }
    assert memory._host_free_bytes(machine(tmp_path, files)) == 8 * 2**30


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_has_memory_and_a_tenth_is_held_back() -> None:
    found = memory._host_free_bytes()
    usable = free_bytes(_CPU)
    assert found is not None
    assert usable is not None
    assert 0 < usable < 0.95 * found


@needs_linux
def test_a_peak_is_seen_after_it_is_over() -> None:
    def work() -> None:
        first = torch.ones(48 * _MIB // 4)
        del first
        torch.ones(32 * _MIB // 4)

    growth = peak_growth(_CPU, work)
    assert growth is not None
    assert 46 * _MIB <= growth <= 60 * _MIB
    again = peak_growth(_CPU, lambda: None)
    assert again is not None
    assert again < 8 * _MIB


@needs_linux
def test_memory_that_was_freed_before_counts_when_it_is_used_again() -> None:
    def work() -> None:
        blocks = [torch.ones(16 * 1024) for _ in range(800)]  # 64 KiB each: of the heap, which keeps what is freed
        del blocks

    work()
    growth = peak_growth(_CPU, work)
    assert growth is not None
    assert growth >= 40 * _MIB


def test_sizes_are_for_people() -> None:
    assert gibibytes(3 * 2**29) == "1.5 GiB"
    assert gibibytes(5 * _MIB) == "5.00 MiB"


@needs_linux
def test_a_dry_step_grows_with_its_tokens_and_leaves_nothing_behind(qwen3_base: Path) -> None:
    model = load_banked(Base(str(qwen3_base)), train_spec(), "float32", _CPU)
    small, large = (
        DryStep(num_tokens=tokens, longest=300, num_adapters=5, rank=4, has_dropout=True) for tokens in (256, 8192)
    )
    random_state = torch.get_rng_state()
    small.measure(model)
    need = large.measure(model)
    # per token the tiny base keeps at least the inputs of its 14 layers of width 32 to 64 in fp32
    assert need is not None
    assert need > 8192 * 14 * 32 * 4
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model._context.bank.values.shape[0] == 1
    assert not bool(model._context.bank.gradients.any())


@needs_linux
def test_a_dry_step_with_objectives_grows_with_its_pairs(qwen3_base: Path) -> None:
    """A source is compared with every target: 1000² scores and the probabilities from them, at least."""
    model = load_banked(Base(str(qwen3_base)), aligned_spec(), "float32", _CPU)
    needs = []
    for num_pairs in (2, 1000):
        step = DryStep(
            num_tokens=271,
            longest=54,
            num_adapters=3,
            rank=4,
            has_dropout=True,
            objectives=OBJECTIVES,
            num_pairs=num_pairs,
        )
        step.measure(model)
        needs.append(step.measure(model))
    few, many = needs
    assert few is not None
    assert many is not None
    assert many - few > 2 * 1000 * 1000 * 4
