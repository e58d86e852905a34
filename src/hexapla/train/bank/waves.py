"""The plan of a bank's training: which adapters are trained beside each other, and by which process.

Adapters are shared out to processes, the one with most work first, always to the process with least. Those of a share
are then cut into waves of nearly equal numbers, of adapters with nearly equal work: a wave ends together.

The plan stands in `bank.json` before the first wave begins. A run that is taken up again follows it whatever memory
there is by then: checkpoints are of its waves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hexapla.common.artifacts import read_json, write_json
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.train.bank.memory import Room, gibibytes
from hexapla.train.spec import TrainSpec
from hexapla.train.task import PreparedTask

PLAN_FILE = "bank.json"


@dataclass(frozen=True)
class BankSettings:
    """What all waves of a plan have in common.

    Attributes:
        dtype: of the base and of the arithmetic, as torch names it.
        micro_batch_tokens: tokens of a micro-batch at most.
        moments: precision of Adam's moments, fp32 or 8bit.
    """

    dtype: str
    micro_batch_tokens: int
    moments: str


@dataclass(frozen=True)
class PlannedWave:
    """Adapters that are trained beside each other: name → digest of the task, in the order of their rows.

    Attributes:
        folder: relative to the folder of all work.
    """

    folder: str
    adapters: Mapping[str, str]


@dataclass(frozen=True)
class BankPlan:
    """Shares, each of them waves in their order."""

    settings: BankSettings
    shares: tuple[tuple[PlannedWave, ...], ...]

    @property
    def waves(self) -> Iterator[PlannedWave]:
        """The waves of all shares."""
        return (wave for share in self.shares for wave in share)

    def remaining(self, finished: Collection[str]) -> dict[str, list[PlannedWave]]:
        """Waves in which an adapter is not finished yet, by name of their share; shares without one are left out."""
        left = {
            f"share-{number:02d}": [wave for wave in share if not wave.adapters.keys() <= set(finished)]
            for number, share in enumerate(self.shares)
        }
        return {name: waves for name, waves in left.items() if waves}

    def remaining_names(self, finished: Collection[str]) -> list[str]:
        """The adapters of those waves, finished ones among them."""
        return [name for waves in self.remaining(finished).values() for wave in waves for name in wave.adapters]

    def save(self, path: Path) -> None:
        """Write the plan.

        Raises:
            UserError: the disk refuses.
        """
        shares = [[dict(wave.adapters) for wave in share] for share in self.shares]
        write_json(path, asdict(self.settings) | {"shares": shares})

    @classmethod
    def load(cls, path: Path) -> BankPlan | None:
        """The plan that `save` wrote, or None where there is none.

        Raises:
            CorruptArtifactError: it cannot be read.
        """
        if not path.exists():
            return None
        record: dict[str, Any] = read_json(path)
        try:
            shares = _numbered(record.pop("shares"))
            return cls(BankSettings(**record), shares)
        except (AttributeError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                "This plan of the adapter bank is damaged.",
                where=str(path),
                hint=f"Delete {path.parent} to train its adapters anew.",
            ) from error


def make_plan(
    tasks: Sequence[PreparedTask], shares: Sequence[Sequence[str]], settings: BankSettings, *, adapters_at_once: int
) -> BankPlan:
    """The tasks' waves.

    Args:
        shares: as `share_out` gives them.
        adapters_at_once: in each share, at most.
    """
    digests = {task.name: task.digest for task in tasks}
    waves = [[{name: digests[name] for name in wave} for wave in cut(share, adapters_at_once)] for share in shares]
    return BankPlan(settings, _numbered(waves))


def share_out(work: Mapping[str, int], num_shares: int) -> list[list[str]]:
    """Names in shares of nearly equal work, each share by falling work; no share is empty.

    Longest processing time first (Graham 1969): the heaviest share is at most 4/3 of the best possible one.
    """
    shares: list[list[str]] = [[] for _ in range(min(num_shares, len(work)))]
    loads = [0] * len(shares)
    for name in sorted(work, key=lambda name: (-work[name], name)):
        lightest = loads.index(min(loads))
        shares[lightest].append(name)
        loads[lightest] += work[name]
    return [share for share in shares if share]


def cut(names: Sequence[str], at_once: int) -> list[list[str]]:
    """Names in order, in as few parts of at most `at_once` as suffice, whose sizes differ by one at most."""
    number = -(-len(names) // at_once)
    ends = [len(names) * part // number for part in range(number + 1)]
    return [list(names[start:end]) for start, end in pairwise(ends)]


def number_at_once(spec: TrainSpec, num_tasks: int, rooms: Sequence[Room], micro_batch_tokens: int) -> int:
    """How many adapters are trained beside each other at most.

    Raises:
        UserError: `spec` asks for more than fit, or not one fits.
    """
    asked = spec.bank.adapters_at_once
    wanted = min(asked or num_tasks, num_tasks)
    fits = min((wanted if (found := room.num_adapters()) is None else found for room in rooms), default=wanted)
    if fits >= wanted:
        return wanted
    if fits > 0 and asked is None:
        return fits
    tightest = min(rooms, key=lambda room: wanted if (found := room.num_adapters()) is None else found)
    number = wanted if fits else 1
    assert tightest.free_bytes is not None
    what = (
        f"{'One adapter' if number == 1 else f'{number} adapters at once'} with {micro_batch_tokens} tokens in a "
        f"micro-batch would need {gibibytes(tightest.needed_bytes(number))} of {tightest.name} beside the base: "
        f"{gibibytes(tightest.row_bytes)} an adapter and {gibibytes(tightest.fixed_bytes)} besides. "
        f"{gibibytes(tightest.free_bytes)} can be used."
    )
    if fits:
        hint = f"Set it to {fits} or less, or leave it out to have the adapters trained in waves."
        raise UserError(what, where="train.bank.adapters_at_once", hint=hint)
    raise UserError(what, where="train.micro_batch_tokens", hint=savings(spec, tightest, micro_batch_tokens))


def savings(spec: TrainSpec, room: Room, micro_batch_tokens: int) -> str:
    """What makes training of one adapter smaller and is not set yet."""
    ways = []
    left = (room.free_bytes or 0) - room.needed_bytes(1) + room.activation_bytes
    if left > 0 and room.activation_bytes > 0:
        ways.append(f"train.micro_batch_tokens to about {micro_batch_tokens * left // room.activation_bytes}")
    if not spec.gradient_checkpointing:
        ways.append("train.gradient_checkpointing to true")
    if spec.precision == "fp32":
        ways.append("train.precision to bf16")
    if spec.quantization == "none":
        ways.append("train.quantization to 4bit (on a GPU)")
    ways.append("train.lora.rank lower")
    return f"Set {', or '.join(ways)}."


def refuse_other_plan(folder: Path, differences: Sequence[str]) -> None:
    """Nothing, unless there are differences between a plan on disk and what is asked for now.

    Raises:
        UserError: there are; nothing was deleted.
    """
    if differences:
        shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
        raise UserError(
            f"The checkpoint is of another plan: {shown}.",
            where=str(folder),
            hint="Give back the old recipe to go on with it, or delete that folder to train anew what is not finished.",
        )


def changed_settings(plan: BankPlan, spec: TrainSpec, dtype: str, finished: Collection[str]) -> list[str]:
    """In words, which settings of a plan are not those asked for; what is not asked for may be as in the plan."""
    found = []
    if plan.settings.dtype != dtype:
        found.append(f"the precision is {dtype}, was {plan.settings.dtype}")
    asked = spec.micro_batch_tokens
    if asked is not None and asked != plan.settings.micro_batch_tokens:
        found.append(f"train.micro_batch_tokens is {asked}, was {plan.settings.micro_batch_tokens}")
    if plan.settings.moments != spec.bank.moments:
        found.append(f"Adam's moments are in {spec.bank.moments}, were in {plan.settings.moments}")
    largest = max((len(wave.adapters) for waves in plan.remaining(finished).values() for wave in waves), default=0)
    asked = spec.bank.adapters_at_once
    if asked is not None and asked < largest:
        found.append(f"train.bank.adapters_at_once is {asked}, was at least {largest}")
    return found


def changed_names(plan: BankPlan, names: Collection[str], finished: Collection[str]) -> list[str]:
    """In words, which adapters a plan still needs and are not there, and which are not finished and not in it."""
    needed = plan.remaining_names(finished)
    known = {name for wave in plan.waves for name in wave.adapters}
    missing = [f"the adapter {name!r} is missing" for name in needed if name not in names]
    new = [f"the adapter {name!r} is new" for name in sorted(names) if name not in finished and name not in known]
    return missing + new


def changed_tasks(plan: BankPlan, tasks: Mapping[str, PreparedTask]) -> list[str]:
    """In words, which of some tasks are not as in a plan."""
    return [
        f"settings, examples or base of the adapter {name!r} changed"
        for wave in plan.waves
        for name, digest in wave.adapters.items()
        if name in tasks and tasks[name].digest != digest
    ]


def _numbered(shares: Sequence[Sequence[Mapping[str, str]]]) -> tuple[tuple[PlannedWave, ...], ...]:
    """Waves with their folders, by share and number."""
    return tuple(
        tuple(
            PlannedWave(f"share-{share:02d}/wave-{number:03d}", dict(adapters)) for number, adapters in enumerate(waves)
        )
        for share, waves in enumerate(shares)
    )
