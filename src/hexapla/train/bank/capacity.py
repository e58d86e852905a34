"""How much of a machine training may use, and how much it needs: what a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hexapla.base import choose_dtype
from hexapla.common.errors import UserError
from hexapla.train.bank.factors import row_entries
from hexapla.train.bank.memory import DryStep, Room, free_bytes, gibibytes
from hexapla.train.bank.waves import share_out
from hexapla.train.batching import default_micro_batch_tokens

if TYPE_CHECKING:
    import torch

    from hexapla.train.bank.model import BankedModel
    from hexapla.train.cost import TrainingCost
    from hexapla.train.spec import TrainSpec

_COPIED_BYTES = 4 * 4  # of a parameter, in a checkpoint's copies: value, moments, and gradient in mid-batch
_ROWS_COPIED = 3  # at most by a checkpoint: two ahead of its writer, and the one being written
_MOMENTS_BYTES = 8  # of a parameter, where they lie in the host's memory
_PROCESS_BYTES = 2**29  # of the interpreter and its libraries
_PROCESS_FLOPS = 2e12  # what a process should have to do: starting it costs some ten seconds
_IMBALANCE = 1.25  # of the largest share's work to the mean


@dataclass(frozen=True)
class Machine:
    """Where training happens: `dtype` is of the base, as torch names it."""

    device: torch.device
    dtype: str
    num_processes: int


def find_machine(spec: TrainSpec, device: torch.device) -> Machine:
    """What the settings make of the device and those like it; one process on a CPU where they name no number.

    Raises:
        UserError: more processes are asked for than there are GPUs, or the device lacks the precision.
    """
    import torch

    dtype = str(choose_dtype(spec.precision, device)).removeprefix("torch.")
    asked = spec.bank.processes
    if device.type != "cuda":
        return Machine(device, dtype, asked or 1)
    num_gpus = torch.cuda.device_count() if device.index is None else 1
    if asked is not None and asked > num_gpus:
        raise UserError(
            f"{asked} processes would need as many GPUs; {num_gpus} can be used.",
            where="train.bank.processes",
            hint="Leave it out for one process a GPU.",
        )
    return Machine(device, dtype, asked or num_gpus)


def processes_on_cpu(cost: TrainingCost, work: Mapping[str, int], num_tokens: int) -> int:
    """How many processes to share a CPU's threads out to, where the settings name no number.

    One thread a process is best: threads that share a product wait for each other after every one of them, a quarter
    of the time on an idle machine and most of it on a busy one. But the shares should end together, memory hold a base
    for each, and the work be worth the start.

    Args:
        work: tokens of every adapter, all epochs.
        num_tokens: of a micro-batch.
    """
    import torch

    host = torch.device("cpu")
    free = free_bytes(host)
    states = len(work) * cost.adapter_state_bytes(cost.largest_rank)
    fitting = 1
    if free is not None:
        each = cost.base_bytes + cost.activation_bytes(num_tokens) + _PROCESS_BYTES
        fitting = int((free // 2 - states) // each)
    worth = int(sum(cost.flops(tokens, name) for name, tokens in work.items()) // _PROCESS_FLOPS)
    most = min(torch.get_num_threads(), len(work), fitting, worth)
    for number in range(most, 1, -1):
        mean = sum(work.values()) / number
        if max(sum(work[name] for name in share) for share in share_out(work, number)) <= _IMBALANCE * mean:
            return number
    return 1


def micro_batch_tokens(spec: TrainSpec, longest: int, adapter: str, device: torch.device) -> int:
    """Tokens of a micro-batch.

    Args:
        longest: tokens of the longest example; `adapter` is the one that has it.

    Raises:
        UserError: it is longer than the number that the settings name.
    """
    if spec.micro_batch_tokens is None:
        return max(default_micro_batch_tokens(device), longest)
    if longest > spec.micro_batch_tokens:
        raise UserError(
            f"An example of {adapter!r} has {longest} tokens, a micro-batch only {spec.micro_batch_tokens}.",
            where="train.micro_batch_tokens",
            hint=f"Set it to {longest} or more, or lower train.max_source_tokens and train.max_target_tokens.",
        )
    return spec.micro_batch_tokens


def refuse_large_base(cost: TrainingCost, machine: Machine) -> None:
    """Nothing, unless the base alone is too large, which is better known before it is loaded.

    Raises:
        UserError: it is.
    """
    free = free_bytes(machine.device)
    copies = 1 if machine.device.type == "cuda" else machine.num_processes
    if free is not None and copies * cost.base_bytes > free:
        raise UserError(
            f"The base alone needs {gibibytes(copies * cost.base_bytes)} of memory, {gibibytes(free)} can be used.",
            where="base",
            hint="Set train.precision to bf16, train.quantization to 4bit (on a GPU), or train.bank.processes lower.",
        )


def find_rooms(model: BankedModel, cost: TrainingCost, step: DryStep, machine: Machine) -> list[Room]:
    """The memory of one process, after the base is loaded."""
    import torch

    device, host = machine.device, torch.device("cpu")
    estimate = cost.activation_bytes(step.num_tokens) + cost.alignment_bytes(step.num_pairs)
    free_host = free_bytes(host)
    if free_host is not None and device.type == "cpu":
        free_host = (free_host - (machine.num_processes - 1) * cost.base_bytes) // machine.num_processes
    free = free_bytes(device)
    try:
        measured = step.measure(model)
    except torch.OutOfMemoryError:
        measured = max(estimate, free or 0)  # at least
    num_parameters = row_entries(model.groups, step.rank) + cost.num_head_entries
    copied = _ROWS_COPIED * _COPIED_BYTES * num_parameters
    row_bytes = cost.adapter_state_bytes(step.rank) + cost.kept_gradient_bytes(step.num_pairs)
    moments_apart = _MOMENTS_BYTES * num_parameters if cost.spec.bank.optimizer_states == "host" else 0
    fetched = moments_apart  # of one adapter at a time, on the device
    development = cost.spec.development
    decoder = cost.base_bytes if development is not None and development.metric == "chrf" else 0
    if device.type == "cpu":
        # What the allocator held before hides a part of what was measured: never less than the estimate.
        activations = max(estimate, measured or 0)
        return [
            Room("memory", free_host, activations + copied + fetched + decoder, row_bytes + moments_apart, activations)
        ]
    activations = estimate if measured is None else measured
    rooms = [Room("GPU memory", free_bytes(device), activations + fetched + decoder, row_bytes, activations)]
    if moments_apart:
        rooms.append(Room("the host's memory", free_host, copied, moments_apart))
    return rooms
