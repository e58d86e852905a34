"""Checkpoints of a whole bank: one moment, whatever goes on beside them; whole or not there; lean."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.bank import checkpoint
from hexapla.train.bank.checkpoint import BankCheckpoints, Loaded
from hexapla.train.bank.snapshot import RowBuffer, RowSource

RUN = "a" * 64


class World:
    """A bank whose rows say how often they were changed: every entry of every tensor is the row's version."""

    def __init__(self, num_rows: int, num_entries: int = 1000, device: str = "cpu") -> None:
        self.values = torch.zeros(num_rows, num_entries, device=device)
        self.moments = torch.zeros(num_rows, num_entries, dtype=torch.bfloat16, device=device)
        self.steps = [torch.zeros((), device=device) for _ in range(num_rows)]
        self.versions = [0] * num_rows

    def tensors(self, row: int) -> dict[str, Tensor]:
        found = {"values": self.values[row], "exp_avg": self.moments[row], "step": self.steps[row]}
        return found | ({"gradients": self.values[row]} if self.versions[row] % 2 else {})

    def sources(self) -> list[RowSource]:
        def source(row: int) -> RowSource:
            return RowSource(f"row-{row}", self.versions[row], lambda: self.tensors(row))

        return [source(row) for row in range(len(self.versions))]

    def change(self, row: int) -> None:
        """As an optimiser does: tensor after tensor in place."""
        for tensor in (self.values[row], self.moments[row], self.steps[row]):
            tensor.add_(1)
        self.versions[row] += 1

    def state(self) -> dict[str, list[int]]:
        return {"versions": self.versions}


def check(loaded: Loaded) -> list[int]:
    """The versions in the state, after comparing every entry of every row with them."""
    versions: list[int] = loaded.state["versions"]
    assert list(loaded.rows) == [f"row-{row}" for row in range(len(versions))]
    for version, row in zip(versions, loaded.rows.values(), strict=True):
        tensors = row.tensors()
        assert row.version == version
        assert set(tensors) == {"values", "exp_avg", "step"} | ({"gradients"} if version % 2 else set())
        for name, tensor in tensors.items():
            assert torch.equal(tensor, torch.full_like(tensor, version)), (row.name, name, version)
    return versions


def load(folder: Path, run: str = RUN) -> Loaded:
    loaded = BankCheckpoints(folder, run).load()
    assert loaded is not None
    return loaded


def generations(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(checkpoints: BankCheckpoints, world: World) -> None:
    checkpoints.begin(world.state(), world.sources())
    checkpoints.finish()


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a row takes some milliseconds more, so that the trainer is ahead of the writer."""
    write = checkpoint._write_tensors

    def write_slowly(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
        time.sleep(0.003)
        return write(path, tensors)

    monkeypatch.setattr(checkpoint, "_write_tensors", write_slowly)


def test_nothing_there(tmp_path: Path) -> None:
    assert BankCheckpoints(tmp_path / "none", RUN).load() is None


def test_every_kind_of_tensor_and_of_state_comes_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "values": torch.randn(7, 3, generator=generator),
        "exp_avg": torch.randint(0, 256, (5,), dtype=torch.uint8, generator=generator),
        "exp_avg_sq": torch.randn(9, generator=generator).bfloat16(),
        "turned": torch.randn(4, 6, generator=generator).t(),
        "half": torch.randn(3, generator=generator).half(),
        "step": torch.tensor(3.0),
        "count": torch.tensor([2**40, -1]),
        "mask": torch.tensor([True, False, True]),
        "none": torch.zeros(0),
        "nan": torch.tensor([float("nan"), float("inf")]),
        "trainable": torch.nn.Parameter(torch.ones(2)),
        "größe": torch.ones(1),
    }
    state = {"clock": 3, "losses": [0.1, float("inf")], "name": "中文\u2028"}
    checkpoints = BankCheckpoints(tmp_path, RUN)
    checkpoints.begin(state, [RowSource("zh-en", 4, lambda: tensors)])
    checkpoints.finish()
    loaded = load(tmp_path)
    assert loaded.state == state
    assert loaded.note is None
    row = loaded.rows["zh-en"]
    for found in (row.tensors(), load_file(row.path)):
        assert set(found) == set(tensors)
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name].nan_to_num(7.0), tensor.detach().nan_to_num(7.0)), name
    content = row.path.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:header_end]).items():
        start = header_end + entry["data_offsets"][0]
        assert start % tensors[name].element_size() == 0, f"{name} is not aligned"


def test_the_state_is_of_the_moment_of_begin(tmp_path: Path) -> None:
    world = World(2)
    checkpoints = BankCheckpoints(tmp_path, RUN)
    checkpoints.begin(world.state(), world.sources())
    checkpoints.touch(1)
    world.change(1)
    checkpoints.finish()
    assert check(load(tmp_path)) == [0, 0]


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("max_copies", [0, 1, 3])
def test_rows_change_at_random_while_checkpoints_are_written(tmp_path: Path, max_copies: int) -> None:
    """Every generation is the bank at its `begin`, in every tensor."""
    world, draw = World(8, 20_000), random.Random(max_copies)
    folder = tmp_path / "bank"
    checkpoints = BankCheckpoints(folder, RUN, keep=100, max_copies=max_copies)
    expected = []
    for _ in range(12):
        expected.append(list(world.versions))
        checkpoints.begin(world.state(), world.sources())
        for _ in range(30):
            row = draw.randrange(8)
            checkpoints.touch(row)
            world.change(row)
    checkpoints.finish()
    assert len(generations(folder)) == 12
    for generation, versions in zip(sorted(folder.iterdir()), expected, strict=True):
        alone = tmp_path / f"alone-{generation.name}"
        shutil.copytree(generation, alone / generation.name)
        assert check(load(alone)) == versions


def num_bytes_of_tensors() -> int:
    """Of all tensors in this process."""
    tensors = [found for found in gc.get_objects() if type(found) is Tensor]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("max_copies", [0, 1, 3])
def test_copies_are_bounded(tmp_path: Path, max_copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are wanted at once: `max_copies` copies and the row being written are the most that is held."""
    write, fill = checkpoint._write_tensors, RowBuffer.fill
    held, num_of_trainer = [], 0

    def write_and_weigh(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
        held.append(num_bytes_of_tensors() - before)
        return write(path, tensors)

    def fill_and_count(buffer: RowBuffer, tensors: Mapping[str, Tensor]) -> None:
        nonlocal num_of_trainer
        num_of_trainer += threading.current_thread() is threading.main_thread()
        fill(buffer, tensors)

    monkeypatch.setattr(checkpoint, "_write_tensors", write_and_weigh)
    monkeypatch.setattr(RowBuffer, "fill", fill_and_count)
    world = World(12, 64_000)
    row_bytes = 64_000 * (4 + 2) + 64
    checkpoints = BankCheckpoints(tmp_path, RUN, max_copies=max_copies)
    before = num_bytes_of_tensors()
    for _ in range(2):
        checkpoints.begin(world.state(), world.sources())
        for row in range(12):
            checkpoints.touch(row)
            for _ in range(2):
                world.change(row)
    checkpoints.finish()
    assert len(held) == 24
    assert row_bytes * max(max_copies, 1) <= max(held) <= row_bytes * (max_copies + 1)
    assert num_of_trainer > 2 * max_copies or max_copies == 0, "a written copy must make room for another"


def test_a_touch_waits_for_a_row_that_is_being_read(tmp_path: Path) -> None:
    world, reading, go_on = World(2), threading.Event(), threading.Event()

    def held() -> dict[str, Tensor]:
        reading.set()
        assert go_on.wait(10)
        return world.tensors(0)

    def change() -> None:
        checkpoints.touch(0)
        world.change(0)

    checkpoints = BankCheckpoints(tmp_path, RUN)
    checkpoints.begin(world.state(), [RowSource("row-0", 0, held), world.sources()[1]])
    assert reading.wait(10)
    checkpoints.touch(1)
    world.change(1)
    touching = threading.Thread(target=change)
    touching.start()
    touching.join(0.1)
    assert touching.is_alive()
    go_on.set()
    touching.join(10)
    assert not touching.is_alive()
    checkpoints.finish()
    assert check(load(tmp_path)) == [0, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rows_on_a_device_are_of_the_moment_of_begin(tmp_path: Path) -> None:
    """With the device behind both threads: queued work before `begin` counts, work after `touch` does not."""
    world = World(6, 4_000_000, device="cuda")
    busy = torch.randn(4096, 4096, device="cuda")
    checkpoints = BankCheckpoints(tmp_path, RUN, max_copies=2)
    for _ in range(4):
        for row in range(6):
            busy = torch.nn.functional.normalize(busy @ busy)
            checkpoints.touch(row)
            world.change(row)
        expected = list(world.versions)
        checkpoints.begin(world.state(), world.sources())
        for row in range(6):
            checkpoints.touch(row)
            world.change(row)
        checkpoints.finish()
        assert check(load(tmp_path)) == expected


def test_unchanged_rows_are_hard_links(tmp_path: Path) -> None:
    world = World(3)
    checkpoints = BankCheckpoints(tmp_path, RUN, keep=3)
    save(checkpoints, world)
    world.change(1)
    save(checkpoints, world)
    # A restart goes on with the links when it has read the generation.
    restarted = BankCheckpoints(tmp_path, RUN, keep=3)
    assert restarted.load() is not None
    world.change(0)
    save(restarted, world)
    inodes = [
        [(folder / checkpoint._row_file(row)).stat().st_ino for folder in sorted(tmp_path.iterdir())]
        for row in range(3)
    ]
    first, second, third = inodes
    assert first[0] == first[1] != first[2]
    assert second[0] != second[1] == second[2]
    assert third[0] == third[1] == third[2]
    assert check(load(tmp_path)) == [1, 1, 0]


def test_rows_are_written_again_where_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    world, checkpoints = World(2), BankCheckpoints(tmp_path, RUN)
    for _ in range(2):
        save(checkpoints, world)
    assert check(load(tmp_path)) == [0, 0]


def test_an_unchanged_row_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    world, checkpoints = World(2), BankCheckpoints(tmp_path, RUN)
    save(checkpoints, world)
    cut(tmp_path / "generation-000001" / checkpoint._row_file(0))
    save(checkpoints, world)
    loaded = load(tmp_path)
    assert check(loaded) == [0, 0]
    assert loaded.note is None


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_generations_stay(tmp_path: Path, keep: int) -> None:
    world, checkpoints = World(1), BankCheckpoints(tmp_path, RUN, keep=keep)
    for _ in range(5):
        world.change(0)
        save(checkpoints, world)
    assert generations(tmp_path) == [f"generation-{number:06}" for number in range(6 - keep, 6)]
    assert check(load(tmp_path)) == [5]


def test_a_removal_cut_short_leaves_no_damaged_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path) -> None:
        raise InterruptedError(folder)

    world, checkpoints = World(1), BankCheckpoints(tmp_path, RUN, keep=1)
    save(checkpoints, world)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stop)
        with pytest.raises(InterruptedError):
            save(checkpoints, world)
    assert generations(tmp_path) == [".generation-000001.part", "generation-000002"]
    assert check(load(tmp_path)) == [0]
    assert generations(tmp_path) == ["generation-000002"]


def test_another_run_is_refused(tmp_path: Path) -> None:
    save(BankCheckpoints(tmp_path, RUN), World(1))
    with pytest.raises(UserError, match=r"another run \(aaaaaaaaaaaa, now bbbbbbbbbbbb\).*delete") as caught:
        load(tmp_path, "b" * 64)
    assert not isinstance(caught.value, CorruptArtifactError)
    assert check(load(tmp_path)) == [0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def other_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert '"version": 2' in text
    path.write_text(text.replace('"version": 2', '"version": 1'), encoding="utf-8")


def not_a_map(path: Path) -> None:
    path.write_text(json.dumps([1]), encoding="utf-8")


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "row cut short": ("row-0001.safetensors", cut),
    "row changed": ("row-0001.safetensors", flip),
    "row lost": ("row-0000.safetensors", Path.unlink),
    "state cut short": ("state.json", cut),
    "state changed": ("state.json", lambda path: path.write_text('{"versions": [2, 1]}', encoding="utf-8")),
    "state lost": ("state.json", Path.unlink),
    "manifest cut short": ("artifact.json", lambda path: path.write_bytes(path.read_bytes()[:40])),
    "manifest changed": ("artifact.json", other_version),
    "manifest of another kind": ("artifact.json", not_a_map),
    "manifest lost": ("artifact.json", Path.unlink),
    "manifest not text": ("artifact.json", lambda path: path.write_bytes(b"\xff\x00")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_generation(tmp_path: Path, kind: str) -> None:
    """The one before it is used and says so; without one the file is named; it does not push a whole one out."""
    folder = tmp_path / "bank"
    name, damage = DAMAGE[kind]
    world, checkpoints = World(2), BankCheckpoints(folder, RUN)
    for _ in range(2):
        for row in range(2):
            world.change(row)
        save(checkpoints, world)
    broken = folder / "generation-000002" / name
    damage(broken)

    restarted = BankCheckpoints(folder, RUN)
    loaded = restarted.load()
    assert loaded is not None
    assert check(loaded) == [1, 1]
    assert loaded.note is not None
    assert str(broken) in loaded.note
    assert "generation-000001" in loaded.note

    alone = tmp_path / "alone"
    shutil.copytree(folder / "generation-000002", alone / "generation-000002")
    with pytest.raises(CorruptArtifactError, match=r"Delete .*alone to train") as caught:
        load(alone)
    assert caught.value.where == str(alone / "generation-000002" / name)

    save(restarted, world)
    assert generations(folder) == ["generation-000001", "generation-000003"]
    assert check(load(folder)) == [2, 2]


def test_a_row_damaged_after_loading(tmp_path: Path) -> None:
    save(BankCheckpoints(tmp_path, RUN), World(1))
    row = load(tmp_path).rows["row-0"]
    cut(row.path)
    with pytest.raises(CorruptArtifactError, match="row-0000"):
        row.tensors()


def test_leftovers_are_removed(tmp_path: Path) -> None:
    world, leftover = World(1), tmp_path / ".generation-000007.part"
    checkpoints = BankCheckpoints(tmp_path, RUN)
    save(checkpoints, world)
    for act in (checkpoints.load, lambda: save(checkpoints, world)):
        leftover.mkdir()
        (leftover / "row-0000.safetensors").write_bytes(b"half")
        act()
        assert not leftover.exists()


def test_a_refusal_of_the_disk_shows_at_the_next_call_and_lets_training_go(tmp_path: Path) -> None:
    """`ulimit -f` stands for every refusal in the middle of a write."""
    world = World(6, 10_000)
    checkpoints = BankCheckpoints(tmp_path, RUN, max_copies=1)
    save(checkpoints, world)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for end in (checkpoints.finish, lambda: checkpoints.begin(world.state(), world.sources())):
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        try:
            for row in range(6):
                checkpoints.touch(row)
                world.change(row)
            checkpoints.begin(world.state(), world.sources())
            for row in range(6):
                checkpoints.touch(row)
                world.change(row)
            with pytest.raises(UserError, match="too large") as caught:
                end()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(tmp_path) in str(caught.value)
        assert generations(tmp_path) == ["generation-000001"]
        assert check(load(tmp_path)) == [0] * 6
    save(checkpoints, world)
    assert check(load(tmp_path)) == world.versions


def test_a_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems can be mounted by root only")
    try:
        world, checkpoints = World(4, 10_000), BankCheckpoints(place, RUN)
        save(checkpoints, world)
        for row in range(4):
            world.change(row)
        checkpoints.begin(world.state(), world.sources())
        with pytest.raises(UserError, match="The disk is full"):
            checkpoints.finish()
        assert check(load(place)) == [0] * 4
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_an_error_in_the_copy_of_a_touch_leaves_the_row_to_the_writer(tmp_path: Path) -> None:
    world, go_on, main = World(2), threading.Event(), threading.current_thread()

    def first() -> dict[str, Tensor]:
        assert go_on.wait(10)
        return world.tensors(0)

    def second() -> dict[str, Tensor]:
        if threading.current_thread() is main:
            raise MemoryError
        return world.tensors(1)

    checkpoints = BankCheckpoints(tmp_path, RUN)
    checkpoints.begin(world.state(), [RowSource("row-0", 0, first), RowSource("row-1", 0, second)])
    with pytest.raises(MemoryError):
        checkpoints.touch(1)
    go_on.set()
    checkpoints.finish()
    assert check(load(tmp_path)) == [0, 0]


_KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
from hexapla.train.bank.checkpoint import BankCheckpoints
from tests.train.bank.test_checkpoint import RUN, World

parent = os.getpid()

def train(folder):
    torch.set_num_threads(1)
    world, checkpoints = World(6, 100_000), BankCheckpoints(folder, RUN)
    while os.getppid() == parent:
        checkpoints.begin(world.state(), world.sources())
        for row in (3, 0, 5, 3, 2):
            checkpoints.touch(row)
            world.change(row)

for number in range(int(sys.argv[2])):
    folder = Path(sys.argv[1]) / str(number)
    child = os.fork()
    if child == 0:
        train(folder)
    wanted = 1 + number % 3
    while not any((folder / f"generation-{wanted + later:06}").exists() for later in range(20)):
        time.sleep(0.001)
    time.sleep(0.003 * number)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_killed_by_sigkill_at_many_moments(tmp_path: Path) -> None:
    """A generation is there, whole, and the newest that got its name; what was begun is gone after `load`."""
    num_moments = 12
    command = [sys.executable, "-c", _KILLED, str(tmp_path), str(num_moments)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=60)
    num_leftovers = num_later = 0
    for number in range(num_moments):
        folder = tmp_path / str(number)
        before = generations(folder)
        num_leftovers += before[0].startswith(".")
        loaded = load(folder)
        versions = check(loaded)
        assert loaded.note is None
        assert versions[1] == versions[4] == 0
        assert versions[3] == 2 * versions[0] == 2 * versions[5]
        assert loaded.rows["row-0"].path.parent.name == before[-1]
        assert generations(folder) == [name for name in before if not name.startswith(".")]
        num_later += versions[0] > 0
    assert num_leftovers >= 2, "killed between two checkpoints only"
    assert num_later >= 2 * num_moments // 3
