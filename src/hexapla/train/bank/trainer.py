"""The bank as a trainer: tasks in, waves of adapters trained beside each other, finished adapters out.

A run is planned once: how many adapters fit beside the base, in which waves and processes they are trained. The plan
stays in the folder of work, and whoever takes the run up again follows it.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hexapla.base import Base, choose_device, fingerprint, load_config, load_tokenizer
from hexapla.common.errors import UserError, nearest
from hexapla.common.progress import EventLog
from hexapla.prompts import Template
from hexapla.train.bank.capacity import (
    Machine,
    find_machine,
    find_rooms,
    micro_batch_tokens,
    processes_on_cpu,
    refuse_large_base,
)
from hexapla.train.bank.factors import stored_rank
from hexapla.train.bank.joint import JointTable
from hexapla.train.bank.memory import DryStep
from hexapla.train.bank.model import BankedModel
from hexapla.train.bank.share import Share, load_banked, train_share, train_share_apart
from hexapla.train.bank.states import check_states
from hexapla.train.bank.waves import (
    PLAN_FILE,
    BankPlan,
    BankSettings,
    PlannedWave,
    changed_names,
    changed_settings,
    changed_tasks,
    make_plan,
    number_at_once,
    refuse_other_plan,
    share_out,
)
from hexapla.train.bank.workers import Call, run_apart
from hexapla.train.cost import TrainingCost
from hexapla.train.spec import TrainSpec
from hexapla.train.stage import Deliver, Translate
from hexapla.train.task import Preparation, PreparedTask, TrainTask, context_window

if TYPE_CHECKING:
    import torch


def train_bank(
    base: Base,
    template: Template,
    spec: TrainSpec,
    seed: int,
    tasks: Sequence[TrainTask],
    *,
    deliver: Deliver,
    finished: frozenset[str],
    work: Path,
    translate: Translate | None,
    log: EventLog,
    device: torch.device | str | None = None,
) -> None:
    """See `stage.train_adapters`."""
    by_name = {task.job.name: task for task in tasks}
    refuse_unknown_names(spec, by_name)
    check_states(spec.bank.optimizer_states)
    machine = find_machine(spec, choose_device(device))
    window = context_window(load_config(base))
    preparation = Preparation(load_tokenizer(base), template, fingerprint(base), window, spec, seed)

    plan, model = BankPlan.load(work / PLAN_FILE), None
    if plan is None:
        prepared = {name: preparation.prepare(task) for name, task in by_name.items() if name not in finished}
        if not prepared:
            return
        plan, model = _new_plan(base, spec, machine, list(prepared.values()), log)
        plan.save(work / PLAN_FILE)
    else:
        changes = changed_settings(plan, spec, machine.dtype, finished) + changed_names(plan, by_name, finished)
        refuse_other_plan(work, changes)
        prepared = {name: preparation.prepare(by_name[name]) for name in plan.remaining_names(finished)}
        refuse_other_plan(work, changed_tasks(plan, prepared))

    def share(name: str, waves: Sequence[PlannedWave]) -> Share:
        own = [(wave, [prepared[adapter] for adapter in wave.adapters]) for wave in waves]
        return Share(name, base, spec, seed, template.name, plan.settings, own, finished, work, translate)

    shares = [share(name, waves) for name, waves in plan.remaining(finished).items()]
    if _chooses_processes(spec, machine):
        machine = replace(machine, num_processes=len(plan.shares))
    if machine.num_processes == 1:
        model = model or load_banked(base, spec, machine.dtype, machine.device)
        for own in shares:
            train_share(own, model, deliver, log)
    else:
        del model
        _train_apart(shares, machine, deliver, log)


def _chooses_processes(spec: TrainSpec, machine: Machine) -> bool:
    """Whether a plan decides on the number of processes."""
    return spec.bank.processes is None and machine.device.type == "cpu"


def refuse_unknown_names(spec: TrainSpec, names: Collection[str]) -> None:
    """Nothing, unless the settings speak of adapters that are not trained.

    Raises:
        UserError: they do.
    """
    for name in spec.adapters:
        if name not in names:
            raise UserError(
                f"There is no adapter {name!r} to train.", where=f"train.adapters.{name}", hint=nearest(name, names)
            )


def _new_plan(
    base: Base, spec: TrainSpec, machine: Machine, tasks: Sequence[PreparedTask], log: EventLog
) -> tuple[BankPlan, BankedModel]:
    """Plan for the memory that there is; also returns the base that it was measured with.

    Raises:
        UserError: it does not suffice, or the base cannot be used.
    """
    longest, name = max(
        (example.num_input_tokens, task.name)
        for task in tasks
        for example in [*task.encoded.examples, *task.development]
    )
    num_tokens = micro_batch_tokens(spec, longest, name, machine.device)
    cost = TrainingCost(load_config(base), spec, weight_bytes=2 if machine.dtype == "bfloat16" else 4)
    work = {task.name: task.num_tokens * task.spec.epochs for task in tasks}
    if _chooses_processes(spec, machine):
        machine = replace(machine, num_processes=processes_on_cpu(cost, work, num_tokens))
    shares = share_out(work, machine.num_processes)
    num_tasks = max(len(share) for share in shares)
    step = DryStep(
        num_tokens=num_tokens,
        longest=longest,
        num_adapters=min(spec.bank.adapters_at_once or num_tasks, num_tasks),
        rank=stored_rank([task.spec.lora.rank for task in tasks], machine.device),
        has_dropout=any(task.spec.lora.dropout > 0 for task in tasks),
        objectives=spec.acting_objectives,
        num_pairs=max(min(task.spec.batch, len(task.encoded.examples)) for task in tasks),
    )
    refuse_large_base(cost, machine)
    model = load_banked(base, spec, machine.dtype, machine.device)
    rooms = find_rooms(model, cost, step, machine)
    at_once = number_at_once(spec, num_tasks, rooms, num_tokens)
    log.write("train-plan", adapters_at_once=at_once, num_shares=len(shares), rooms=[asdict(room) for room in rooms])
    settings = BankSettings(machine.dtype, num_tokens, spec.bank.moments)
    return make_plan(tasks, shares, settings, adapters_at_once=at_once), model


def _train_apart(shares: Sequence[Share], machine: Machine, deliver: Deliver, log: EventLog) -> None:
    """Every share in a process of its own, with its part of the threads."""
    import torch

    gc.collect()
    num_threads = None
    if machine.device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        num_threads = max(1, torch.get_num_threads() // machine.num_processes)
    calls = [
        Call(share.name, share.work / share.name / "finished", train_share_apart, (share, machine.device))
        for share in shares
    ]
    tasks = [task for share in shares for _, tasks in share.waves for task in tasks]
    table = JointTable(tasks, seed=shares[0].seed, num_processes=len(shares))
    run_apart(
        calls,
        num_processes=machine.num_processes,
        deliver=deliver,
        log=log,
        num_threads=num_threads,
        say=table.say,
        hear=table.hear,
    )
    table.close()
